#include "output.h"

#include <orthant/app/verb.h>

#include <orthant/run/evaluate.h>
#include <orthant/run/model_source.h>

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>

static const orth_option options[] = {
    {"data", ORTH_OPTION_LIST, "FILE...", NULL,
     "activation files or globs, one table in the listed order; every row is evaluated once"},
    {"json", ORTH_OPTION_TEXT, "FILE", NULL,
     "writes all figures, histograms and the points of the ZF plot included"},
    {"batch", ORTH_OPTION_TEXT, "N", NULL,
     "consecutive rows of a batch, the last one has what is left; default: the model's "
     "train.batch; matters to batchtopk, which selects the k N largest of each batch"},
    {"skip-eps", ORTH_OPTION_FLAG, NULL, NULL,
     "leaves out eps, whose cost grows with the square of n_latent"},
    {0}};

/* A model at work: everything that an evaluation needs, opened. */
typedef struct session {
    orth_model_source source;
    orth_grid grid;
    orth_sae sae;
    orth_dataset *dataset;
    const char *json_path; ///< NULL: none is wanted
    orth_json_file *json;  ///< rank 0
    orth_evaluation evaluation;
} session;

static orth_status open_session(const orth_call *call, MPI_Comm world, orth_evaluation_options *how,
                                session *s)
{
    int64_t n_override, n_file;
    const char *const *overrides = orth_call_overrides(call, &n_override);
    const char *const *files = orth_call_list(call, "data", &n_file);
    if (n_file == 0)
        return orth_fail(ORTH_ERR_USAGE, "eval: --data is missing; name activation files");
    ORTH_TRY(orth_call_integer(call, "batch", 1, INT_MAX, &how->batch));
    ORTH_TRY(
        orth_model_open(orth_call_argument(call, 0), overrides, n_override, world, &s->source));
    if (how->batch == 0)
        how->batch = s->source.config.recipe.batch;
    how->skip = s->source.config.data_nonfinite == ORTH_NONFINITE_SKIP;
    s->json_path = orth_call_text(call, "json");
    if (s->json_path)
        ORTH_TRY(orth_json_file_open(s->json_path, world, &s->json));
    ORTH_TRY(orth_dataset_open(files, n_file, s->source.config.data_dataset, world, &s->dataset));
    if (s->json_path)
        ORTH_TRY(orth_output_check("json", s->json_path, s->source.path, s->dataset, world));
    ORTH_TRY(orth_model_grid(&s->source, how->batch, world, &s->grid));
    return orth_model_load(&s->source, &s->grid, &s->sae);
}

static orth_status tell(const session *s)
{
    if (s->grid.rank == 0) {
        printf("model               %s\n", s->source.path);
        printf("                    step %" PRId64 ", %s, %" PRId64 " latents of %" PRId64 "\n",
               s->sae.step, orth_selection_names[s->sae.recipe.selection], s->sae.recipe.n_latent,
               s->sae.d_model);
        orth_evaluation_print(&s->evaluation, stdout);
    }
    return s->json_path ? orth_evaluation_write(&s->evaluation, &s->sae, s->source.path, s->json)
                        : ORTH_OK;
}

static orth_status evaluate(const orth_call *call, MPI_Comm world)
{
    session s = {0};
    orth_evaluation_options how = {.eps = !orth_call_flag(call, "skip-eps")};
    orth_status status = open_session(call, world, &how, &s);
    if (status == ORTH_OK)
        status = orth_evaluate(&s.sae, s.dataset, &how, &s.evaluation);
    if (status == ORTH_OK)
        status = tell(&s);
    orth_evaluation_free(&s.evaluation);
    orth_json_file_close(s.json);
    orth_sae_free(&s.sae);
    orth_dataset_close(s.dataset);
    orth_grid_free(&s.grid);
    orth_model_close(&s.source);
    return status;
}

const orth_verb orth_verb_eval = {
    .name = "eval",
    .usage = "MODEL --data FILE...",
    .summary = "measure held-out quality, ZF data and eLBO of a checkpoint or a run's newest one",
    .min_argument = 1,
    .max_argument = 1,
    .takes_set = true,
    .options = options,
    .run = evaluate};
