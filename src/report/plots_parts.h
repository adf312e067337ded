#ifndef ORTHANT_SRC_REPORT_PLOTS_PARTS_H
#define ORTHANT_SRC_REPORT_PLOTS_PARTS_H

#include "report_parts.h"

#include <stdio.h>

/* One plot under way: <folder>/<name>.dat, of one block for each curve, and <name>.gp. */
typedef struct orth_plot {
    const char *folder;
    char name[64];
    FILE *script, *data;
    FILE *curves; ///< what follows `plot`, collected in `text`
    char *text;
    size_t length;
    char *settings;
    int blocks;
    int sign;               ///< of points, in place of the style's; 0: that
    int columns;            ///< of the key at most; 0: as many as fit
    size_t titles, longest; ///< entries of the key, and signs of the longest
} orth_plot;

/** Start a plot; `settings` are gnuplot's, a line each. ORTH_ERR_STORAGE. End with orth_plot_end.
 */
orth_status orth_plot_begin(const char *folder, const char *name, const char *settings,
                            orth_plot *out);

/** A curve of points (x[i], y[i]), those that are not numbers left out; none at all:
 * no curve. `how` is gnuplot's:
 * "with lines"; `style` the number of a line style; `title` NULL: not in the key. */
void orth_plot_curve(orth_plot *plot, const json_t *x, const json_t *y, const char *how, int style,
                     const char *title);

/** Whatever else is to be drawn: an expression with its style; `title` as above. */
void orth_plot_expression(orth_plot *plot, const char *expression, const char *title);

/** A block of data by hand, then what is drawn of it: "using 1:2 ...". */
FILE *orth_plot_block(orth_plot *plot);
void orth_plot_use(orth_plot *plot, const char *using, int style, const char *title);

/** The line style of a model: no two of 32 have the same. */
int orth_plot_style(size_t model);

/** The colour of a model among the line styles of a few: 1 to 8. */
int orth_plot_colour(size_t model);

/** Finish: a script that makes SVG and PNG. A plot without curves is removed. ORTH_ERR_STORAGE. */
orth_status orth_plot_end(orth_plot *plot, orth_status status);

/** Run gnuplot in the folder; `words` is its command line, ending with NULL. What it says is shown
 * when it fails. ORTH_ERR_ENVIRONMENT when it is missing or fails; the message says that `page`, if
 * any, was written. */
orth_status orth_gnuplot_run(const char *folder, char **words, const char *page);

#endif
