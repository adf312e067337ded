#include <orthant/run/time_limit.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Steps and checkpoints vary; ending the program takes a moment too. */
static const double margin = 1.25;
static const double seconds_to_end = 1.0;
static const double assumed_bytes_per_second = 200e6;

/* Clocks of the controller and of the nodes differ a little, and SLURM kills what goes on. */
static const double slurm_seconds_to_end = 5.0;

/* A variable that says more is of another job: inherited, or made up. */
static const double most_past = 600.0;
static const double most_ahead = 10.0 * 366.0 * 86400.0;

void orth_time_limit_start(orth_time_limit *limit, double started, double seconds,
                           int64_t checkpoint_bytes)
{
    memset(limit, 0, sizeof *limit);
    limit->what = "run.max_time";
    limit->to_end = seconds_to_end;
    if (seconds > 0)
        limit->end = started + seconds;
    double guess = 2.0 * (double)checkpoint_bytes / assumed_bytes_per_second;
    limit->longest_checkpoint = guess > 1.0 ? -guess : -1.0;
}

const char *orth_time_limit_slurm(orth_time_limit *limit, const char *text, double wall, double now)
{
    char *rest;
    if (!text || !*text)
        return NULL;
    errno = 0;
    long long seconds = strtoll(text, &rest, 10);
    if (*rest || errno != 0 || seconds <= 0)
        return "it is no time";
    double left = (double)seconds - wall;
    if (left < -most_past)
        return "it is long past";
    if (left > most_ahead)
        return "it is years ahead";
    double end = now + left;
    if (limit->end == 0 || end - slurm_seconds_to_end < limit->end - limit->to_end) {
        limit->end = end;
        limit->what = "SLURM's time limit";
        limit->to_end = slurm_seconds_to_end;
    }
    return NULL;
}

static void keep_longest(double seconds, double *longest)
{
    if (seconds > *longest)
        *longest = seconds;
}

void orth_time_limit_step(orth_time_limit *limit, double seconds)
{
    keep_longest(seconds, &limit->longest_step);
}

void orth_time_limit_checkpoint(orth_time_limit *limit, double seconds)
{
    keep_longest(seconds, &limit->longest_checkpoint);
}

void orth_time_limit_evaluation(orth_time_limit *limit, double seconds)
{
    keep_longest(seconds, &limit->longest_evaluation);
}

bool orth_time_limit_reached(const orth_time_limit *limit, double now, bool evaluates,
                             double steps_alike)
{
    double seconds = limit->longest_step + fabs(limit->longest_checkpoint);
    if (limit->end == 0)
        return false;
    if (evaluates)
        seconds += limit->longest_evaluation > 0 ? limit->longest_evaluation
                                                 : steps_alike * limit->longest_step;
    return now + margin * seconds + limit->to_end > limit->end;
}

bool orth_time_limit_measured(const orth_time_limit *limit)
{
    return limit->longest_checkpoint >= 0;
}
