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
 * Reconstruction loss of the residual r = x_hat - x (n_token, d_model), times `coefficient`
 * (RECIPES, losses): mse: mean r^2; mse_scaled: that times sae->mse_scale; normalised:
 * mean |r|^2 / |x|^2 over tokens with |x| > 0. Means are over the tokens of weight one of the
 * global batch. *value is this token group's part of the sum; `squares` is scratch (n_token). Not
 * collective.
 */
void orth_loss_reconstruction(const orth_sae *sae, const orth_batch *batch, const float *residual,
                              double coefficient, double *squares, double *value);

/** The gradient to x_hat of the same, written over the residual. */
void orth_loss_reconstruction_gradient(const orth_sae *sae, const orth_batch *batch,
                                       double coefficient, float *residual);

/**
 * AuxK (coefficient times, RECIPES, losses) of the error e = W_dec^T f_aux + r (n_token, d_model):
 * in both variants the prediction less its target. `gao`: mean e^2 / mean (r - mean_B r)^2, whose
 * denominator is agreed over the token groups; `topafa`: mean e^2, nothing when no latent is dead.
 * Overwrites e by the gradient to the prediction. *value is this group's part. Collective over the
 * grid; a failure ends the run. `sums` (d_model) and `squares` (n_token) are scratch.
 */
orth_status orth_loss_aux(const orth_sae *sae, const orth_batch *batch, const float *residual,
                          int64_t n_dead, float *error, double *sums, double *squares,
                          double *value);

/**
 * AFA norm matching (Lee et al. 2025): afa_coefficient mean_B (|f| - |x|)^2, x not centred. Sets
 * pull[t] = (2 c / B)(|f| - |x|) / |f|, 0 when |f| = 0, so that the gradient to f_i is pull f_i.
 * *value is this token group's part. `squares` is scratch (n_token). Collective over the token
 * group; a failure ends the run.
 */
orth_status orth_loss_afa(const orth_sae *sae, const orth_batch *batch, const orth_code *code,
                          double *squares, float *pull, double *value);

/** Sum over the own tokens of weight one of |row - centre|^2 (centre NULL: 0), token after token;
 * `squares` is scratch (n_token). Not collective. */
double orth_sum_of_squares(const orth_batch *batch, const float *rows, int64_t d_model,
                           const double *centre, double *squares);

#endif
