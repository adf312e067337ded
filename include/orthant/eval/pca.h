#ifndef ORTHANT_EVAL_PCA_H
#define ORTHANT_EVAL_PCA_H

#include <orthant/eval/spectrum.h>
#include <orthant/io/dataset.h>

#include <stdbool.h>

/**
 * Principal components of activations: the spectrum of their covariance, and how well the best
 * linear map of each rank reconstructs. P_r projects on the first r eigenvectors of
 * C = mean (x - m)(x - m)^T over the fitted tokens, m their mean; x after input normalisation where
 * there is a model. Beyond the rank of C there are no more components: tested on other tokens, P_r
 * stays there, and what the fitted ones do not span is left at r = d too.
 */
typedef struct orth_pca {
    orth_spectrum covariance; ///< of C; divisor: the number of tokens
    int64_t tokens;           ///< fitted
    int64_t skipped;          ///< rows with NaN or Inf, left out of the fit
    int64_t test_tokens;      ///< of the tested table, which may be the fitted one
    int64_t test_skipped;
    double variance;  ///< mean over the tested tokens of |x - their mean|^2
    double *residual; ///< (d + 1) [r]: mean over the tested tokens of |(1 - P_r)(x - m)|^2. Owned
} orth_pca;

/**
 * Fit to the rows of `fit` and test on those of `test` (NULL: the same). With `sae` rows are
 * normalised as its inputs are; NULL: as stored. With `skip` rows with NaN or Inf are left out,
 * otherwise they are an error. Each table is read once, in blocks, each rank a part of the rows;
 * d^2 multiplications a row and an eigenvalue problem, spread over the ranks, in double; a rank
 * holds about 4 d^2 / ranks doubles and 100 MiB, whatever the number of rows. Equal on all ranks;
 * on different numbers of ranks to rounding. ORTH_ERR_DATA when a width is not the model's, for
 * values that are not finite (it names the first), and when no row is left. Collective over
 * `world`; agreed (a rank that fails alone in the middle ends the job). End with orth_pca_free.
 */
orth_status orth_pca_fit(orth_dataset *fit, orth_dataset *test, const orth_sae *sae, bool skip,
                         MPI_Comm world, orth_pca *out);

/** Fraction of the tested tokens' variance that rank r (0 ... d) leaves unexplained; NaN when there
 * is none. */
double orth_pca_fvu(const orth_pca *pca, int64_t r);

/** Mean over tokens and coordinates of the squared error at rank r: residual[r] / d. */
double orth_pca_mse(const orth_pca *pca, int64_t r);

/** Free. A zeroed struct is allowed. */
void orth_pca_free(orth_pca *pca);

#endif
