#ifndef ORTHANT_RUN_PROGRESS_H
#define ORTHANT_RUN_PROGRESS_H

#include <orthant/run/metrics.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * What the user sees of a run under way. On a terminal one line of stderr is redrawn in place, at
 * most ten times a second; else each logged step is a line of the log. Rank 0 speaks, the others
 * call the same functions and nothing happens. Not collective.
 */
typedef struct orth_progress {
    bool terminal;      ///< redraw
    bool lines;         ///< a log line for each logged step
    bool drawn;         ///< the terminal's line is there
    int64_t first_step; ///< step at the start: 0, or the checkpoint's
    int64_t last_step;  ///< of the whole run
    double started;
    double last_draw;
} orth_progress;

/** Start at `step` of `last_step`. `speaks` is true on rank 0. */
void orth_progress_start(orth_progress *progress, bool speaks, bool quiet, int64_t step,
                         int64_t last_step);

/** A step is done: draw it; `logged` when it is one that is logged. */
void orth_progress_step(orth_progress *progress, const orth_metrics *metrics, bool logged);

/** Wipe the terminal's line, so that a line of the log can be printed; the next step draws it
 * again. To be called before anything is logged, and at the end. */
void orth_progress_clear(orth_progress *progress);

/** A duration as "1:02:03", or "2d 03h" from a day on. */
void orth_progress_duration(double seconds, char *out, size_t size);

/** The text of a progress line, without its end: step, share, loss, L0, dead, tokens/s, time left.
 */
void orth_progress_text(const orth_progress *progress, const orth_metrics *metrics, double now,
                        char *out, int64_t size);

/** The table at the end: phase, seconds, share, the longest first, as log lines. */
void orth_progress_phases(const double seconds[ORTH_PHASE_COUNT]);

#endif
