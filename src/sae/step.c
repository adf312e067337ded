#include <orthant/sae/step.h>

#include <orthant/kern/norm.h>
#include <orthant/par/collective.h>

#include <math.h>
#include <string.h>

/* The weight of multi-topk's second reconstruction (Gao et al. 2024, appendix). */
static const double MULTI_COEFFICIENT = 1.0 / 8.0;

/* x_hat - x = W_dec^T f - (x - b_dec). */
static void subtract_input(const orth_batch *batch, int64_t d, float *reconstruction)
{
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < batch->n_token; t++)
        for (int64_t j = t * d; j < (t + 1) * d; j++)
            reconstruction[j] -= batch->x[j];
}

static void measure_decoder(const orth_sae *sae, double *norm)
{
    int64_t d = sae->d_model;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < orth_range_size(sae->own); i++) {
        const float *row = sae->weights.W_dec + i * d;
        norm[i] = sqrt(orth_dot_f64(row, row, d));
    }
}

static orth_status decode_residual(const orth_sae *sae, const orth_code *code, orth_workspace *w,
                                   float *residual)
{
    ORTH_TRY(orth_decode(sae, code, &w->dense, residual));
    subtract_input(&w->batch, sae->d_model, residual);
    return ORTH_OK;
}

orth_status orth_forward(const orth_sae *sae, int64_t batch, orth_workspace *w,
                         orth_phase_timer *timer)
{
    orth_phase back = orth_phase_enter(timer, ORTH_PHASE_EXCHANGE);
    ORTH_TRY(orth_batch_exchange(sae->grid, batch, sae->d_model, &w->batch));
    orth_batch_centre(&w->batch, sae->weights.b_dec, sae->d_model);
    if (sae->recipe.selection == ORTH_SELECT_TOPAFA) {
        measure_decoder(sae, w->decoder_norm);
        w->selection.decoder_norm = w->decoder_norm;
        w->selection.target =
            sae->recipe.target == ORTH_TARGET_CENTRED ? w->batch.norm_centred : w->batch.norm;
    }
    ORTH_TRY(orth_encode_select(sae, &w->batch, NULL, orth_range_size(sae->own), &w->encoder,
                                &w->selection, timer));
    orth_phase_enter(timer, ORTH_PHASE_DECODE);
    ORTH_TRY(decode_residual(sae, &w->code, w, w->residual));
    if (w->multi_residual)
        ORTH_TRY(decode_residual(sae, &w->multi_code, w, w->multi_residual));
    orth_phase_enter(timer, back);
    return ORTH_OK;
}

/* AuxK: the best dead latents' reconstruction of what is missing, as an error to its target. */
static orth_status reconstruct_missing(orth_sae *sae, orth_workspace *w, orth_phase_timer *timer)
{
    int64_t size = w->batch.n_token * sae->d_model;
    ORTH_TRY(orth_code_begin(&w->aux_code, w->batch.n_token));
    if (w->dead.n_dead == 0) {
        memcpy(w->aux_error, w->residual, (size_t)size * sizeof *w->aux_error);
        memset(w->aux_code.start, 0, (size_t)(w->batch.n_token + 1) * sizeof *w->aux_code.start);
        w->aux_code.n_token = w->batch.n_token;
        return orth_code_reserve(&w->aux_code, 0);
    }
    ORTH_TRY(orth_encode_select(sae, &w->batch, w->dead.index, w->dead.n_own, &w->encoder,
                                &w->aux_selection, timer));
    orth_phase_enter(timer, ORTH_PHASE_DECODE);
    ORTH_TRY(orth_decode(sae, &w->aux_code, &w->dense, w->aux_error));
#pragma omp parallel for schedule(static)
    for (int64_t j = 0; j < size; j++)
        w->aux_error[j] += w->residual[j];
    return ORTH_OK;
}

/* 1 - explained variance of the batch; the mean over the batch shifts with b_dec. */
static orth_status batch_fvu(const orth_sae *sae, orth_workspace *w, double *fvu)
{
    int64_t d = sae->d_model;
    double sums[2] = {orth_sum_of_squares(&w->batch, w->residual, d, NULL, w->squares),
                      orth_sum_of_squares(&w->batch, w->batch.x, d, NULL, w->squares)};
    double mean_square = 0.0;
    orth_column_sums(w->batch.x, w->batch.n_token, d, 0, w->sums);
    ORTH_TRY(orth_sum_f64(w->sums, d, sae->grid->peers));
    ORTH_TRY(orth_sum_f64(sums, 2, sae->grid->peers));
    for (int64_t j = 0; j < d; j++)
        mean_square += w->sums[j] * w->sums[j] / (double)w->batch.n_valid;
    *fvu = sums[0] / (sums[1] - mean_square);
    return ORTH_OK;
}

