#include <orthant/run/time_limit.h>

#include <string.h>

/* Steps and checkpoints vary; ending the program takes a moment too. */
static const double margin = 1.25;
static const double seconds_to_end = 1.0;
static const double assumed_bytes_per_second = 200e6;

void orth_time_limit_start(orth_time_limit *limit, double started, double seconds,
                           int64_t checkpoint_bytes)
{
    memset(limit, 0, sizeof *limit);
    if (seconds > 0)
        limit->end = started + seconds;
    double guess = 2.0 * (double)checkpoint_bytes / assumed_bytes_per_second;
    /* Negative: a guess, which the first measurement replaces even if it is shorter. */
    limit->longest_checkpoint = guess > 1.0 ? -guess : -1.0;
}

void orth_time_limit_step(orth_time_limit *limit, double seconds)
{
    if (seconds > limit->longest_step)
        limit->longest_step = seconds;
}

void orth_time_limit_checkpoint(orth_time_limit *limit, double seconds)
{
    if (seconds > limit->longest_checkpoint)
        limit->longest_checkpoint = seconds;
}

bool orth_time_limit_reached(const orth_time_limit *limit, double now)
{
    if (limit->end == 0)
        return false;
    double checkpoint =
        limit->longest_checkpoint < 0 ? -limit->longest_checkpoint : limit->longest_checkpoint;
    return now + margin * (limit->longest_step + checkpoint) + seconds_to_end > limit->end;
}
