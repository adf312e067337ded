#ifndef ORTHANT_EVAL_GEOMETRY_H
#define ORTHANT_EVAL_GEOMETRY_H

#include <orthant/eval/quantile.h>
#include <orthant/sae/model.h>

/**
 * How far n rows are from being orthogonal: the products w_i . w_j of all pairs i != j (Lee et al.
 * 2025, section 4). All 0 for a single row.
 */
typedef struct orth_coherence {
    double max;  ///< signed
    double mean; ///< signed: (|sum_i w_i|^2 - sum_i |w_i|^2) / (n (n - 1))
    double max_abs;
    double mean_abs;
    double welch; ///< no n unit vectors have a smaller max_abs: sqrt((n - d) / (d (n - 1))), or 0
    double mean_square;      ///< (|W^T W|_F^2 - sum_i |w_i|^4) / (n (n - 1)); see below
    int64_t max_pair[2];     ///< the latents i < j that attain max; the lowest i, then j
    int64_t max_abs_pair[2]; ///< those that attain max_abs
} orth_coherence;

/**
 * Measure W_dec as stored. Every pair of latents is multiplied once, in tiles; shards travel inside
 * the token group in blocks of bounded size, the groups share the tiles: n x n products are never
 * stored. n^2 d / 2 multiplications over all ranks. Leaves mean_square 0: see
 * orth_geometry_measure. Equal on all ranks; on different grids to rounding. Collective over the
 * grid; a failure after the (agreed) allocation ends the run.
 */
orth_status orth_coherence_measure(const orth_sae *sae, orth_coherence *out);

/** The geometry of a dictionary. */
typedef struct orth_geometry {
    orth_coherence stored;  ///< of the rows of W_dec as stored, as the paper's code takes them
    orth_coherence unit;    ///< of the rows divided by their length: cosines
    orth_histogram cosines; ///< of `unit`: bins of 1/64 from -1 to 1 over the n (n - 1) / 2 pairs
    double norm_min, norm_mean, norm_max; ///< of |w_i|
    int64_t zero_rows;                    ///< rows of zeros; they stay zeros in `unit`
    bool pairs; ///< false: max, mean_abs, the pairs and the histogram were left out
} orth_geometry;

/**
 * Measure W_dec. mean and mean_square come in closed form from the row sum and W^T W (d x d, spread
 * over the ranks), n d^2 multiplications; the rest, with `pairs`, as orth_coherence_measure does.
 * Equal on all ranks; on different grids to rounding (a cosine at the edge of a bin may change
 * sides). Collective over the grid; agreed, but for MPI's own failures. End with
 * orth_geometry_free.
 */
orth_status orth_geometry_measure(const orth_sae *sae, bool pairs, orth_geometry *out);
void orth_geometry_free(orth_geometry *geometry);

#endif
