#include <orthant/sae/step.h>

#include <orthant/base/fault.h>
#include <orthant/kern/norm.h>
#include <orthant/par/collective.h>
#include <orthant/sae/measure.h>

#include <float.h>
#include <math.h>
#include <string.h>

/* The weight of multi-topk's second reconstruction (Gao et al. 2024, appendix). */
static const double MULTI_COEFFICIENT = 1.0 / 8.0;

static void measure_decoder(const orth_sae *sae, double *norm)
{
    orth_measure_norms(sae->weights.W_dec, orth_range_size(sae->own), sae->d_model, norm);
}

/* x_hat - x = W_dec^T f - (x - b_dec), and the square of each token's; of the own tokens. */
static orth_status decode_residual(const orth_sae *sae, const orth_code *code, orth_workspace *w,
                                   float *residual, double *square)
{
    int64_t first = w->batch.part.begin, at = first * sae->d_model;
    ORTH_TRY(orth_decode(sae, code, &w->products, residual));
    orth_measure_difference(w->batch.x + at, orth_range_size(w->batch.part), sae->d_model,
                            residual + at, square + first);
    return ORTH_OK;
}

orth_status orth_workspace_fix(const orth_sae *sae, orth_workspace *w)
{
    ORTH_TRY(orth_encoder_hold(sae, &w->encoder));
    measure_decoder(sae, w->decoder_norm);
    w->fixed = true;
    return ORTH_OK;
}

orth_status orth_forward(const orth_sae *sae, int64_t batch, orth_workspace *w,
                         orth_phase_timer *timer)
{
    orth_phase back = orth_phase_enter(timer, ORTH_PHASE_EXCHANGE);
    ORTH_TRY(orth_batch_exchange(sae->grid, batch, sae->weights.b_dec, sae->d_model, &w->batch));
    if (sae->recipe.selection == ORTH_SELECT_TOPAFA) {
        if (!w->fixed)
            measure_decoder(sae, w->decoder_norm);
        w->selection.decoder_norm = w->decoder_norm;
        w->selection.target =
            sae->recipe.target == ORTH_TARGET_CENTRED ? w->batch.norm_centred : w->batch.norm;
    }
    ORTH_TRY(orth_encode_select(sae, &w->batch, NULL, orth_range_size(sae->own), &w->encoder,
                                &w->selection, timer));
    orth_phase_enter(timer, ORTH_PHASE_DECODE);
    ORTH_TRY(decode_residual(sae, &w->code, w, w->residual, w->square));
    if (w->multi_residual)
        ORTH_TRY(decode_residual(sae, &w->multi_code, w, w->multi_residual, w->multi_square));
    orth_phase_enter(timer, back);
    return ORTH_OK;
}

/* AuxK: the best dead latents' reconstruction of what is missing, as an error to its target. */
static orth_status reconstruct_missing(orth_sae *sae, orth_workspace *w, orth_phase_timer *timer)
{
    int64_t n = w->batch.n_token, n_part = orth_range_size(w->batch.part), d = sae->d_model;
    int64_t first = w->batch.part.begin, at = first * d;
    ORTH_TRY(orth_code_begin(&w->aux_code, n));
    if (w->dead.n_dead == 0) {
        memcpy(w->aux_error + at, w->residual + at, (size_t)(n_part * d) * sizeof *w->aux_error);
        memcpy(w->aux_square + first, w->square + first, (size_t)n_part * sizeof *w->aux_square);
        memset(w->aux_code.start, 0, (size_t)(n + 1) * sizeof *w->aux_code.start);
        w->aux_code.n_token = n;
        return orth_code_reserve(&w->aux_code, 0);
    }
    ORTH_TRY(orth_encode_select(sae, &w->batch, w->dead.index, w->dead.n_own, &w->encoder,
                                &w->aux_selection, timer));
    orth_phase_enter(timer, ORTH_PHASE_DECODE);
    orth_compact_begin(sae, &w->dead, &w->compact);
    ORTH_TRY(orth_compact_decode(sae, &w->compact, &w->aux_code, &w->products, w->aux_error));
    orth_measure_sum(w->residual + at, n_part, d, w->aux_error + at, w->aux_square + first);
    return ORTH_OK;
}

/* 1 - explained variance of the batch; the mean over the batch shifts with b_dec. */
static orth_status batch_fvu(const orth_sae *sae, orth_workspace *w, double *fvu)
{
    int64_t d = sae->d_model;
    orth_range part = w->batch.part;
    double sums[2] = {orth_sum_valid(&w->batch, w->square), 0.0};
    double mean_square = 0.0;
    for (int64_t t = part.begin; t < part.end; t++)
        sums[1] += w->batch.norm_centred[t] * w->batch.norm_centred[t];
    orth_column_sums(w->batch.x + part.begin * d, orth_range_size(part), d, 0, w->sums);
    ORTH_TRY(orth_sum_f64(w->sums, d, sae->grid->world));
    ORTH_TRY(orth_sum_f64(sums, 2, sae->grid->world));
    for (int64_t j = 0; j < d; j++)
        mean_square += w->sums[j] * w->sums[j] / (double)w->batch.n_valid;
    *fvu = sums[0] / (sums[1] - mean_square);
    return ORTH_OK;
}

