#ifndef ORTHANT_SAE_BATCH_H
#define ORTHANT_SAE_BATCH_H

#include <orthant/base/status.h>
#include <orthant/par/grid.h>
#include <orthant/sae/recipe.h>

#include <stdbool.h>
#include <stdint.h>

/** The tokens of one step that this rank's token group works on, equal on all its ranks. */
typedef struct orth_batch {
    int64_t n_token;      ///< of the token group
    int64_t first_token;  ///< index in the global batch of the first
    int64_t n_valid;      ///< tokens with weight one in the global batch
    int64_t n_nonzero;    ///< those of them with |x| > 0
    orth_range part;      ///< tokens of the group (0: its first) that this rank works on alone
    int64_t capacity;     ///< tokens that there is room for
    float *x;             ///< (n_token, d_model) normalised; x - b_dec after orth_batch_exchange
    bool *valid;          ///< (n_token) false: weight zero (a row that was not finite)
    double *norm;         ///< (n_token) |x|, before centring
    double *norm_centred; ///< (n_token) |x - b_dec|
} orth_batch;

/** Room for `n_token` tokens of `d_model` values. Local. */
orth_status orth_batch_create(int64_t n_token, int64_t d_model, orth_batch *out);
void orth_batch_free(orth_batch *batch);

/**
 * Normalise rows in place (RECIPES, input normalisation): none; layernorm (x - mean) / (std +
 * 1e-5), std with divisor d - 1; unit: x - mean, divided by its L2 norm, a zero row stays zero;
 * scale: x times `scale`. Sums are doubles in a fixed order, so that a row's result depends on
 * nothing else. Not collective.
 */
void orth_input_normalise(orth_input_norm kind, double scale, int64_t n_row, int64_t d_model,
                          float *x);

/**
 * Complete a batch of which this rank holds its own part: `x` and `valid` at the tokens that
 * orth_grid_reads gives are normalised and set. Their norms are computed and they are centred:
 * x <- x - b_dec, zero where the weight is zero; then the group's other tokens are fetched from its
 * ranks, and n_valid and n_nonzero are counted over all groups. Collective over the grid.
 */
orth_status orth_batch_exchange(const orth_grid *grid, int64_t batch, const float *b_dec,
                                int64_t d_model, orth_batch *out);

#endif
