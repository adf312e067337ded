#include <orthant/exchange/export.h>

#include <orthant/base/log.h>
#include <orthant/base/memory.h>
#include <orthant/exchange/calibrate.h>
#include <orthant/par/agree.h>
#include <orthant/run/evaluate.h>
#include <orthant/run/json_value.h>

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

/* An export under way. */
typedef struct session {
    const orth_export_options *options;
    MPI_Comm comm;
    FILE *out;
    orth_model_source source;
    orth_grid grid;
    orth_sae sae;
    orth_dataset *dataset; ///< NULL: nothing is measured
    orth_dataset *judge;   ///< NULL: the same is what thresholds are judged on
    orth_calibrate_options how;
    orth_firing firing;
    char *loss; ///< JSON
} session;

/* The average of the weights in their place. */
static orth_status take_average(session *s)
{
    if (!s->options->average)
        return ORTH_OK;
    if (s->source.folder || !s->source.info.has_average)
        return orth_fail(ORTH_ERR_USAGE,
                         "--ema: %s holds no averaged weights; train with train.ema, or leave the "
                         "option out",
                         s->source.path);
    ORTH_TRY(orth_checkpoint_read_average(s->source.path, &s->sae));
    return ORTH_OK;
}

/* What only training knows: when each latent was last active. */
static orth_status take_counts(session *s)
{
    if (s->source.folder || !s->source.info.has_optimizer)
        return ORTH_OK;
    return orth_checkpoint_read_counts(s->source.path, &s->sae);
}

static orth_status open_model(session *s, const char *model, const char *const *overrides,
                              int64_t n_override, bool *calibrate)
{
    int64_t batch = s->options->batch;
    ORTH_TRY(orth_model_open(model, overrides, n_override, s->comm, &s->source));
    const orth_config *config = &s->source.config;
    orth_sae outline = {.recipe = config->recipe, .d_model = s->source.info.d_model};
    ORTH_TRY(orth_agree(s->comm, orth_sae_export_check(s->options->tool, &outline, calibrate)));
    if (batch == 0)
        batch = config->recipe.batch;
    s->how = (orth_calibrate_options){batch, config->data_nonfinite == ORTH_NONFINITE_SKIP};
    ORTH_TRY(orth_model_grid(&s->source, batch, s->comm, &s->grid));
    ORTH_TRY(orth_model_load(&s->source, &s->grid, &s->sae));
    ORTH_TRY(take_average(s));
    return take_counts(s);
}

/* --data, or the run's own where something must be measured. */
static orth_status open_data(session *s, bool calibrate)
{
    const orth_config *config = &s->source.config;
    const char *const *files = s->options->files;
    int64_t count = s->options->n_file;
    if (s->options->n_judge > 0 && !calibrate)
        return orth_fail(ORTH_ERR_USAGE,
                         "--judge: %s has %s: no threshold is measured that could be judged; leave "
                         "the option out",
                         s->options->tool, orth_selection_names[config->recipe.selection]);
    if (count == 0 && !calibrate)
        return ORTH_OK;
    if (count == 0) {
        const orth_strings *own =
            config->data_eval_files.count > 0 ? &config->data_eval_files : &config->data_files;
        files = (const char *const *)own->items;
        count = own->count;
        if (count > 0)
            orth_log_info("export: measuring on the run's own %s; --data chooses other activations",
                          own == &config->data_eval_files ? "data.eval_files" : "data.files");
    }
    if (count == 0)
        return orth_fail(ORTH_ERR_USAGE,
                         "--data: %s has no %s: its thresholds must be measured, and the model "
                         "names no activations; give some",
                         s->options->tool, orth_selection_names[config->recipe.selection]);
    ORTH_TRY(orth_dataset_open(files, count, config->data_dataset, s->comm, &s->dataset));
    if (s->options->n_judge == 0)
        return ORTH_OK;
    return orth_dataset_open(s->options->judge, s->options->n_judge, config->data_dataset, s->comm,
                             &s->judge);
}

static orth_status evaluate(session *s, const orth_sae *sae, orth_evaluation *out)
{
    const orth_evaluation_options how = {.batch = s->how.batch, .skip = s->how.skip};
    return orth_evaluate(sae, s->judge ? s->judge : s->dataset, &how, out);
}

static json_t *names(const orth_dataset *dataset)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < orth_dataset_files(dataset); i++)
        json_array_append_new(list, orth_json_text(orth_dataset_file(dataset, i)));
    return list;
}

static json_t *figures(const orth_quality *q)
{
    return json_pack("{sfsfsf}", "l0", q->l0, "mse", q->mse, "fvu", q->fvu);
}

