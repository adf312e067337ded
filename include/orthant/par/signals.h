#ifndef ORTHANT_PAR_SIGNALS_H
#define ORTHANT_PAR_SIGNALS_H

#include <stdbool.h>
#include <stdint.h>

/**
 * Handle the signals that schedulers and users send: USR1, TERM and INT ask for a checkpoint and an
 * end after the step under way, USR2 for a checkpoint. XFSZ is ignored, so that a file that reaches
 * its limit gives an error of the write. SEGV, BUS, FPE, ILL and ABRT print rank, host and step
 * before the process dies of them.
 *
 * To be called first in main, because a scheduler may signal before MPI_Init returns, and again
 * after MPI_Init, which may have set handlers of its own. Requests made in between are kept.
 * Not collective.
 */
void orth_signals_setup(void);

/** Who and where this process is, for the line that a fatal signal prints. Not collective; cheap
 * enough for every step. */
void orth_signals_describe(int rank, int64_t step);

/**
 * What was asked for on this rank: `stop` is 0, or the number of the first signal that asked for it
 * from then on (a second TERM changes nothing), `save` is true once for any number of USR2 since
 * the last call. The scheduler may have reached one rank only: the caller agrees both over all
 * ranks. Not collective.
 */
void orth_signals_take(int *stop, bool *save);

/** "SIGTERM" and the like, of a signal that asks to stop. */
const char *orth_signals_name(int signal_number);

#endif
