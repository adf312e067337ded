#include <orthant/sae/loss.h>

#include <orthant/sae/measure.h>

#include <stddef.h>

double orth_sum_of_squares(const orth_batch *batch, const float *rows, int64_t d_model,
                           const double *centre, double *squares)
{
    double sum = 0.0;
    orth_measure_squares(rows, batch->n_token, d_model, centre, squares);
    for (int64_t t = 0; t < batch->n_token; t++)
        sum += batch->valid[t] ? squares[t] : 0.0;
    return sum;
}

/* The weight of |r_t|^2 in the loss. */
static double token_weight(const orth_sae *sae, const orth_batch *batch, int64_t t)
{
    double size = (double)batch->n_valid * (double)sae->d_model;
    if (!batch->valid[t])
        return 0.0;
    switch (sae->recipe.loss) {
    case ORTH_LOSS_MSE_SCALED:
        return sae->mse_scale / size;
    case ORTH_LOSS_MSE:
        return 1.0 / size;
    case ORTH_LOSS_NORMALISED:
        break;
    }
    double norm = batch->norm[t];
    return norm > 0.0 ? 1.0 / (norm * norm * (double)batch->n_nonzero) : 0.0;
}

void orth_loss_reconstruction(const orth_sae *sae, const orth_batch *batch, const float *residual,
                              double coefficient, double *squares, double *value)
{
    orth_measure_squares(residual, batch->n_token, sae->d_model, NULL, squares);
    *value = 0.0;
    for (int64_t t = 0; t < batch->n_token; t++)
        *value += coefficient * token_weight(sae, batch, t) * squares[t];
}

void orth_loss_reconstruction_gradient(const orth_sae *sae, const orth_batch *batch,
                                       double coefficient, float *residual)
{
    int64_t d = sae->d_model;
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < batch->n_token; t++) {
        double weight = 2.0 * coefficient * token_weight(sae, batch, t);
        for (int64_t j = 0; j < d; j++)
            residual[t * d + j] = (float)(weight * (double)residual[t * d + j]);
    }
}