/* Values of all terms, and the gradients to the reconstructions in the place of the residuals. */
static orth_status losses(orth_sae *sae, orth_workspace *w, orth_terms *terms)
{
    double values[4] = {0.0};
    orth_loss_reconstruction(sae, &w->batch, w->residual, 1.0, w->squares, values);
    if (w->multi_residual)
        orth_loss_reconstruction(sae, &w->batch, w->multi_residual, MULTI_COEFFICIENT, w->squares,
                                 values + 1);
    if (w->aux_error)
        ORTH_TRY(orth_loss_aux(sae, &w->batch, w->residual, w->dead.n_dead, w->aux_error, w->sums,
                               w->squares, values + 2));
    if (sae->recipe.afa_coefficient > 0.0)
        ORTH_TRY(orth_loss_afa(sae, &w->batch, &w->code, w->squares, w->pull, values + 3));
    ORTH_TRY(orth_sum_f64(values, 4, sae->grid->peers));
    *terms = (orth_terms){.mse = values[0] + values[1], .aux = values[2], .afa = values[3]};
    orth_loss_reconstruction_gradient(sae, &w->batch, 1.0, w->residual);
    if (w->multi_residual)
        orth_loss_reconstruction_gradient(sae, &w->batch, MULTI_COEFFICIENT, w->multi_residual);
    return ORTH_OK;
}

/* The sum of the gradients that reach the decoder bias, once for each token group. */
static void decoder_part_of_b_dec(const orth_sae *sae, orth_workspace *w)
{
    int64_t d = sae->d_model, n = w->batch.n_token;
    memset(w->learner.b_dec, 0, (size_t)d * sizeof *w->learner.b_dec);
    if (sae->grid->shard_index != 0)
        return;
    orth_column_sums(w->residual, n, d, 1, w->learner.b_dec);
    if (w->multi_residual)
        orth_column_sums(w->multi_residual, n, d, 1, w->learner.b_dec);
    if (w->aux_error && sae->recipe.aux == ORTH_AUX_GAO)
        orth_column_sums(w->aux_error, n, d, 1, w->learner.b_dec);
}

/* The top-AFA code does not detach the residual that AuxK explains. */
static void add_aux_to_residual(const orth_sae *sae, orth_workspace *w)
{
    if (!w->aux_error || sae->recipe.aux != ORTH_AUX_TOPAFA || w->dead.n_dead == 0)
        return;
#pragma omp parallel for schedule(static)
    for (int64_t j = 0; j < w->batch.n_token * sae->d_model; j++)
        w->residual[j] += w->aux_error[j];
}

static orth_status gather_branches(const orth_sae *sae, orth_workspace *w, orth_branch *branches,
                                   int *n_branch)
{
    int64_t n_own = orth_range_size(sae->own);
    const float *pull = sae->recipe.afa_coefficient > 0.0 ? w->pull : NULL;
    *n_branch = 0;
    ORTH_TRY(orth_code_transpose(&w->code, n_own, &w->columns));
    branches[(*n_branch)++] = (orth_branch){&w->columns, w->residual, pull};
    if (w->multi_residual) {
        ORTH_TRY(orth_code_transpose(&w->multi_code, n_own, &w->multi_columns));
        branches[(*n_branch)++] = (orth_branch){&w->multi_columns, w->multi_residual, NULL};
    }
    if (w->aux_error && w->dead.n_dead > 0) {
        ORTH_TRY(orth_code_transpose(&w->aux_code, n_own, &w->aux_columns));
        branches[(*n_branch)++] = (orth_branch){&w->aux_columns, w->aux_error, NULL};
    }
    return ORTH_OK;
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

orth_status orth_step(orth_sae *sae, orth_workspace *w, const orth_step_options *options,
                      orth_phase_timer *timer, orth_step_report *report)
{
    orth_branch branches[3];
    int n_branch;
    *report = (orth_step_report){0};
    ORTH_TRY(orth_forward(sae, sae->recipe.batch, w, timer));
    if (w->batch.n_valid == 0)
        return orth_fail(ORTH_ERR_DATA,
                         "step %lld: every row of the batch holds NaN or Inf; see "
                         "'orthant info --stats' of the data",
                         (long long)sae->step + 1);
    orth_phase_enter(timer, ORTH_PHASE_LOSS);
    ORTH_TRY(orth_dead_update(sae, &w->code, &w->dead));
    if (w->aux_error)
        ORTH_TRY(reconstruct_missing(sae, w, timer));
    orth_phase_enter(timer, ORTH_PHASE_LOSS);
    ORTH_TRY(describe(sae, w, options, report));
    ORTH_TRY(losses(sae, w, &report->terms));
    report->loss = report->terms.mse + report->terms.aux + report->terms.afa;
    if (!isfinite(report->loss))
        return orth_fail(ORTH_ERR_NONFINITE,
                         "step %lld: the loss is not finite (%g); lower train.lr or look at the "
                         "data; checkpoints up to here are kept",
                         (long long)sae->step + 1, report->loss);
    add_aux_to_residual(sae, w);
    decoder_part_of_b_dec(sae, w);
    orth_phase_enter(timer, ORTH_PHASE_GRADIENT);
    ORTH_TRY(gather_branches(sae, w, branches, &n_branch));
    ORTH_TRY(orth_gradient_update(sae, &w->batch, branches, n_branch, options->rate, &w->dense,
                                  &w->learner, &report->grad_norm, timer));
    orth_phase_enter(timer, ORTH_PHASE_OTHER);
    if (!isfinite(report->grad_norm))
        return orth_fail(ORTH_ERR_NONFINITE,
                         "step %lld: the gradient is not finite; lower train.lr or look at the "
                         "data; checkpoints up to here are kept",
                         (long long)sae->step);
    return ORTH_OK;
}
