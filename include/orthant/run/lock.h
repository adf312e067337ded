#ifndef ORTHANT_RUN_LOCK_H
#define ORTHANT_RUN_LOCK_H

#include <orthant/base/status.h>

#include <mpi.h>
#include <stdbool.h>

/** The right to write to a run directory: `<run_dir>/lock`, held by rank 0. */
typedef struct orth_lock orth_lock;

/**
 * Take the lock: a file created exclusively, with host, process, start and SLURM job of its holder;
 * a thread of rank 0 renews its modification time every 30 seconds. A lock that is left over is
 * replaced, with a word: on the same host when its process is gone; from another host when it is of
 * the same SLURM job (a requeued one) or was not renewed for 10 minutes of the file server's time.
 * Else ORTH_ERR_ENVIRONMENT tells who holds it. Collective over `comm`; agreed. *out is NULL on the
 * other ranks. End with orth_lock_release.
 */
orth_status orth_lock_acquire(const char *run_dir, MPI_Comm comm, orth_lock **out);

/** What a lock file says. */
typedef struct orth_lock_holder {
    char host[128];
    long long pid;
    unsigned long long start; ///< tells a process from a later one of the same number (clock ticks
                              ///< since the machine started)
    char job[64];             ///< "-" outside SLURM
} orth_lock_holder;

/** Read the text of a lock file. False, and *out unchanged, when it is none. Local. */
bool orth_lock_parse(const char *text, orth_lock_holder *out);

/** Whether another job took the lock over, as after a long suspension. Not collective; NULL: no. */
bool orth_lock_lost(const orth_lock *lock);

/** Renew now, and see whether another job took the lock over. Storage that answers with errors is
 * not taken for that until it has done so for 10 minutes. Called by the lock's own thread; tests
 * may, instead of waiting for it. Not collective. */
void orth_lock_renew(orth_lock *lock);

/** Remove the lock, if it is still the own one, and free. Not collective; NULL is allowed. */
void orth_lock_release(orth_lock *lock);

#endif
