#include <orthant/run/evaluate.h>

#include <orthant/base/fault.h>
#include <orthant/base/log.h>
#include <orthant/eval/feed.h>
#include <orthant/par/agree.h>
#include <orthant/par/alive.h>
#include <orthant/par/end_job.h>
#include <orthant/run/run_dir.h>

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static orth_status run_feed(const orth_sae *sae, orth_feed *feed, orth_workspace *workspace,
                            orth_quality_sums *sums)
{
    orth_feed_batch batch;
    orth_status before = ORTH_OK;
    for (;;) {
        ORTH_TRY(orth_feed_next(feed, workspace, before, &batch));
        if (batch.n_token == 0)
            return ORTH_OK;
        ORTH_TRY(orth_feed_forward(feed, &batch, workspace, NULL));
        before = orth_quality_add(sums, sae, workspace, batch.first_row);
        if (before != ORTH_OK)
            return orth_end_job(sae->grid->world, before);
        orth_fault("eval.batch");
        orth_alive();
    }
}

/* The figures. What fails here, but for the data, may have failed on this rank alone. */
static orth_status finish(const orth_sae *sae, const orth_evaluation_options *options,
                          orth_quality_sums *sums, orth_evaluation *out)
{
    orth_status status = orth_quality_finish(sums, sae, &out->quality);
    if (status == ORTH_ERR_DATA)
        return status;
    if (status == ORTH_OK && options->eps)
        status = orth_coherence_measure(sae, &out->eps);
    out->has_eps = options->eps;
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
    orth_status status =
        orth_agree(sae->grid->world, orth_quality_begin(sae, rows, options->batch, &sums));
    if (status == ORTH_OK)
        status = run_feed(sae, feed, workspace, sums);
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
    orth_evaluation evaluation = {.step = sae->step};
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

/* ---- as JSON ---- */

static void set_number(json_t *object, const char *name, double value)
{
    json_object_set_new(object, name, isfinite(value) ? json_real(value) : json_null());
}

static void set_integer(json_t *object, const char *name, int64_t value)
{
    json_object_set_new(object, name, json_integer((json_int_t)value));
}

static json_t *numbers(const double *values, int64_t count)
{
    json_t *array = json_array();
    for (int64_t i = 0; i < count; i++)
        json_array_append_new(array, isfinite(values[i]) ? json_real(values[i]) : json_null());
    return array;
}

static void set_histogram(json_t *object, const char *name, const orth_histogram *histogram)
{
    json_t *counts = json_array(), *both = json_object();
    for (int64_t i = 0; i < histogram->bins; i++)
        json_array_append_new(counts, json_integer((json_int_t)histogram->counts[i]));
    json_object_set_new(both, "edges", numbers(histogram->edges, histogram->bins + 1));
    json_object_set_new(both, "counts", counts);
    json_object_set_new(object, name, both);
}

static json_t *json_of_l0(const orth_quality *q, bool arrays)
{
    json_t *l0 = json_object();
    set_number(l0, "mean", q->l0);
    set_number(l0, "p5", q->l0_p5);
    set_number(l0, "p50", q->l0_p50);
    set_number(l0, "p95", q->l0_p95);
    set_integer(l0, "max", q->l0_max);
    if (arrays)
        set_histogram(l0, "histogram", &q->l0_histogram);
    return l0;
}

static json_t *json_of_elbo(const orth_quality *q, bool arrays)
{
    json_t *elbo = json_object();
    set_number(elbo, "median", q->elbo_median);
    set_number(elbo, "q25", q->elbo_q25);
    set_number(elbo, "q75", q->elbo_q75);
    set_number(elbo, "mean", q->elbo_mean);
    set_integer(elbo, "undefined", q->elbo_undefined);
    if (arrays)
        set_histogram(elbo, "histogram", &q->elbo_histogram);
    return elbo;
}

static json_t *json_of_eps(const orth_coherence *coherence)
{
    json_t *eps = json_object();
    set_number(eps, "max", coherence->max);
    set_number(eps, "mean", coherence->mean);
    set_number(eps, "max_abs", coherence->max_abs);
    set_number(eps, "mean_abs", coherence->mean_abs);
    set_number(eps, "welch", coherence->welch);
    return eps;
}

orth_status orth_evaluation_json(const orth_evaluation *evaluation, bool arrays, json_t **out)
{
    const orth_quality *q = &evaluation->quality;
    json_t *object = json_object();
    if (!object)
        return orth_fail(ORTH_ERR_ENVIRONMENT, "evaluation: out of memory for its JSON");
    set_integer(object, "step", evaluation->step);
    set_integer(object, "n_latent", q->n_latent);
    set_integer(object, "d_model", q->d_model);
    set_integer(object, "tokens", q->tokens);
    set_integer(object, "skipped", evaluation->skipped);
    set_number(object, "mse", q->mse);
    set_number(object, "nmse", q->nmse);
    set_number(object, "fvu", q->fvu);
    set_number(object, "explained_variance", 1.0 - q->fvu);
    set_number(object, "cosine", q->cosine);
    json_object_set_new(object, "l0", json_of_l0(q, arrays));
    set_integer(object, "dead", q->dead);
    set_integer(object, "rare", q->rare);
    set_number(object, "afa", q->afa);
    json_object_set_new(object, "elbo", json_of_elbo(q, arrays));
    set_number(object, "description_length", q->description_length);
    if (evaluation->has_eps)
        json_object_set_new(object, "eps", json_of_eps(&evaluation->eps));
    set_number(object, "seconds", evaluation->seconds);
    if (arrays) {
        json_t *zf = json_object();
        set_histogram(object, "frequency", &q->frequency);
        json_object_set_new(zf, "z", numbers(q->zf.z, q->zf.count));
        json_object_set_new(zf, "f", numbers(q->zf.f, q->zf.count));
        json_object_set_new(object, "zf", zf);
    }
    *out = object;
    return ORTH_OK;
}

orth_status orth_evaluation_write(const orth_evaluation *evaluation, const orth_sae *sae,
                                  const char *model, orth_json_file *file)
{
    json_t *object = NULL;
    orth_status status = ORTH_OK;
    if (file)
        status = orth_evaluation_json(evaluation, true, &object);
    if (object) {
        /* A path that is not UTF-8 cannot be told in JSON. */
        json_object_set_new(object, "model", json_string(model));
        json_object_set_new(object, "selection",
                            json_string(orth_selection_names[sae->recipe.selection]));
    }
    status = orth_agree(sae->grid->world, status);
    if (status == ORTH_OK)
        status = orth_json_file_write(file, object, sae->grid->world);
    json_decref(object);
    return status;
}

/* ---- as a table ---- */

void orth_evaluation_print(const orth_evaluation *evaluation, FILE *out)
{
    const orth_quality *q = &evaluation->quality;
    fprintf(out, "tokens              %" PRId64 "\n", q->tokens);
    fprintf(out, "mse                 %.6g\n", q->mse);
    fprintf(out, "nmse                %.6g\n", q->nmse);
    fprintf(out, "fvu                 %.6g\n", q->fvu);
    fprintf(out, "explained variance  %.6g\n", 1.0 - q->fvu);
    fprintf(out, "cosine              %.6g\n", q->cosine);
    fprintf(out, "l0                  %.6g (5%% %g, median %g, 95%% %g, max %" PRId64 ")\n", q->l0,
            q->l0_p5, q->l0_p50, q->l0_p95, q->l0_max);
    fprintf(out, "dead latents        %" PRId64 " of %" PRId64 "\n", q->dead, q->n_latent);
    fprintf(out, "rare latents        %" PRId64 "\n", q->rare);
    fprintf(out, "afa                 %.6g\n", q->afa);
    fprintf(out, "eLBO                %.6g (median; quartiles %.6g, %.6g; mean %.6g)\n",
            q->elbo_median, q->elbo_q25, q->elbo_q75, q->elbo_mean);
    fprintf(out, "description length  %.6g bits a token\n", q->description_length);
    if (evaluation->has_eps)
        fprintf(out,
                "eps                 max %.6g, mean %.6g (absolute: %.6g, %.6g; Welch bound "
                "%.6g)\n",
                evaluation->eps.max, evaluation->eps.mean, evaluation->eps.max_abs,
                evaluation->eps.mean_abs, evaluation->eps.welch);
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
