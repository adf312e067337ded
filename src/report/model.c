/* One RUN: how it was made, how it trained, and its newest checkpoint on held-out tokens. */
#include "report_parts.h"

#include "model_parts.h"

#include <orthant/base/log.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/run/evaluate.h>
#include <orthant/run/run_dir.h>

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool has_metrics(const char *folder)
{
    char *path = NULL;
    struct stat info;
    bool found =
        orth_path_format(&path, "%s/metrics.jsonl", folder) == ORTH_OK && stat(path, &info) == 0;
    free(path);
    return found;
}

/* Rank 0 looks, so that all go the same way. Of a run whose checkpoints are gone there are curves.
 */
static orth_status is_run_folder(const char *path, MPI_Comm world, bool *out)
{
    int rank, found = 0;
    ORTH_MPI(MPI_Comm_rank(world, &rank));
    if (rank == 0)
        found = orth_run_dir_recognise(path) || has_metrics(path);
    ORTH_TRY(orth_broadcast(&found, 1, MPI_INT, 0, world));
    *out = found != 0;
    return ORTH_OK;
}

/* The configuration that the run was last started with; of one without it, nothing. */
static orth_status read_config(const char *run_dir, bool *there, orth_config *out)
{
    char *path = NULL;
    struct stat info;
    ORTH_TRY(orth_path_format(&path, "%s/config.yaml", run_dir));
    orth_status status = ORTH_OK;
    *there = stat(path, &info) == 0;
    if (*there)
        status = orth_config_load(path, NULL, 0, out);
    free(path);
    return status;
}

static orth_status read_run(const char *run_dir, json_t *model)
{
    orth_config config = {0};
    bool there = false;
    orth_status status = read_config(run_dir, &there, &config);
    if (status == ORTH_OK && there)
        status = orth_report_config(&config, true, model);
    if (status == ORTH_OK)
        status = orth_report_history(run_dir, model);
    if (status == ORTH_OK)
        status = orth_report_training(run_dir, model);
    orth_config_free(&config);
    return status;
}

/* How it came about is known of checkpoints alone. */
static void tell_checkpoint(const orth_model_source *source, json_t *model)
{
    const orth_checkpoint_info *info = &source->info;
    json_t *c = json_object();
    orth_json_set_text(c, "path", source->path);
    orth_json_set_integer(c, "n_latent", info->n_latent);
    orth_json_set_integer(c, "d_model", info->d_model);
    orth_json_set_text(c, "selection", orth_selection_names[source->config.recipe.selection]);
    json_object_set_new(model, "checkpoint", c);
    if (source->folder)
        return;
    if (orth_checkpoint_step_known(info)) {
        orth_json_set_integer(c, "step", info->step);
        orth_json_set_integer(c, "tokens_seen", info->tokens_seen);
    }
    orth_json_set_integer(c, "ranks", info->ranks);
    orth_json_set_integer(c, "n_group", info->n_group);
    orth_json_set_integer(c, "n_shard", info->n_shard);
    orth_json_set_integer(c, "threads", info->threads);
    orth_json_set_text(c, "kernels", info->isa);
    orth_json_set_text(c, "libraries", info->libraries);
    orth_json_set_text(c, "program_version", info->program_version);
    orth_json_set_integer(c, "data_rows", info->data.rows);
    orth_json_set_integer(c, "batches_left_out", info->n_skipped);
}

/* Why a part of the page is empty, said there and now. */
static void tell_missing(const char *run, const char *why, json_t *model)
{
    orth_log_warning("%s: not evaluated: %s", run, why);
    orth_json_set_text(model, "not_evaluated", why);
}

/* What the run itself measured at the step of its newest checkpoint (eval.every). */
static void reuse_own(const char *run_dir, int64_t step, json_t *model)
{
    char *path = NULL;
    if (!model ||
        orth_path_format(&path, "%s/eval/step-%09lld.json", run_dir, (long long)step) != ORTH_OK)
        return;
    json_t *own = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_object(own)) {
        json_object_set_new(model, "evaluation", json_incref(own));
        orth_json_set_text(model, "evaluation_of", path);
    }
    json_decref(own);
    free(path);
}

/* The table to evaluate on. Files that were asked for must be there; a run's own may have gone:
 * *index is -1 then, and the page says why. */
static orth_status open_data(const orth_report_options *options, const char *run,
                             orth_model_source *source, orth_report_tables *tables, MPI_Comm world,
                             json_t *model, int64_t *index)
{
    orth_strings given = {.items = (char **)(uintptr_t)options->data, .count = options->n_data};
    const orth_strings *own = &source->config.data_eval_files;
    const orth_strings *files = given.count > 0 ? &given : own;
    *index = -1;
    if (files->count == 0) {
        tell_missing(run, "it names no data.eval_files; name activations by --data", model);
        return ORTH_OK;
    }
    orth_status status =
        orth_report_tables_open(tables, files, source->config.data_dataset, world, index);
    if (status != ORTH_ERR_DATA || given.count > 0)
        return status;
    char why[1024];
    snprintf(why, sizeof why, "its data.eval_files: %.900s",
             *orth_error_text() ? orth_error_text() : "cannot be read");
    orth_error_clear();
    tell_missing(run, why, model);
    *index = -1;
    return ORTH_OK;
}

/* The newest checkpoint of a run, or whatever else is a model. */
static orth_status report_source(const orth_report_options *options, const char *run, bool is_run,
                                 const char *path, orth_report_tables *tables, MPI_Comm world,
                                 json_t *model)
{
    orth_model_source source = {0};
    int64_t table = -1;
    orth_status status = ORTH_OK;
    ORTH_TRY(orth_model_open(path, options->overrides, options->n_override, world, &source));
    if (model) {
        tell_checkpoint(&source, model);
        if (!json_object_get(model, "config"))
            status = orth_report_config(&source.config, !source.folder, model);
    }
    status = orth_agree(world, status);
    if (status == ORTH_OK)
        status = open_data(options, run, &source, tables, world, model, &table);
    if (status == ORTH_OK && table >= 0)
        status = orth_report_evaluate(options, &source, tables, table, world, model);
    else if (status == ORTH_OK && is_run)
        reuse_own(run, source.info.step, model);
    orth_model_close(&source);
    return status;
}

orth_status orth_report_model(const orth_report_options *options, int64_t index,
                              orth_report_tables *tables, MPI_Comm world, json_t *model)
{
    const char *run = options->runs[index];
    char *path = NULL;
    bool is_run = false;
    orth_status status = ORTH_OK;
    orth_json_set_text(model, "path", run);
    ORTH_TRY(is_run_folder(run, world, &is_run));
    if (!is_run)
        return report_source(options, run, false, run, tables, world, model);
    if (model)
        status = read_run(run, model);
    ORTH_TRY(orth_agree(world, status));
    ORTH_TRY(orth_checkpoint_find(run, world, false, &path));
    if (path)
        status = report_source(options, run, true, path, tables, world, model);
    else
        tell_missing(run, "it has no checkpoint yet", model);
    free(path);
    return status;
}
