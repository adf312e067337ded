#include <orthant/sae/bound.h>

#include <orthant/kern/norm.h>
#include <orthant/par/collective.h>
#include <orthant/sae/measure.h>

#include <math.h>
#include <stddef.h>

enum { W_ENC, W_DEC, B_ENC, B_DEC, PARAMS };

/* Relative error of a sum of `terms` products in float, generously. */
static double rounding(double terms)
{
    return terms * 0x1p-22;
}

static double largest_row(const float *w, int64_t n_row, int64_t d, double *norm)
{
    double largest = 0.0;
    orth_measure_norms(w, n_row, d, norm);
    for (int64_t i = 0; i < n_row; i++)
        if (!(norm[i] <= largest))
            largest = norm[i];
    return largest;
}

static void measure_codes(const orth_code *code, double *norm)
{
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < code->n_token; t++) {
        const float *f = code->value + code->start[t];
        norm[t] = sqrt(orth_dot_f64(f, f, code->start[t + 1] - code->start[t]));
    }
}

/* Adds a branch to the bounds of each parameter. */
static void add_branch(const orth_batch *batch, const orth_bound_branch *branch, int64_t d,
                       double W_enc, double W_dec, double *tokens, double *bounds)
{
    double *code_norm = tokens, *upstream_norm = tokens + batch->n_token;
    measure_codes(branch->code, code_norm);
    orth_measure_norms(branch->upstream, batch->n_token, d, upstream_norm);
    for (int64_t t = 0; t < batch->n_token; t++) {
        double f = code_norm[t], u = upstream_norm[t];
        double root = sqrt((double)(branch->code->start[t + 1] - branch->code->start[t]));
        double pull = branch->pull ? fabs((double)branch->pull[t]) : 0.0;
        double g = root * W_dec * u + pull * f;
        bounds[W_ENC] += g * batch->norm_centred[t];
        bounds[W_DEC] += f * u;
        bounds[B_ENC] += g;
        bounds[B_DEC] += root * W_enc * g;
    }
}

orth_status orth_gradient_bound(const orth_sae *sae, const orth_batch *batch,
                                const orth_bound_branch *branches, int n_branch,
                                const double *b_dec, double *rows, double *tokens, double *bound)
{
    int64_t d = sae->d_model, n_own = orth_range_size(sae->own);
    double W_enc = largest_row(sae->weights.W_enc, n_own, d, rows);
    double W_dec = largest_row(sae->weights.W_dec, n_own, d, rows);
    double bounds[PARAMS] = {0.0}, square = 0.0;
    for (int b = 0; b < n_branch; b++)
        add_branch(batch, branches + b, d, W_enc, W_dec, tokens, bounds);
    for (int64_t j = 0; j < d; j++)
        square += b_dec[j] * b_dec[j];
    bounds[B_DEC] += sqrt(square);
    /* Between groups shards add as vectors, inside a group all but b_dec are apart. */
    ORTH_TRY(orth_sum_f64(bounds, PARAMS, sae->grid->peers));
    double sums[2] = {0.0, bounds[B_DEC]};
    for (int p = 0; p < PARAMS; p++)
        sums[0] += p == B_DEC ? 0.0 : bounds[p] * bounds[p];
    ORTH_TRY(orth_sum_f64(sums, 2, sae->grid->group));
    double terms = (double)sae->recipe.batch + (double)d + 1024.0;
    *bound = sqrt(sums[0] + sums[1] * sums[1]) * (1.0 + 1e-3 + rounding(terms));
    return ORTH_OK;
}
