#include <orthant/sae/loss.h>

#include <orthant/kern/norm.h>
#include <orthant/par/collective.h>
#include <orthant/sae/measure.h>

#include <math.h>

/* A variance this small beside the mean square is rounding: the target is constant. */
static const double CONSTANT_BELOW = 1e-13;

/* mean (r - mean_B r)^2 over the global batch, 0 when it vanishes up to rounding. */
static orth_status target_variance(const orth_sae *sae, const orth_batch *batch,
                                   const float *residual, const double *square, double *sums,
                                   double *tokens, double *variance)
{
    int64_t d = sae->d_model;
    double squares[2] = {0.0, orth_sum_valid(batch, square)};
    int64_t first = batch->part.begin, n = orth_range_size(batch->part);
    orth_column_sums(residual + first * d, n, d, 0, sums);
    ORTH_TRY(orth_sum_f64(sums, d, sae->grid->world));
    for (int64_t j = 0; j < d; j++)
        sums[j] /= (double)batch->n_valid;
    orth_measure_squares(residual + first * d, n, d, sums, tokens + first);
    squares[0] = orth_sum_valid(batch, tokens);
    ORTH_TRY(orth_sum_f64(squares, 2, sae->grid->world));
    *variance = squares[0] > CONSTANT_BELOW * squares[1]
                    ? squares[0] / ((double)batch->n_valid * (double)d)
                    : 0.0;
    return ORTH_OK;
}

orth_status orth_loss_aux(const orth_sae *sae, const orth_batch *batch, const float *residual,
                          const double *square, int64_t n_dead, const double *error_square,
                          double *sums, double *tokens, double *scale, double *value)
{
    double weight = sae->recipe.aux_coefficient / ((double)batch->n_valid * (double)sae->d_model);
    if (sae->recipe.aux == ORTH_AUX_GAO) {
        double variance = 0.0;
        ORTH_TRY(target_variance(sae, batch, residual, square, sums, tokens, &variance));
        weight = variance > 0.0 && isfinite(variance) ? weight / variance : 0.0;
    } else if (n_dead == 0) {
        weight = 0.0;
    }
    *scale = weight;
    *value = weight > 0.0 ? weight * orth_sum_valid(batch, error_square) : 0.0;
    return ORTH_OK;
}
