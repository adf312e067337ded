#include "output.h"

#include <orthant/app/verb.h>

#include <orthant/base/log.h>
#include <orthant/base/memory.h>
#include <orthant/eval/probe.h>
#include <orthant/par/agree.h>
#include <orthant/run/json_file.h>
#include <orthant/run/json_value.h>
#include <orthant/run/model_source.h>

#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>

static const orth_option options[] = {
    {"data", ORTH_OPTION_LIST, "FILE...", NULL,
     "activation files or globs, one table in the listed order"},
    {"labels", ORTH_OPTION_TEXT, "FILE.h5", NULL,
     "integers [tokens] or [tokens, tasks] in the table's order: 0, 1, or negative where a token "
     "is not labelled; its attribute task_names may name the tasks"},
    {"dataset", ORTH_OPTION_TEXT, "NAME", "labels", "the dataset in the file of labels"},
    {"top", ORTH_OPTION_TEXT, "N", "10", "best latents to write for each task"},
    {"json", ORTH_OPTION_OUTPUT, "FILE", NULL, "writes all figures"},
    {"l2", ORTH_OPTION_TEXT, "L", "1e-6",
     "the probe minimises mean cross-entropy + L/2 (w r)^2, r the latent's root mean square where "
     "it fires: a minimum where a threshold separates the classes"},
    {"memory", ORTH_OPTION_TEXT, "BYTES", "2^31",
     "what a rank may keep of codes and labels, about; less means more passes over the data"},
    {"batch", ORTH_OPTION_TEXT, "N", NULL,
     "consecutive rows of a batch; default: the model's train.batch; matters to batchtopk"},
    {0}};

/* A model at work on labelled tokens. */
typedef struct session {
    orth_model_source source;
    orth_grid grid;
    orth_sae sae;
    orth_dataset *dataset;
    orth_labels *labels;
    const char *labels_path;
    const char *json_path; ///< NULL: none is wanted
    orth_json_file *json;  ///< rank 0
    orth_probe_options how;
    orth_probe_result result;
} session;

static orth_status read_options(const orth_call *call, session *s)
{
    int64_t n_file;
    orth_call_list(call, "data", &n_file);
    if (n_file == 0)
        return orth_fail(ORTH_ERR_USAGE, "probe: --data is missing; name activation files");
    s->labels_path = orth_call_text(call, "labels");
    if (!s->labels_path)
        return orth_fail(ORTH_ERR_USAGE, "probe: --labels is missing; name a file of labels");
    s->json_path = orth_call_text(call, "json");
    ORTH_TRY(orth_call_integer(call, "top", 1, 100000, &s->how.top));
    ORTH_TRY(orth_call_number(call, "l2", 1e-12, 1.0, &s->how.l2));
    ORTH_TRY(orth_call_integer(call, "memory", 1 << 20, INT64_MAX / 2, &s->how.memory));
    return orth_call_integer(call, "batch", 1, INT_MAX, &s->how.batch);
}

static orth_status open_session(const orth_call *call, MPI_Comm world, session *s)
{
    int64_t n_override, n_file;
    const char *const *overrides = orth_call_overrides(call, &n_override);
    const char *const *files = orth_call_list(call, "data", &n_file);
    ORTH_TRY(read_options(call, s));
    ORTH_TRY(
        orth_model_open(orth_call_argument(call, 0), overrides, n_override, world, &s->source));
    if (s->how.batch == 0)
        s->how.batch = s->source.config.recipe.batch;
    s->how.skip = s->source.config.data_nonfinite == ORTH_NONFINITE_SKIP;
    if (s->json_path)
        ORTH_TRY(orth_json_file_open(s->json_path, world, &s->json));
    ORTH_TRY(orth_dataset_open(files, n_file, s->source.config.data_dataset, world, &s->dataset));
    ORTH_TRY(orth_labels_open(s->labels_path, orth_call_text(call, "dataset"),
                              orth_dataset_rows(s->dataset), world, &s->labels));
    if (s->json_path) {
        ORTH_TRY(orth_output_check("json", s->json_path, s->source.path, s->dataset, world));
        ORTH_TRY(orth_output_check("json", s->json_path, s->labels_path, s->dataset, world));
    }
    ORTH_TRY(orth_model_grid(&s->source, s->how.batch, world, &s->grid));
    return orth_model_load(&s->source, &s->grid, &s->sae);
}

/* Tasks whose labels are all equal have no probes: an error when none is left. */
static orth_status check_tasks(const session *s)
{
    int64_t probed = 0;
    for (int64_t i = 0; i < s->result.n_task; i++)
        probed += s->result.tasks[i].n_best > 0;
    for (int64_t i = 0; i < s->result.n_task; i++) {
        const orth_probe_task *task = &s->result.tasks[i];
        if (task->n_best > 0)
            continue;
        if (probed == 0)
            return orth_fail(ORTH_ERR_DATA,
                             "%s: %s: of %" PRId64 " labelled tokens %" PRId64
                             " have label 1; a probe needs both labels",
                             s->labels_path, orth_labels_name(s->labels, i), task->labelled,
                             task->positive);
        orth_log_warning("%s is left out: of %" PRId64 " labelled tokens %" PRId64 " have label 1",
                         orth_labels_name(s->labels, i), task->labelled, task->positive);
    }
    return ORTH_OK;
}

