#include <orthant/base/finite.h>
#include <orthant/sae/blame.h>

#include <orthant/kern/norm.h>
#include <orthant/par/collective.h>
#include <orthant/sae/measure.h>

#include <float.h>
#include <math.h>
#include <stdio.h>

/* The lowest index that any rank has found; -1 when none has (INT64_MAX). */
static orth_status lowest(const orth_sae *sae, int64_t *index)
{
    ORTH_TRY(orth_allreduce(index, 1, MPI_INT64_T, MPI_MIN, sae->grid->world));
    if (*index == INT64_MAX)
        *index = -1;
    return ORTH_OK;
}

/* The sign of a NaN says nothing. */
static const char *term(double value, char out[32])
{
    if (isnan(value))
        snprintf(out, 32, "nan");
    else
        snprintf(out, 32, "%g", value);
    return out;
}

static int64_t first_bad_latent(const orth_sae *sae)
{
    const orth_params *w = &sae->weights;
    int64_t d = sae->d_model, n = orth_range_size(sae->own);
    for (int64_t i = 0; i < n; i++)
        if (!orth_all_finite(w->W_enc + i * d, d) || !orth_all_finite(w->W_dec + i * d, d) ||
            !isfinite(w->b_enc[i]))
            return sae->own.begin + i;
    return INT64_MAX;
}

static bool code_finite(const orth_code *code, int64_t t)
{
    return orth_all_finite(code->value + code->start[t], code->start[t + 1] - code->start[t]);
}

/* Of the token group's tokens; squared errors are known of the own ones. */
static int64_t first_bad_token(const orth_workspace *w)
{
    const double *squares[] = {w->square, w->multi_square, w->aux_square};
    for (int64_t t = 0; t < w->batch.n_token; t++) {
        bool good =
            code_finite(&w->code, t) && (!w->multi_square || code_finite(&w->multi_code, t));
        bool own = t >= w->batch.part.begin && t < w->batch.part.end;
        for (int i = 0; own && i < 3; i++)
            good = good && (!squares[i] || isfinite(squares[i][t]));
        if (w->batch.valid[t] && !good)
            return w->batch.first_token + t;
    }
    return INT64_MAX;
}

static orth_status blame_loss(const orth_sae *sae, const orth_workspace *w,
                              const orth_step_report *report, orth_blame *out)
{
    char mse[32], aux[32], afa[32];
    int64_t latent = first_bad_latent(sae);
    out->token = first_bad_token(w);
    ORTH_TRY(lowest(sae, &latent));
    ORTH_TRY(lowest(sae, &out->token));
    snprintf(out->what, sizeof out->what, "the loss is not finite (mse %s, aux %s, afa %s)",
             term(report->terms.mse, mse), term(report->terms.aux, aux),
             term(report->terms.afa, afa));
    out->before = latent >= 0 || !orth_all_finite(sae->weights.b_dec, sae->d_model);
    if (out->before)
        out->token = -1;
    return ORTH_OK;
}

/* Mark in `bad` the first token whose part in the gradient of one branch reaches `limit`. */
static orth_status weigh_branch(const orth_sae *sae, orth_workspace *w,
                                const orth_bound_branch *branch, double limit, int64_t *bad)
{
    const orth_code *code = branch->code;
    int64_t n = w->batch.n_token, d = sae->d_model;
    for (int64_t t = 0; t < n; t++) {
        const float *f = code->value + code->start[t];
        w->factor[t] = orth_dot_f64(f, f, code->start[t + 1] - code->start[t]);
    }
    ORTH_TRY(orth_sum_f64(w->factor, n, sae->grid->group));
    for (int64_t t = w->batch.part.begin; t < w->batch.part.end; t++) {
        double u, f = sqrt(w->factor[t]), pull = branch->pull ? fabs((double)branch->pull[t]) : 0.0;
        orth_measure_norms(branch->upstream + t * d, 1, d, &u);
        double part = u * f + (u + pull * f) * w->batch.norm_centred[t];
        if (w->batch.valid[t] && !(part < limit) && w->batch.first_token + t < *bad)
            *bad = w->batch.first_token + t;
    }
    return ORTH_OK;
}

static orth_status blame_gradient(const orth_sae *sae, orth_workspace *w,
                                  const orth_step_report *report, orth_blame *out)
{
    bool finite = isfinite(report->grad_norm);
    int64_t latent = INT64_MAX;
    out->token = INT64_MAX;
    for (int b = 0; b < w->n_branch; b++)
        ORTH_TRY(weigh_branch(sae, w, w->bounds + b, finite ? sqrt((double)FLT_MAX) : FLT_MAX,
                              &out->token));
    ORTH_TRY(lowest(sae, &out->token));
    for (int64_t i = sae->part.end - 1; i >= sae->part.begin; i--)
        if (!isfinite(w->learner.square[i - sae->own.begin]))
            latent = i;
    ORTH_TRY(lowest(sae, &latent));
    if (finite)
        snprintf(out->what, sizeof out->what,
                 "the gradient is not finite in fp32 (its norm is %g, and moments hold squares)",
                 report->grad_norm);
    else if (latent >= 0)
        snprintf(out->what, sizeof out->what, "the gradient is not finite (first of latent %lld)",
                 (long long)latent);
    else
        snprintf(out->what, sizeof out->what, "the gradient is not finite (of b_dec)");
    return ORTH_OK;
}

orth_status orth_blame_find(const orth_sae *sae, orth_workspace *w, const orth_step_report *report,
                            orth_blame *out)
{
    *out = (orth_blame){.token = -1};
    return report->failed == ORTH_STEP_LOSS ? blame_loss(sae, w, report, out)
                                            : blame_gradient(sae, w, report, out);
}
