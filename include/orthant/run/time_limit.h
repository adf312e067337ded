#ifndef ORTHANT_RUN_TIME_LIMIT_H
#define ORTHANT_RUN_TIME_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

/**
 * [run.max_time]: whether one more step and a checkpoint still fit. The estimate is the largest of
 * each seen so far, with a margin, so that a run ends with a checkpoint before it is ended. Clocks
 * of ranks differ: rank 0 decides and the trainer broadcasts. Times are of orth_now.
 */
typedef struct orth_time_limit {
    double end; ///< 0: no limit
    double longest_step;
    double longest_checkpoint;
} orth_time_limit;

/**
 * `seconds` after `started` (when the program started, not the first step); 0 is no limit. Until a
 * checkpoint was measured, writing and verifying is taken to move `checkpoint_bytes` twice at
 * 200 MB/s, and at least one second.
 */
void orth_time_limit_start(orth_time_limit *limit, double started, double seconds,
                           int64_t checkpoint_bytes);

/** A step, with all that comes with it (reading, evaluation), took this long. */
void orth_time_limit_step(orth_time_limit *limit, double seconds);

/** A checkpoint took this long. */
void orth_time_limit_checkpoint(orth_time_limit *limit, double seconds);

/** Whether it is time to write the last checkpoint and stop. */
bool orth_time_limit_reached(const orth_time_limit *limit, double now);

#endif
