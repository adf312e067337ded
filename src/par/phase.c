#include <orthant/par/phase.h>

#include <orthant/par/alive.h>

#include <string.h>
#include <time.h>

double orth_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void orth_phase_start(orth_phase_timer *timer)
{
    memset(timer, 0, sizeof *timer);
    timer->current = ORTH_PHASE_OTHER;
    timer->since = orth_now();
}

orth_phase orth_phase_enter(orth_phase_timer *timer, orth_phase phase)
{
    orth_alive();
    if (!timer)
        return phase;
    double now = orth_now();
    orth_phase left = timer->current;
    timer->seconds[left] += now - timer->since;
    timer->since = now;
    timer->current = phase;
    return left;
}

const char *orth_phase_name(orth_phase phase)
{
    static const char *const names[ORTH_PHASE_COUNT] = {
        "read",   "exchange", "encode",     "select", "decode",  "loss", "gradient",
        "reduce", "update",   "checkpoint", "eval",   "prepare", "other"};
    return names[phase];
}
