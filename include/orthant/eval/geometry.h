#ifndef ORTHANT_EVAL_GEOMETRY_H
#define ORTHANT_EVAL_GEOMETRY_H

#include <orthant/eval/quantile.h>
#include <orthant/sae/model.h>

#include <stdbool.h>
#include <stdint.h>

/**
 * How far n rows are from being orthogonal: the products w_i . w_j of all pairs i != j (Lee et al.
 * 2025, section 4). All 0 for a single row.
 */
typedef struct orth_coherence {
    double max;  ///< signed
    double mean; ///< signed; from the row sum: (|sum_i w_i|^2 - sum_i |w_i|^2) / (n (n - 1))
    double max_abs;
    double mean_abs;
    double welch; ///< no n unit vectors have a smaller max_abs: sqrt((n - d) / (d (n - 1))), or 0
    int64_t max_pair[2];     ///< two latents i < j whose product is max; -1 when there is no pair
    int64_t max_abs_pair[2]; ///< two whose product is max_abs or -max_abs
} orth_coherence;

/**
 * Measure W_dec as stored. Every pair of latents is multiplied once, in tiles; shards travel inside
 * the token group in blocks of bounded size, the groups share the tiles: n x n products are never
 * stored. n^2 d / 2 multiplications over all ranks. Equal on all ranks; on different grids to
 * rounding. Collective over the grid; a failure after the (agreed) allocation ends the run.
 */
orth_status orth_coherence_measure(const orth_sae *sae, orth_coherence *out);

/** The geometry of a dictionary. */
typedef struct orth_geometry {
    orth_coherence stored;   ///< of the rows of W_dec as stored, as the paper's code takes them
    orth_coherence unit;     ///< of the rows divided by their lengths: cosines
    double mean_square;      ///< of the products of `stored`; see orth_geometry_measure
    double mean_square_unit; ///< of the cosines; at least (n - d) / (d (n - 1)), welch^2
    bool pairs; ///< false: max, max_abs, mean_abs (NaN), the pairs and the histogram are left out
    orth_histogram cosines; ///< of the n (n - 1) / 2 pairs of `unit`: bins of 1/64 from -1 to 1
    double norm_min, norm_mean, norm_max; ///< of |w_i|
    int64_t zero_rows;                    ///< rows of zeros; they stay zeros in `unit`
} orth_geometry;

/**
 * Measure W_dec. mean and mean_square come in closed form, without a pair: from the row sum, and as
 * (|W^T W|_F^2 - sum_i |w_i|^4) / (n (n - 1)), W^T W (d x d) in double and spread over the ranks:
 * n d^2 multiplications for each of stored and unit rows. The rest, with `pairs`, as
 * orth_coherence_measure does it. Equal on all ranks; on different grids to rounding (a cosine at
 * the edge of a bin may change sides). ORTH_ERR_CORRUPT when a weight is not finite. Collective
 * over the grid; agreed (a rank that fails alone in the middle ends the job). End with
 * orth_geometry_free.
 */
orth_status orth_geometry_measure(const orth_sae *sae, bool pairs, orth_geometry *out);

/** Free. A zeroed struct is allowed. */
void orth_geometry_free(orth_geometry *geometry);

#endif