/* A name stands in a file of anybody: what it does to a terminal is not printed. */
static void print_name(const char *name)
{
    char text[256];
    snprintf(text, sizeof text, "%s", name);
    orth_one_line(text);
    printf("%-20s", text);
}

static void print_tasks(const session *s)
{
    printf("%-20s %9s %9s %9s %9s %9s %9s %10s %10s\n", "task", "labelled", "positive", "entropy",
           "latent", "loss", "accuracy", "w", "b");
    for (int64_t i = 0; i < s->result.n_task; i++) {
        const orth_probe_task *task = &s->result.tasks[i];
        if (task->n_best == 0)
            continue;
        const orth_probe_fit *best = &task->best[0];
        print_name(orth_labels_name(s->labels, i));
        printf(" %9" PRId64 " %9" PRId64 " %9.5f %9" PRId64 " %9.5f %9.5f %10.4g %10.4g\n",
               task->labelled, task->positive, task->entropy, best->latent, best->loss,
               best->accuracy, best->weight, best->bias);
        if (task->unconverged > 0)
            orth_log_warning("%s: the search of %" PRId64 " latents did not converge",
                             orth_labels_name(s->labels, i), task->unconverged);
    }
}

static json_t *json_of_task(session *s, int64_t index)
{
    const orth_probe_task *task = &s->result.tasks[index];
    json_t *best = json_array();
    for (int64_t i = 0; i < task->n_best; i++) {
        const orth_probe_fit *fit = &task->best[i];
        json_array_append_new(best, json_pack("{s:I, s:f, s:f, s:f, s:f, s:b}", "latent",
                                              (json_int_t)fit->latent, "weight", fit->weight,
                                              "bias", fit->bias, "loss", fit->loss, "accuracy",
                                              fit->accuracy, "converged", fit->converged));
    }
    return json_pack("{s:o, s:I, s:I, s:f, s:I, s:o}", "name",
                     orth_json_text(orth_labels_name(s->labels, index)), "labelled",
                     (json_int_t)task->labelled, "positive", (json_int_t)task->positive, "entropy",
                     task->entropy, "unconverged", (json_int_t)task->unconverged, "best", best);
}

static json_t *json_of_session(session *s)
{
    json_t *tasks = json_array();
    for (int64_t i = 0; i < s->result.n_task; i++)
        json_array_append_new(tasks, json_of_task(s, i));
    return json_pack("{s:o, s:I, s:I, s:I, s:I, s:f, s:o}", "model", orth_json_text(s->source.path),
                     "n_latent", (json_int_t)s->sae.recipe.n_latent, "tokens",
                     (json_int_t)s->result.tokens, "skipped", (json_int_t)s->result.skipped,
                     "passes", (json_int_t)s->result.passes, "l2", s->how.l2, "tasks", tasks);
}

static orth_status tell(session *s, MPI_Comm world)
{
    ORTH_TRY(orth_agree(world, check_tasks(s)));
    if (s->result.skipped > 0)
        orth_log_warning("probe: %" PRId64 " rows with NaN or Inf were left out",
                         s->result.skipped);
    if (s->grid.rank == 0)
        print_tasks(s);
    if (!s->json_path)
        return ORTH_OK;
    json_t *object = s->json ? json_of_session(s) : NULL;
    orth_status status = ORTH_OK;
    if (s->json && !object)
        status = orth_fail(ORTH_ERR_ENVIRONMENT, "probe: out of memory for its JSON; free some");
    status = orth_agree(world, status);
    if (status == ORTH_OK)
        status = orth_json_file_write(s->json, object, world);
    json_decref(object);
    return status;
}

static orth_status probe(const orth_call *call, MPI_Comm world)
{
    session s = {0};
    orth_status status = open_session(call, world, &s);
    if (status == ORTH_OK)
        status = orth_probe_latents(&s.sae, s.dataset, s.labels, &s.how, &s.result);
    if (status == ORTH_OK)
        status = tell(&s, world);
    orth_probe_free(&s.result);
    orth_json_file_close(s.json);
    orth_sae_free(&s.sae);
    orth_labels_close(s.labels);
    orth_dataset_close(s.dataset);
    orth_grid_free(&s.grid);
    orth_model_close(&s.source);
    return status;
}

const orth_verb orth_verb_probe = {
    .name = "probe",
    .usage = "MODEL --data FILE... --labels FILE.h5",
    .summary = "find the latents that tell labelled tokens apart, by logistic regression on each",
    .min_argument = 1,
    .max_argument = 1,
    .takes_set = true,
    .options = options,
    .run = probe};
