#ifndef ORTHANT_PAR_PHASE_H
#define ORTHANT_PAR_PHASE_H

/** Where a step's time goes. The names (orth_phase_name) are the keys of `phase` in the metrics. */
typedef enum orth_phase {
    ORTH_PHASE_READ,
    ORTH_PHASE_EXCHANGE,
    ORTH_PHASE_ENCODE,
    ORTH_PHASE_SELECT,
    ORTH_PHASE_DECODE,
    ORTH_PHASE_LOSS,
    ORTH_PHASE_GRADIENT,
    ORTH_PHASE_REDUCE,
    ORTH_PHASE_UPDATE,
    ORTH_PHASE_CHECKPOINT,
    ORTH_PHASE_EVAL,
    ORTH_PHASE_PREPARE, ///< before the first step
    ORTH_PHASE_OTHER,
    ORTH_PHASE_COUNT
} orth_phase;

/** A stopwatch that is always in exactly one phase. Monotonic; local to a rank. */
typedef struct orth_phase_timer {
    double seconds[ORTH_PHASE_COUNT];
    double since;
    _Atomic orth_phase current; ///< the watchdog reads it from its thread
} orth_phase_timer;

/** Seconds of a monotonic clock with an arbitrary start. */
double orth_now(void);

/** Zero all phases and start in ORTH_PHASE_OTHER. */
void orth_phase_start(orth_phase_timer *timer);

/** Time from now on counts for `phase`, and progress was made (orth_alive). Returns the phase that
 * was left, to go back to. NULL is allowed as a timer: nothing is counted. */
orth_phase orth_phase_enter(orth_phase_timer *timer, orth_phase phase);

/** "encode", "select", ... */
const char *orth_phase_name(orth_phase phase);

#endif