static orth_status tell_loss(session *s, bool together, const orth_quality *exact,
                             const orth_quality *exported)
{
    json_t *object = json_pack(
        "{sssIsosIsososo}", "method",
        together ? "one threshold, at which all latents together fire as often as by the "
                   "exact selection"
                 : "a threshold for each latent, at which it fires as often as by the "
                   "exact selection",
        "tokens", (json_int_t)s->firing.tokens, "files", names(s->dataset), "judge_tokens",
        (json_int_t)exact->tokens, "judge_files", s->judge ? names(s->judge) : json_null(), "exact",
        figures(exact), "exported", figures(exported));
    s->loss = object ? json_dumps(object, JSON_REAL_PRECISION(17)) : NULL;
    json_decref(object);
    if (!s->loss)
        return orth_fail(ORTH_ERR_ENVIRONMENT, "export: out of memory for its figures; free some");
    if (!s->out)
        return ORTH_OK;
    fprintf(s->out, "%s has no %s: exported with thresholds measured on %lld tokens (%s)\n",
            s->options->tool, orth_selection_names[s->sae.recipe.selection],
            (long long)s->firing.tokens, together ? "one for all latents" : "one for each latent");
    if (s->judge)
        fprintf(s->out, "figures on the %lld tokens of --judge:\n", (long long)exact->tokens);
    else
        fprintf(s->out,
                "figures on the same tokens, which flatter the thresholds: on held-out ones "
                "expect worse; --judge measures that\n");
    fprintf(s->out, "%-10s %14s %14s\n", "", "exact", "exported");
    fprintf(s->out, "%-10s %14.6g %14.6g\n", "l0", exact->l0, exported->l0);
    fprintf(s->out, "%-10s %14.6g %14.6g\n", "mse", exact->mse, exported->mse);
    fprintf(s->out, "%-10s %14.6g %14.6g\n", "fvu", exact->fvu, exported->fvu);
    return ORTH_OK;
}

static orth_status calibrate_thresholds(session *s)
{
    bool together = s->sae.recipe.selection == ORTH_SELECT_BATCHTOPK;
    orth_evaluation exact = {0}, exported = {0};
    orth_status status = orth_agree(
        s->comm, ORTH_ALLOCATE(orth_range_size(s->sae.own), "thresholds", &s->sae.threshold));
    if (status == ORTH_OK)
        status =
            orth_calibrate(&s->sae, s->dataset, &s->firing, together, &s->how, s->sae.threshold);
    orth_sae jump = s->sae;
    jump.recipe.selection = ORTH_SELECT_JUMPRELU;
    jump.recipe.multi_k = 0;
    if (status == ORTH_OK)
        status = evaluate(s, &s->sae, &exact);
    if (status == ORTH_OK)
        status = evaluate(s, &jump, &exported);
    if (status == ORTH_OK)
        status = orth_agree(s->comm, tell_loss(s, together, &exact.quality, &exported.quality));
    orth_evaluation_free(&exported);
    orth_evaluation_free(&exact);
    return status;
}

static orth_status measure(session *s, bool calibrate)
{
    if (!s->dataset)
        return ORTH_OK;
    ORTH_TRY(orth_firing_measure(&s->sae, s->dataset, &s->how, &s->firing));
    return calibrate ? calibrate_thresholds(s) : ORTH_OK;
}

static orth_status write_folder(session *s)
{
    const orth_export_options *o = s->options;
    const orth_sae_export what = {.tool = o->tool,
                                  .folder = o->folder,
                                  .sae = &s->sae,
                                  .model = s->source.path,
                                  .tokens = s->firing.tokens,
                                  .fired = s->firing.fired,
                                  .square_sum = s->firing.square_sum,
                                  .loss_json = s->loss};
    ORTH_TRY(orth_sae_export_write(&what));
    if (s->sae.recipe.input == ORTH_INPUT_SCALE)
        orth_log_info("export: the input's factor %.9g is folded into the weights: give the tool "
                      "activations as they are",
                      s->sae.input_scale);
    orth_log_info("%s: written for %s", o->folder, o->tool);
    return ORTH_OK;
}

static void close_session(session *s)
{
    free(s->loss);
    orth_firing_free(&s->firing);
    orth_dataset_close(s->judge);
    orth_dataset_close(s->dataset);
    orth_sae_free(&s->sae);
    orth_grid_free(&s->grid);
    orth_model_close(&s->source);
}

orth_status orth_export(const char *model, const char *const *overrides, int64_t n_override,
                        const orth_export_options *options, MPI_Comm comm, FILE *out)
{
    session s = {.options = options, .comm = comm, .out = out};
    bool calibrate = false;
    ORTH_TRY(orth_sae_export_try(options->folder, comm));
    orth_status status = open_model(&s, model, overrides, n_override, &calibrate);
    if (status == ORTH_OK)
        status = open_data(&s, calibrate);
    if (status == ORTH_OK)
        status = measure(&s, calibrate);
    if (status == ORTH_OK)
        status = write_folder(&s);
    close_session(&s);
    return status;
}