/* The values of all terms, and AFA's gradient. */
static orth_status losses(orth_sae *sae, orth_workspace *w, orth_terms *terms)
{
    double values[4] = {orth_loss_reconstruction(sae, &w->batch, w->square, 1.0), 0.0, 0.0, 0.0};
    if (w->multi_residual)
        values[1] = orth_loss_reconstruction(sae, &w->batch, w->multi_square, MULTI_COEFFICIENT);
    if (w->aux_error)
        ORTH_TRY(orth_loss_aux(sae, &w->batch, w->residual, w->square, w->dead.n_dead,
                               w->aux_square, w->sums, w->factor, &w->aux_scale, values + 2));
    if (sae->recipe.afa_coefficient > 0.0)
        ORTH_TRY(orth_loss_afa(sae, &w->batch, &w->code, w->factor, w->pull, values + 3));
    ORTH_TRY(orth_sum_f64(values, 4, sae->grid->world));
    *terms = (orth_terms){.mse = values[0] + values[1], .aux = values[2], .afa = values[3]};
    return ORTH_OK;
}

/* The gradients to the reconstructions in the place of the own tokens' residuals, and the sum of
 * those that reach the decoder bias. */
static void upstream_gradients(const orth_sae *sae, orth_workspace *w)
{
    orth_range part = w->batch.part;
    int64_t d = sae->d_model, n = orth_range_size(part), at = part.begin * d;
    double *factor = w->factor + part.begin, *b_dec = w->learner.b_dec;
    memset(b_dec, 0, (size_t)d * sizeof *b_dec);
    orth_loss_factors(sae, &w->batch, 1.0, w->factor);
    orth_scale_rows(factor, w->residual + at, n, d, b_dec);
    if (w->multi_residual) {
        orth_loss_factors(sae, &w->batch, MULTI_COEFFICIENT, w->factor);
        orth_scale_rows(factor, w->multi_residual + at, n, d, b_dec);
    }
    if (w->aux_error) {
        for (int64_t t = part.begin; t < part.end; t++)
            w->factor[t] = w->batch.valid[t] ? 2.0 * w->aux_scale : 0.0;
        orth_scale_rows(factor, w->aux_error + at, n, d, b_dec);
    }
    /* The top-AFA code does not detach the residual that AuxK explains. */
    if (w->aux_error && sae->recipe.aux == ORTH_AUX_TOPAFA && w->dead.n_dead > 0)
        orth_measure_sum(w->aux_error + at, n, d, w->residual + at, factor);
}

/* Every rank of the token group needs the gradients of all its tokens. */
static orth_status gather_upstream(const orth_sae *sae, const orth_batch *batch, float *upstream)
{
    int shards = sae->grid->n_shard;
    int64_t counts[shards], d = sae->d_model;
    if (shards == 1)
        return ORTH_OK;
    for (int s = 0; s < shards; s++)
        counts[s] = orth_range_size(orth_partition(batch->n_token, shards, s)) * d;
    return orth_allgather(upstream + batch->part.begin * d, counts, sizeof *upstream, upstream,
                          sae->grid->group);
}

static orth_status add_branch(const orth_sae *sae, const orth_code *code, int64_t n_latent,
                              float *upstream, const float *pull, orth_code_transposed *columns,
                              orth_workspace *w)
{
    ORTH_TRY(gather_upstream(sae, &w->batch, upstream));
    ORTH_TRY(orth_code_transpose(code, n_latent, columns));
    w->branches[w->n_branch] = (orth_branch){columns, upstream, pull, NULL};
    w->bounds[w->n_branch++] = (orth_bound_branch){code, upstream, pull};
    return ORTH_OK;
}

/* AuxK first: its gradient may be ready before those of the others. */
static orth_status gather_branches(const orth_sae *sae, orth_workspace *w)
{
    const float *pull = sae->recipe.afa_coefficient > 0.0 ? w->pull : NULL;
    int64_t n_own = orth_range_size(sae->own);
    w->n_branch = 0;
    if (w->aux_error && w->dead.n_dead > 0) {
        ORTH_TRY(add_branch(sae, &w->aux_code, orth_compact_latents(sae, &w->compact), w->aux_error,
                            NULL, &w->aux_columns, w));
        orth_compact_gradient(sae, &w->batch, &w->products, &w->compact, w->branches);
    }
    ORTH_TRY(add_branch(sae, &w->code, n_own, w->residual, pull, &w->columns, w));
    if (w->multi_residual)
        ORTH_TRY(
            add_branch(sae, &w->multi_code, n_own, w->multi_residual, NULL, &w->multi_columns, w));
    return ORTH_OK;
}

