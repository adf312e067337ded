#include <orthant/sae/loss.h>

#include <orthant/kern/norm.h>
#include <orthant/par/collective.h>

#include <math.h>
#include <stddef.h>

/* A variance this small beside the mean square is rounding: the target is constant. */
static const double CONSTANT_BELOW = 1e-13;

/* mean (r - mean_B r)^2 over the global batch, 0 when it vanishes up to rounding. */
static orth_status target_variance(const orth_sae *sae, const orth_batch *batch,
                                   const float *residual, double *sums, double *token_squares,
                                   double *variance)
{
    int64_t d = sae->d_model;
    double squares[2] = {0.0, 0.0}, size = (double)batch->n_valid * (double)d;
    orth_column_sums(residual, batch->n_token, d, 0, sums);
    ORTH_TRY(orth_sum_f64(sums, d, sae->grid->peers));
    for (int64_t j = 0; j < d; j++)
        sums[j] /= (double)batch->n_valid;
    squares[0] = orth_sum_of_squares(batch, residual, d, sums, token_squares);
    squares[1] = orth_sum_of_squares(batch, residual, d, NULL, token_squares);
    ORTH_TRY(orth_sum_f64(squares, 2, sae->grid->peers));
    *variance = squares[0] > CONSTANT_BELOW * squares[1] ? squares[0] / size : 0.0;
    return ORTH_OK;
}

orth_status orth_loss_aux(const orth_sae *sae, const orth_batch *batch, const float *residual,
                          int64_t n_dead, float *error, double *sums, double *squares,
                          double *value)
{
    int64_t d = sae->d_model;
    double scale = sae->recipe.aux_coefficient / ((double)batch->n_valid * (double)d);
    if (sae->recipe.aux == ORTH_AUX_GAO) {
        double variance = 0.0;
        ORTH_TRY(target_variance(sae, batch, residual, sums, squares, &variance));
        scale = variance > 0.0 && isfinite(variance) ? scale / variance : 0.0;
    } else if (n_dead == 0) {
        scale = 0.0;
    }
    *value = scale > 0.0 ? scale * orth_sum_of_squares(batch, error, d, NULL, squares) : 0.0;
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < batch->n_token; t++)
        for (int64_t j = 0; j < d; j++)
            error[t * d + j] = scale > 0.0 && batch->valid[t]
                                   ? (float)(2.0 * scale * (double)error[t * d + j])
                                   : 0.0f;
    return ORTH_OK;
}
