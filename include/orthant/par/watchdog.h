#ifndef ORTHANT_PAR_WATCHDOG_H
#define ORTHANT_PAR_WATCHDOG_H

#include <orthant/base/status.h>
#include <orthant/par/phase.h>

/** A thread that ends the process when its main thread makes no progress. */
typedef struct orth_watchdog orth_watchdog;

/**
 * Start watching. When orth_watchdog_beat was not called for `seconds` of running time (a process
 * that is suspended does not age), one line names rank, host and phase (of `timer`, which outlives
 * the watchdog; NULL allowed) and the process exits with ORTH_ERR_ENVIRONMENT; the launcher ends
 * the other ranks. The thread calls neither MPI nor HDF5 and takes no signals. Not collective.
 * `seconds` 0: nothing is watched and *out is NULL. End with orth_watchdog_stop.
 */
orth_status orth_watchdog_start(double seconds, int rank, const orth_phase_timer *timer,
                                orth_watchdog **out);

/** The main thread is alive. Cheap; NULL is allowed. */
void orth_watchdog_beat(orth_watchdog *watchdog);

/** Stop watching and free. NULL is allowed. */
void orth_watchdog_stop(orth_watchdog *watchdog);

#endif
