#ifndef ORTHANT_EVAL_QUALITY_H
#define ORTHANT_EVAL_QUALITY_H

#include <orthant/eval/quantile.h>
#include <orthant/eval/quasi.h>
#include <orthant/eval/zf.h>
#include <orthant/sae/step.h>

#include <stdint.h>

/**
 * How well a model does on a table of tokens (RECIPES, evaluation). z is x after normalisation, not
 * centred; r = x_hat - x; f~ = (f_i |W_dec,i|, |b_dec|); W_dec as stored. Tokens of weight zero
 * count nowhere. What is undefined (a mean over nothing, a division by zero) is NaN.
 */
typedef struct orth_quality {
    int64_t tokens; ///< evaluated, weight one
    int64_t n_latent;
    int64_t d_model;
    double mse;    ///< mean over tokens and coordinates of r^2
    double nmse;   ///< mean over tokens with |z| > 0 of |r|^2 / |z|^2
    double fvu;    ///< sum |r|^2 / sum |z - mean z|^2
    double cosine; ///< mean over tokens with |z| > 0 of cos(z, x_hat), 0 where x_hat = 0
    double afa;    ///< mean (|f| - |z|)^2
    double l0;     ///< mean number of f_i > 0
    double l0_p5, l0_p50, l0_p95;
    int64_t l0_max;
    orth_histogram l0_histogram; ///< at most 64 bins of equal whole width from 0
    int64_t dead;                ///< latents that never fired
    int64_t rare;              ///< latents that fired for fewer than 1 token in 10^5, dead ones too
    orth_histogram frequency;  ///< of log10(share of tokens), the dead left out; bins of 1/4
    double description_length; ///< l0 (7 + log2 n_latent) bits
    /* eLBO: abs(|z|^2 - |f~|^2) / ((n - 1) |f~|^2), of tokens with |f~| > 0. Quantiles are exact up
     * to ORTH_QUALITY_EXACT tokens, beyond that to 1 part in 4096. */
    double elbo_median, elbo_q25, elbo_q75, elbo_mean;
    int64_t elbo_undefined;        ///< tokens with |f~| = 0, or all when n = 1
    orth_histogram elbo_histogram; ///< of log10, bins of 1/4 from -12 to 2, 0 in the first
    orth_zf zf;                    ///< (|z|, |f~|)
    orth_zf_counts zf_counts;
    orth_quasi quasi;
} orth_quality;

/** Tables of at most so many rows have exact quantiles of the eLBO: 8 bytes a token, as much as the
 * bins that larger tables are counted in. */
enum { ORTH_QUALITY_EXACT = 1 << 20 };

/** An evaluation under way: sums over the tokens that this rank judges. */
typedef struct orth_quality_sums orth_quality_sums;

/** Start, for a table of `rows` rows that comes in batches of at most `batch`. `eps` is the largest
 * |cos| of two unit rows of W_dec or of one and b_dec, NaN when it is not known (eval/quasi.h).
 * Local. End with orth_quality_free. */
orth_status orth_quality_begin(const orth_sae *sae, int64_t rows, int64_t batch, double eps,
                               orth_quality_sums **out);

/**
 * Take in the batch that orth_forward has just left in the workspace, whose first token is row
 * `first_row` of the table. Each rank of a token group judges a part of its tokens. Collective over
 * the grid; the status is local, and what fails locally fails after the last collective.
 */
orth_status orth_quality_add(orth_quality_sums *sums, const orth_sae *sae,
                             const orth_workspace *workspace, int64_t first_row);

/**
 * The figures of all that was taken in, on all ranks; on different grids equal to rounding.
 * ORTH_ERR_DATA when no token had weight one. Collective over the grid; a failure ends the run. End
 * with orth_quality_clear.
 */
orth_status orth_quality_finish(orth_quality_sums *sums, const orth_sae *sae, orth_quality *out);

/** Free. NULL and a zeroed struct are allowed. */
void orth_quality_free(orth_quality_sums *sums);
void orth_quality_clear(orth_quality *quality);

#endif
