#ifndef ORTHANT_SAE_LOSS_H
#define ORTHANT_SAE_LOSS_H

#include <orthant/sae/batch.h>
#include <orthant/sae/code.h>
#include <orthant/sae/model.h>

/** The terms of the loss, each as it enters (coefficients included). */
typedef struct orth_terms {
    double mse; ///< reconstruction
    double aux; ///< AuxK
    double afa; ///< AFA norm matching
} orth_terms;

/**
 * Reconstruction loss of the residual r = x_hat - x, times `coefficient` (RECIPES, losses): mse:
 * mean r^2; mse_scaled: that times sae->mse_scale; normalised: mean |r|^2 / |x|^2 over tokens with
 * |x| > 0. Means are over the tokens of weight one of the global batch. `square` (n_token) holds
 * |r_t|^2. Returns the own tokens' part of the sum (orth_batch.part). Not collective.
 */
double orth_loss_reconstruction(const orth_sae *sae, const orth_batch *batch, const double *square,
                                double coefficient);

/** factor[t] (n_token), of the own tokens: the gradient of the same to x_hat(t) is factor[t] r(t).
 */
void orth_loss_factors(const orth_sae *sae, const orth_batch *batch, double coefficient,
                       double *factor);

/**
 * AuxK (coefficient times, RECIPES, losses) of the error e = W_dec^T f_aux + r (n_token, d_model):
 * in both variants the prediction less its target. `gao`: mean e^2 / mean (r - mean_B r)^2, whose
 * denominator is agreed over all ranks; `topafa`: mean e^2, nothing when no latent is dead.
 * `square` and `error_square` (n_token) hold |r_t|^2 and |e_t|^2 of the own tokens. *scale: the
 * weight of |e_t|^2, so that the gradient to the prediction is 2 *scale e. *value is the own
 * tokens' part. Collective over the grid; a failure ends the run. `sums` (d_model) and `tokens`
 * (n_token) are scratch.
 */
orth_status orth_loss_aux(const orth_sae *sae, const orth_batch *batch, const float *residual,
                          const double *square, int64_t n_dead, const double *error_square,
                          double *sums, double *tokens, double *scale, double *value);

/**
 * AFA norm matching (Lee et al. 2025): afa_coefficient mean_B (|f| - |x|)^2, x not centred. Sets
 * pull[t] = (2 c / B)(|f| - |x|) / |f|, 0 when |f| = 0, so that the gradient to f_i is pull f_i.
 * *value is the own tokens' part. `squares` is scratch (n_token). Collective over the token
 * group; a failure ends the run.
 */
orth_status orth_loss_afa(const orth_sae *sae, const orth_batch *batch, const orth_code *code,
                          double *squares, float *pull, double *value);

/** The sum of values[t] over the own tokens of weight one, token after token. */
double orth_sum_valid(const orth_batch *batch, const double *values);

#endif
