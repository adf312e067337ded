#ifndef ORTHANT_SAE_BOUND_H
#define ORTHANT_SAE_BOUND_H

#include <orthant/sae/batch.h>
#include <orthant/sae/code.h>
#include <orthant/sae/model.h>

/** What orth_branch is, with the code by tokens. */
typedef struct orth_bound_branch {
    const orth_code *code;
    const float *upstream; ///< (n_token, d_model)
    const float *pull;     ///< (n_token) or NULL
} orth_bound_branch;

/**
 * An upper bound of the norm of the whole gradient, from norms alone, that rounding cannot break:
 * with f_t the code of token t on the own shard, k_t its entries, u_t the upstream gradient,
 * |g_t| <= sqrt(k_t) max_i |W_dec,i| |u_t| + |pull_t| |f_t|, and
 *   W_dec: sum_t |f_t| |u_t|;  W_enc: sum_t |g_t| |x_t - b_dec|;  b_enc: sum_t |g_t|;
 *   b_dec: |b_dec| + sum_t sqrt(k_t) max_i |W_enc,i| |g_t|
 * for each branch, where b_dec (d_model) is this rank's sum of the upstream gradients; added over
 * branches and token groups, then over shards as squares. Neither the projection nor the clip makes
 * a norm larger. `rows` is scratch (n_own), `tokens` (2, n_token). Equal on all ranks. Collective
 * over the grid; a failure ends the run.
 */
orth_status orth_gradient_bound(const orth_sae *sae, const orth_batch *batch,
                                const orth_bound_branch *branches, int n_branch,
                                const double *b_dec, double *rows, double *tokens, double *bound);

#endif
