#ifndef ORTHANT_EVAL_GEOMETRY_H
#define ORTHANT_EVAL_GEOMETRY_H

#include <orthant/sae/model.h>

/** How far the rows of W_dec are from being orthogonal: the off-diagonal entries of
 * W_dec W_dec^T, W_dec as stored (Lee et al. 2025, section 4). All 0 for a single latent. */
typedef struct orth_coherence {
    double max;  ///< signed
    double mean; ///< signed; from the row sum: (|sum_i w_i|^2 - sum_i |w_i|^2) / (n (n - 1))
    double max_abs;
    double mean_abs;
    double welch; ///< no n unit vectors have a smaller max_abs: sqrt((n - d) / (d (n - 1))), or 0
} orth_coherence;

/**
 * Measure W_dec. Every pair of latents is multiplied once, in tiles; shards travel inside the token
 * group in blocks of bounded size, the groups share the tiles: n x n products are never stored.
 * n^2 d / 2 multiplications over all ranks. Equal on all ranks; on different grids to rounding.
 * Collective over the grid; a failure after the (agreed) allocation ends the run.
 */
orth_status orth_coherence_measure(const orth_sae *sae, orth_coherence *out);

#endif
