#ifndef ORTHANT_SRC_EVAL_ROW_SUMS_H
#define ORTHANT_SRC_EVAL_ROW_SUMS_H

#include <orthant/sae/model.h>

/** What sums over the rows of W_dec tell of their products, without a pair. Over all latents, equal
 * on all ranks. */
typedef struct orth_row_sums {
    double norm_min, norm_mean, norm_max; ///< of |w_i|
    int64_t zero_rows;
    double mean;        ///< of w_i . w_j, i != j
    double mean_square; ///< of (w_i . w_j)^2
    double mean_unit;   ///< of the cosines
    double mean_square_unit;
} orth_row_sums;

/** Measure; `squares` false leaves out the mean squares, which take W^T W. Collective over the
 * grid; agreed (a rank that fails alone in the middle ends the job). */
orth_status orth_row_sums_measure(const orth_sae *sae, bool squares, orth_row_sums *out);

#endif
