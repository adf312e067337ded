#include <orthant/run/progress.h>

#include <orthant/base/log.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const double seconds_between_draws = 0.1;

void orth_progress_start(orth_progress *progress, bool speaks, bool quiet, int64_t step,
                         int64_t last_step)
{
    memset(progress, 0, sizeof *progress);
    progress->terminal = speaks && !quiet && isatty(STDERR_FILENO);
    progress->lines = speaks && !progress->terminal;
    progress->first_step = step;
    progress->last_step = last_step;
    progress->started = orth_now();
}

void orth_progress_duration(double seconds, char *out, size_t size)
{
    int64_t s = (int64_t)(seconds + 0.5);
    if (s >= 86400)
        snprintf(out, size, "%lldd %02lldh", (long long)(s / 86400), (long long)(s / 3600 % 24));
    else
        snprintf(out, size, "%lld:%02lld:%02lld", (long long)(s / 3600), (long long)(s / 60 % 60),
                 (long long)(s % 60));
}

static void format_rate(double rate, char *out, size_t size)
{
    if (rate >= 1e6)
        snprintf(out, size, "%.2fM", rate / 1e6);
    else if (rate >= 1e4)
        snprintf(out, size, "%.1fk", rate / 1e3);
    else
        snprintf(out, size, "%.0f", rate);
}

void orth_progress_text(const orth_progress *progress, const orth_metrics *metrics, double now,
                        char *out, int64_t size)
{
    int64_t done = metrics->step - progress->first_step;
    int64_t left = progress->last_step - metrics->step;
    double share = progress->last_step > 0
                       ? 100.0 * (double)metrics->step / (double)progress->last_step
                       : 100.0;
    double seconds = done > 0 ? (now - progress->started) / (double)done * (double)left : 0;
    char time_left[32], rate[32];
    orth_progress_duration(seconds, time_left, sizeof time_left);
    format_rate(metrics->tokens_per_s, rate, sizeof rate);
    snprintf(out, (size_t)size,
             "step %lld/%lld (%.1f%%)  loss %.4g  L0 %.1f  dead %lld  %s tokens/s  %s left",
             (long long)metrics->step, (long long)progress->last_step, share, metrics->loss,
             metrics->l0, (long long)metrics->n_dead, rate, time_left);
}

void orth_progress_step(orth_progress *progress, const orth_metrics *metrics, bool logged)
{
    char text[256];
    double now = orth_now();
    if (progress->lines && logged) {
        orth_progress_text(progress, metrics, now, text, sizeof text);
        orth_log_info("%s", text);
    }
    if (!progress->terminal || (progress->drawn && metrics->step < progress->last_step &&
                                now - progress->last_draw < seconds_between_draws))
        return;
    orth_progress_text(progress, metrics, now, text, sizeof text);
    fprintf(stderr, "\r\033[K%s", text);
    fflush(stderr);
    progress->drawn = true;
    progress->last_draw = now;
}

void orth_progress_clear(orth_progress *progress)
{
    if (!progress->drawn)
        return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
    progress->drawn = false;
}

typedef struct share {
    orth_phase phase;
    double seconds;
} share;

static int longest_first(const void *a, const void *b)
{
    const share *x = a, *y = b;
    if (x->seconds != y->seconds)
        return x->seconds < y->seconds ? 1 : -1;
    return (int)x->phase - (int)y->phase;
}

void orth_progress_phases(const double seconds[ORTH_PHASE_COUNT])
{
    share shares[ORTH_PHASE_COUNT];
    double total = 0;
    for (int i = 0; i < ORTH_PHASE_COUNT; i++) {
        shares[i] = (share){(orth_phase)i, seconds[i]};
        total += seconds[i];
    }
    qsort(shares, ORTH_PHASE_COUNT, sizeof *shares, longest_first);
    orth_log_info("%-12s %10s %7s", "phase", "seconds", "share");
    for (int i = 0; i < ORTH_PHASE_COUNT; i++)
        if (shares[i].seconds > 0)
            orth_log_info("%-12s %10.2f %6.1f%%", orth_phase_name(shares[i].phase),
                          shares[i].seconds, 100.0 * shares[i].seconds / total);
    orth_log_info("%-12s %10.2f", "total", total);
}