/* Gradients and update of the parameters. */
static orth_status learn(orth_sae *sae, orth_workspace *w, double rate, orth_phase_timer *timer,
                         double *grad_norm)
{
    w->bound = INFINITY;
    ORTH_TRY(gather_branches(sae, w));
    if (sae->recipe.clip > 0.0)
        ORTH_TRY(orth_gradient_bound(sae, &w->batch, w->bounds, w->n_branch, w->learner.b_dec,
                                     w->learner.square, w->learner.tokens, &w->bound));
    return orth_gradient_update(sae, &w->batch, w->branches, w->n_branch, rate, w->bound,
                                &w->products, &w->learner, grad_norm, timer);
}

/* Sums over all ranks that only the metrics need. */
static orth_status describe(const orth_sae *sae, orth_workspace *w,
                            const orth_step_options *options, orth_step_report *report)
{
    uint64_t sums[2] = {(uint64_t)orth_code_entries(&w->code), 0};
    if (options->code_hash)
        sums[1] =
            orth_code_hash(&w->code, options->first_token + w->batch.first_token, sae->own.begin);
    ORTH_TRY(orth_allreduce(sums, 2, MPI_UINT64_T, MPI_SUM, sae->grid->world));
    report->l0 = (double)sums[0] / (double)w->batch.n_valid;
    report->code_hash = sums[1];
    report->n_dead = w->dead.n_dead;
    if (options->fvu)
        ORTH_TRY(batch_fvu(sae, w, &report->fvu));
    return ORTH_OK;
}

/* Fault injection: one token's error is lost, or one element of the gradient. */
static void inject(const orth_sae *sae, orth_workspace *w, orth_step_failure what)
{
    orth_range part = w->batch.part;
    if (what == ORTH_STEP_GRADIENT && orth_fault("step.gradient") == ORTH_FAULT_NAN)
        w->learner.b_dec[0] = NAN;
    if (what == ORTH_STEP_LOSS && orth_fault("step.loss") == ORTH_FAULT_NAN &&
        orth_range_size(part) > 0) {
        w->residual[part.begin * sae->d_model] = NAN;
        w->square[part.begin] = NAN;
    }
}

/* Whether the update went well: Adam squares, in fp32, every element of the clipped gradient. */
static bool gradient_fits(const orth_recipe *recipe, double norm)
{
    double clipped = recipe->clip > 0.0 ? fmin(norm, recipe->clip) : norm;
    return isfinite(norm) && clipped < sqrt((double)FLT_MAX);
}

orth_status orth_step(orth_sae *sae, orth_workspace *w, const orth_step_options *options,
                      orth_phase_timer *timer, orth_step_report *report)
{
    *report = (orth_step_report){0};
    ORTH_TRY(orth_forward(sae, sae->recipe.batch, w, timer));
    if (w->batch.n_valid == 0)
        return orth_fail(ORTH_ERR_DATA,
                         "step %lld: every row of the batch holds NaN or Inf; see "
                         "'orthant info --stats' of the data",
                         (long long)sae->step + 1);
    inject(sae, w, ORTH_STEP_LOSS);
    orth_phase_enter(timer, ORTH_PHASE_LOSS);
    ORTH_TRY(orth_dead_update(sae, &w->code, &w->dead));
    if (w->aux_error)
        ORTH_TRY(reconstruct_missing(sae, w, timer));
    orth_phase_enter(timer, ORTH_PHASE_LOSS);
    ORTH_TRY(describe(sae, w, options, report));
    ORTH_TRY(losses(sae, w, &report->terms));
    report->loss = report->terms.mse + report->terms.aux + report->terms.afa;
    if (!isfinite(report->loss)) {
        report->failed = ORTH_STEP_LOSS;
        return orth_fail(ORTH_ERR_NONFINITE, "step %lld: the loss is not finite; lower train.lr",
                         (long long)sae->step + 1);
    }
    upstream_gradients(sae, w);
    inject(sae, w, ORTH_STEP_GRADIENT);
    orth_phase_enter(timer, ORTH_PHASE_GRADIENT);
    ORTH_TRY(learn(sae, w, options->rate, timer, &report->grad_norm));
    orth_phase_enter(timer, ORTH_PHASE_OTHER);
    if (!gradient_fits(&sae->recipe, report->grad_norm)) {
        report->failed = ORTH_STEP_GRADIENT;
        return orth_fail(ORTH_ERR_NONFINITE,
                         "step %lld: the gradient is not finite; lower train.lr",
                         (long long)sae->step);
    }
    return ORTH_OK;
}
