#ifndef ORTHANT_RUN_TIME_LIMIT_H
#define ORTHANT_RUN_TIME_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

/**
 * [run.max_time] and SLURM's own limit: whether one more step and a checkpoint still fit. The
 * estimate is the largest of each seen so far, with a margin, so that a run ends with a checkpoint
 * before it is ended. Clocks of ranks differ: rank 0 decides and the trainer broadcasts. Times are
 * of orth_now, which does not jump when a clock is set.
 */
typedef struct orth_time_limit {
    double end;       ///< 0: no limit
    const char *what; ///< whose limit the earliest is: "run.max_time"
    double to_end;    ///< seconds that ending the program takes
    double longest_step;
    double longest_checkpoint; ///< negative: a guess, nothing was measured yet
    double longest_evaluation; ///< 0: nothing was measured yet
} orth_time_limit;

/**
 * `seconds` after `started` (when the program started, not the first step); 0 is no limit. Until a
 * checkpoint was measured, writing and verifying is taken to move `checkpoint_bytes` twice at
 * 200 MB/s, and at least one second.
 */
void orth_time_limit_start(orth_time_limit *limit, double started, double seconds,
                           int64_t checkpoint_bytes);

/**
 * Respect the end of the SLURM job too: `text` is the variable SLURM_JOB_END_TIME (seconds since
 * 1970; SLURM from 22.05 on, and jobs/train.sbatch), NULL where there is none. `wall` and `now` are
 * the time of day and orth_now at the same instant: from here on only the latter counts. Returns
 * why a value is not used (it is no time, or far from `wall`), else NULL.
 */
const char *orth_time_limit_slurm(orth_time_limit *limit, const char *text, double wall,
                                  double now);

/** A step took this long, with its reading and without its evaluation. */
void orth_time_limit_step(orth_time_limit *limit, double seconds);

/** A checkpoint took this long. */
void orth_time_limit_checkpoint(orth_time_limit *limit, double seconds);

/** An evaluation took this long. */
void orth_time_limit_evaluation(orth_time_limit *limit, double seconds);

/**
 * Whether it is time to write the last checkpoint and stop. `evaluates`: an evaluation comes with
 * the next step; before the first was measured it is taken to last as long as `steps_alike` steps.
 */
bool orth_time_limit_reached(const orth_time_limit *limit, double now, bool evaluates,
                             double steps_alike);

/** Whether what a checkpoint takes was measured. */
bool orth_time_limit_measured(const orth_time_limit *limit);

#endif
