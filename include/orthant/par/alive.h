#ifndef ORTHANT_PAR_ALIVE_H
#define ORTHANT_PAR_ALIVE_H

#include <stdbool.h>
#include <stdint.h>

/**
 * What the watchdog knows of the main thread, for the whole process: how often it has made
 * progress, and whether it waits for other ranks. Cheap enough for everything but inner loops.
 */

/** Progress was made: by the main thread, or by a thread that it waits for. */
void orth_alive(void);

/** How often, since the start of the process. */
uint64_t orth_alive_count(void);

/** The main thread enters a call of MPI, in which it may wait for other ranks. */
void orth_wait_begin(void);

/** The call has ended, which is progress. Returns the call's `code`. */
int orth_wait_end(int code);

/** Whether the main thread is inside such a call. */
bool orth_waiting(void);

#endif
