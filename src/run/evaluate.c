#include <orthant/run/evaluate.h>

#include <orthant/base/fault.h>
#include <orthant/base/log.h>
#include <orthant/eval/feed.h>
#include <orthant/par/agree.h>
#include <orthant/par/end_job.h>
#include <orthant/run/run_dir.h>

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static orth_status run_feed(const orth_sae *sae, orth_feed *feed, orth_workspace *workspace,
                            orth_quality_sums *sums, orth_latents *latents)
{
    orth_feed_batch batch;
    for (;;) {
        ORTH_TRY(orth_feed_next(feed, workspace, &batch));
        if (batch.n_token == 0)
            return ORTH_OK;
        orth_status status = orth_quality_add(sums, sae, workspace, batch.first_row);
        if (status != ORTH_OK)
            return orth_end_job(sae->grid->world, status);
        if (latents)
            orth_latents_add(latents, workspace, batch.first_row);
        orth_fault("eval.batch");
    }
}

/* The dictionary's geometry comes first: what codes are measured by. */
static orth_status measure_eps(const orth_sae *sae, const orth_evaluation_options *options,
                               orth_evaluation *out)
{
    orth_geometry own = {0};
    const orth_geometry *geometry = options->geometry ? options->geometry : &own;
    out->has_eps = options->eps;
    out->eps_unit = out->eps_bias = NAN;
    if (!options->eps)
        return ORTH_OK;
    if (geometry == &own)
        ORTH_TRY(orth_geometry_measure(sae, true, &own));
    out->eps = geometry->stored;
    out->eps_unit = geometry->unit.max_abs;
    orth_geometry_free(&own);
    ORTH_TRY(orth_bias_coherence(sae, &out->eps_bias));
    out->eps_unit = fmax(out->eps_unit, out->eps_bias);
    return ORTH_OK;
}

/* The figures. What fails here, but for the data, may have failed on this rank alone. */
static orth_status finish(const orth_sae *sae, const orth_evaluation_options *options,
                          orth_quality_sums *sums, orth_evaluation *out)
{
    orth_status status = orth_quality_finish(sums, sae, &out->quality);
    if (status == ORTH_ERR_DATA)
        return status;
    if (status == ORTH_OK && options->latents)
        status = orth_latents_finish(options->latents, out->quality.tokens);
    return status == ORTH_OK ? status : orth_end_job(sae->grid->world, status);
}

static orth_status evaluate_with(const orth_sae *sae, orth_dataset *dataset,
                                 orth_workspace *workspace, const orth_evaluation_options *options,
                                 orth_evaluation *out)
{
    orth_feed *feed = NULL;
    orth_quality_sums *sums = NULL;
    int64_t rows = orth_dataset_rows(dataset);
    ORTH_TRY(orth_feed_open(dataset, sae, options->batch, options->skip, &feed));
    orth_status status = measure_eps(sae, options, out);
    if (status == ORTH_OK)
        status = orth_quality_begin(sae, rows, options->batch, out->eps_unit, &sums);
    status = orth_agree(sae->grid->world, status);
    if (status == ORTH_OK)
        status = run_feed(sae, feed, workspace, sums, options->latents);
    if (status == ORTH_OK)
        status = finish(sae, options, sums, out);
    out->skipped = orth_feed_skipped(feed);
    orth_quality_free(sums);
    orth_feed_close(feed);
    return status;
}

orth_status orth_evaluate(const orth_sae *sae, orth_dataset *dataset,
                          const orth_evaluation_options *options, orth_evaluation *out)
{
    orth_evaluation evaluation = {.step = sae->step, .selection = sae->recipe.selection};
    orth_evaluation_options own = *options;
    orth_workspace workspace = {0};
    int64_t rows = orth_dataset_rows(dataset);
    double start = orth_now();
    orth_phase back = orth_phase_enter(options->timer, ORTH_PHASE_EVAL);
    if (own.batch > rows)
        own.batch = rows;
    orth_status status = ORTH_OK;
    if (!own.workspace)
        status = orth_workspace_create(sae, own.batch, false, &workspace);
    if (status == ORTH_OK && !own.workspace && rows > own.batch)
        status = orth_agree(sae->grid->world, orth_workspace_fix(sae, &workspace));
    if (status == ORTH_OK)
        status = evaluate_with(sae, dataset, own.workspace ? own.workspace : &workspace, &own,
                               &evaluation);
    orth_workspace_free(&workspace);
    orth_phase_enter(options->timer, back);
    if (status != ORTH_OK) {
        orth_evaluation_free(&evaluation);
        return status;
    }
    if (evaluation.skipped > 0)
        orth_log_warning("evaluation: %" PRId64 " rows with NaN or Inf were left out",
                         evaluation.skipped);
    evaluation.seconds = orth_now() - start;
    *out = evaluation;
    return ORTH_OK;
}

void orth_evaluation_free(orth_evaluation *evaluation)
{
    orth_quality_clear(&evaluation->quality);
}

/* ---- in training ---- */

static orth_status write_file(const char *run_dir, const orth_evaluation *evaluation,
                              MPI_Comm world)
{
    char *folder = NULL, *text = NULL, name[64];
    json_t *object = NULL;
    orth_status status = orth_path_format(&folder, "%s/eval", run_dir);
    if (status == ORTH_OK)
        status = orth_evaluation_json(evaluation, true, &object);
    if (status == ORTH_OK && !(text = json_dumps(object, JSON_REAL_PRECISION(17))))
        status = orth_fail(ORTH_ERR_ENVIRONMENT, "evaluation: out of memory for its JSON");
    snprintf(name, sizeof name, "step-%09" PRId64 ".json", evaluation->step);
    status = orth_agree(world, status);
    if (status == ORTH_OK)
        status = orth_run_dir_write(folder, name, text, world);
    json_decref(object);
    free(text);
    free(folder);
    return status;
}

static orth_status append_metrics(orth_metrics_file *metrics, const orth_evaluation *evaluation)
{
    json_t *object = NULL;
    if (!metrics)
        return ORTH_OK;
    ORTH_TRY(orth_evaluation_json(evaluation, false, &object));
    orth_status status = orth_metrics_write_object(metrics, evaluation->step, "eval", object);
    json_decref(object);
    return status;
}

orth_status orth_evaluate_step(const orth_sae *sae, orth_dataset *dataset, const char *run_dir,
                               const orth_evaluation_options *options, orth_metrics_file *metrics)
{
    orth_evaluation evaluation = {0};
    MPI_Comm world = sae->grid->world;
    ORTH_TRY(orth_evaluate(sae, dataset, options, &evaluation));
    orth_log_info("evaluation at step %" PRId64 ": mse %.6g, fvu %.6g, l0 %.6g, dead %" PRId64
                  ", %.1f s",
                  evaluation.step, evaluation.quality.mse, evaluation.quality.fvu,
                  evaluation.quality.l0, evaluation.quality.dead, evaluation.seconds);
    orth_status status = write_file(run_dir, &evaluation, world);
    if (status == ORTH_OK)
        status = orth_agree(world, append_metrics(metrics, &evaluation));
    orth_evaluation_free(&evaluation);
    return status;
}
