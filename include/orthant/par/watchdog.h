#ifndef ORTHANT_PAR_WATCHDOG_H
#define ORTHANT_PAR_WATCHDOG_H

#include <orthant/base/status.h>
#include <orthant/par/phase.h>

/**
 * A thread that ends the process when its main thread makes no progress.
 *
 * Progress is a beat (orth_alive: long loops, reading, writing), a change of phase, or the end of a
 * call of MPI. A rank that hangs soon has all others waiting for it: those that are inside a call
 * of MPI are given a quarter of the time more, 10 s at most, so that the rank that is stuck outside
 * of MPI speaks first. Where all wait, as when the network is gone, rank 0 speaks first. The others
 * leave with the same exit code where the launcher has not ended them by then; of those that wait
 * two on each node speak.
 */
typedef struct orth_watchdog orth_watchdog;

/**
 * Start watching. After `seconds` of running time without progress (a process that is suspended
 * does not age) one line names rank, host and phase (of `timer`, which outlives the watchdog; NULL
 * allowed), whether the rank waits for others, and the process exits with ORTH_STALLED
 * (orth_watchdog_set_code); the launcher ends the other ranks. The thread calls neither MPI nor
 * HDF5 and takes no signals. One watchdog a process. Not collective. `seconds` 0: nothing is
 * watched and *out is NULL. End with orth_watchdog_stop.
 */
orth_status orth_watchdog_start(double seconds, int rank, const orth_phase_timer *timer,
                                orth_watchdog **out);

/** The exit code from now on, in place of ORTH_STALLED. NULL is allowed. Local. */
void orth_watchdog_set_code(orth_watchdog *watchdog, orth_status code);

/** Stop watching and free. NULL is allowed. */
void orth_watchdog_stop(orth_watchdog *watchdog);

#endif
