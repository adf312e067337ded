#include <orthant/sae/loss.h>

#include <orthant/kern/norm.h>

double orth_sum_of_squares(const orth_batch *batch, const float *rows, int64_t d_model)
{
    double sum = 0.0;
    /* In blocks of fixed size, so that the sum does not depend on the number of threads. */
    enum { BLOCK = 64 };
    for (int64_t first = 0; first < batch->n_token; first += BLOCK) {
        int64_t end = first + BLOCK < batch->n_token ? first + BLOCK : batch->n_token;
        double squares[BLOCK];
#pragma omp parallel for schedule(static)
        for (int64_t t = first; t < end; t++)
            squares[t - first] =
                batch->valid[t] ? orth_dot_f64(rows + t * d_model, rows + t * d_model, d_model) : 0.0;
        for (int64_t t = first; t < end; t++)
            sum += squares[t - first];
    }
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
                              double coefficient, double *value)
{
    int64_t d = sae->d_model;
    *value = 0.0;
    for (int64_t t = 0; t < batch->n_token; t++)
        *value += coefficient * token_weight(sae, batch, t) *
                  orth_dot_f64(residual + t * d, residual + t * d, d);
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
