#include <orthant/sae/loss.h>

#include <orthant/kern/norm.h>
#include <orthant/par/collective.h>

#include <math.h>

orth_status orth_loss_afa(const orth_sae *sae, const orth_batch *batch, const orth_code *code,
                          double *squares, float *pull, double *value)
{
    double weight = sae->recipe.afa_coefficient / (double)batch->n_valid;
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < batch->n_token; t++) {
        const float *f = code->value + code->start[t];
        squares[t] = orth_dot_f64(f, f, code->start[t + 1] - code->start[t]);
    }
    ORTH_TRY(orth_sum_f64(squares, batch->n_token, sae->grid->group));
    *value = 0.0;
    for (int64_t t = 0; t < batch->n_token; t++) {
        double norm = sqrt(squares[t]), excess = norm - batch->norm[t];
        pull[t] = 0.0f;
        if (!batch->valid[t])
            continue;
        if (t >= batch->part.begin && t < batch->part.end)
            *value += weight * excess * excess;
        if (norm > 0.0)
            pull[t] = (float)(2.0 * weight * excess / norm);
    }
    return ORTH_OK;
}
