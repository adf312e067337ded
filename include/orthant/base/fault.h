#ifndef ORTHANT_BASE_FAULT_H
#define ORTHANT_BASE_FAULT_H

#include <orthant/base/status.h>

#include <stdbool.h>

/**
 * Fault injection, for tests. Compiled in with the `dev` presets (ORTH_FAULTS); elsewhere a visit
 * costs nothing, and a program that finds ORTHANT_FAULT set refuses to run.
 *
 *     ORTHANT_FAULT=point:occurrence:action[@rank][,...]
 *
 * A point is a place in the program where something can fail (the table in fault.c); it is visited
 * each time the program comes by. The occurrence is the number of the visit, from 1 on, at which
 * the action is taken, `3+` for the third and all later ones. Without @rank every rank takes it.
 *
 * Actions that every point takes: kill, hang, slow (0.4 s), stop (SIGSTOP), segv, term, int, usr1,
 * usr2.
 * Those that some points take: eio enospc edquot efbig erofs eacces enomem eagain (the operation
 * fails with it), short (a part is written or read), flip (a bit of the data changes), nan (a value
 * of the data becomes NaN). Each action taken is told on stderr: "orthant: fault: ...".
 *
 * tests/build/faults.py checks that every point that the sources visit is in the table and in a
 * test, and that every fault that a run must survive or refuse has one (tests/faults.txt).
 */
typedef enum orth_fault_effect {
    ORTH_FAULT_NONE,
    ORTH_FAULT_ERROR, ///< fail as if the system had given errno, which is set
    ORTH_FAULT_SHORT, ///< write or read a part only
    ORTH_FAULT_FLIP,  ///< change one bit of the data
    ORTH_FAULT_NAN    ///< make one value of the data NaN
} orth_fault_effect;

/**
 * Read ORTHANT_FAULT. `rank` is this process's, -1 when it is alone. Before threads are started.
 * ORTH_ERR_USAGE: a fault that cannot be parsed, an unknown point, an action that its point does
 * not take; any fault at all in a program built without ORTH_FAULTS.
 */
orth_status orth_fault_setup(int rank);

#ifdef ORTH_FAULTS

/** A visit of `point`. Any thread. Does not return from kill, hang and segv. */
orth_fault_effect orth_fault(const char *point);

#else

static inline orth_fault_effect orth_fault(const char *point)
{
    (void)point;
    return ORTH_FAULT_NONE;
}

#endif

/** A visit of a point that takes no effect but an error: true when the operation must fail with
 * errno. */
static inline bool orth_fault_fails(const char *point)
{
    return orth_fault(point) == ORTH_FAULT_ERROR;
}

#endif
