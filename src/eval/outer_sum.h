#ifndef ORTHANT_SRC_EVAL_OUTER_SUM_H
#define ORTHANT_SRC_EVAL_OUTER_SUM_H

#include "block_matrix.h"

#include <orthant/kern/scatter.h>

/**
 * A sum over rows, spread over the ranks, of (x - m)(x - m)^T: the lower triangle of a d x d matrix
 * in block-cyclic shares. Columns are computed panel by panel from the rank's own rows, and each
 * panel's parts go to their owners at once: a rank holds its share and three panels.
 */
typedef struct orth_outer_sum {
    const orth_block_grid *grid;
    double *share;      ///< orth_block_share entries; owned
    int64_t width;      ///< columns of a panel
    double *panel;      ///< (width, d)
    double *sent;       ///< the panel, packed by owner
    double *received;   ///< the own part of every rank's panel
    int64_t *to, *from; ///< (ranks) entries for and from each rank
    orth_scatter_tiles tiles;
} orth_outer_sum;

/** Start with zeros. The grid outlives the sum. Collective; agreed. End with orth_outer_sum_free.
 */
orth_status orth_outer_sum_create(const orth_block_grid *grid, orth_outer_sum *out);
void orth_outer_sum_free(orth_outer_sum *sum);

/**
 * Add this rank's rows x (n_row, d), which may be none: f_r^2 (x_r - m)(x_r - m)^T; see
 * orth_scatter_panel. Parts are added in rank order. Collective; fails only where MPI does.
 */
orth_status orth_outer_sum_add(orth_outer_sum *sum, const float *x, int64_t n_row,
                               const double *centre, const double *factor);

/** share = scale (share + weight s s^T), s (d) equal on all ranks. Local. */
void orth_outer_sum_finish(orth_outer_sum *sum, double weight, const double *s, double scale);

/** Free the panels, which only orth_outer_sum_add needs; the share stays. */
void orth_outer_sum_end_panels(orth_outer_sum *sum);

#endif
