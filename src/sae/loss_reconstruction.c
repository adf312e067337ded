#include <orthant/sae/loss.h>

double orth_sum_valid(const orth_batch *batch, const double *values)
{
    double sum = 0.0;
    for (int64_t t = batch->part.begin; t < batch->part.end; t++)
        sum += batch->valid[t] ? values[t] : 0.0;
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

double orth_loss_reconstruction(const orth_sae *sae, const orth_batch *batch, const double *square,
                                double coefficient)
{
    double value = 0.0;
    for (int64_t t = batch->part.begin; t < batch->part.end; t++)
        value += coefficient * token_weight(sae, batch, t) * square[t];
    return value;
}

void orth_loss_factors(const orth_sae *sae, const orth_batch *batch, double coefficient,
                       double *factor)
{
    for (int64_t t = batch->part.begin; t < batch->part.end; t++)
        factor[t] = 2.0 * coefficient * token_weight(sae, batch, t);
}
