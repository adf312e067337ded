#include "output.h"

#include <orthant/app/verb.h>

#include <orthant/base/log.h>
#include <orthant/base/memory.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/run/evaluate.h>
#include <orthant/run/latents_file.h>
#include <orthant/run/model_source.h>

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODELS_MOST = 1000, EXAMPLES_MOST = 1000, NEIGHBOURS_MOST = 100, CONTEXT_MOST = 4096 };

static const orth_option options[] = {
    {"data", ORTH_OPTION_LIST, "FILE...", NULL,
     "activation files or globs, one table in the listed order; every row is evaluated once"},
    {"json", ORTH_OPTION_OUTPUT, "FILE", NULL,
     "writes all figures, histograms and the points of the ZF plot included; of several models "
     "{\"models\": [...]}"},
    {"batch", ORTH_OPTION_TEXT, "N", NULL,
     "consecutive rows of a batch, the last one has what is left; default: the model's "
     "train.batch; matters to batchtopk, which selects the k N largest of each batch"},
    {"skip-eps", ORTH_OPTION_FLAG, NULL, NULL,
     "leaves out eps, whose cost grows with the square of n_latent"},
    {"latents", ORTH_OPTION_OUTPUT, "FILE", NULL,
     "writes, as JSON, of each latent how often and how strongly it fires, the tokens that excite "
     "it most, with their context as far as the files have /tokens, /documents and /vocab, and its "
     "nearest latents; in the same pass, for one model"},
    {"examples", ORTH_OPTION_TEXT, "N", "10", "tokens of each latent in --latents"},
    {"neighbours", ORTH_OPTION_TEXT, "N", "5",
     "nearest latents of each in --latents; 0 saves n_latent^2 d_model multiplications"},
    {"context", ORTH_OPTION_TEXT, "N", "12", "tokens shown on either side of one in --latents"},
    {0}};

/* What is wanted of all models, and what was found. */
typedef struct outcome {
    orth_evaluation_options how;
    orth_latents_options latents;
    int64_t context;
    const char *json_path, *latents_path; ///< NULL: none is wanted
    orth_json_file *json, *latents_file;  ///< rank 0
    int64_t count;
    orth_evaluation *evaluations; ///< (count)
    char **paths;                 ///< (count) of the models
} outcome;

/* A model at work: everything that an evaluation needs, opened. */
typedef struct session {
    orth_model_source source;
    orth_grid grid;
    orth_sae sae;
    orth_dataset *dataset;
    orth_latents *latents;
    orth_text *text; ///< rank 0
} session;

static orth_status read_options(const orth_call *call, outcome *o)
{
    int64_t n_file;
    orth_call_list(call, "data", &n_file);
    o->count = orth_call_arguments(call);
    o->how.eps = !orth_call_flag(call, "skip-eps");
    o->latents = ORTH_LATENTS_DEFAULT;
    o->json_path = orth_call_text(call, "json");
    o->latents_path = orth_call_text(call, "latents");
    if (n_file == 0)
        return orth_fail(ORTH_ERR_USAGE, "eval: --data is missing; name activation files");
    if (o->latents_path && o->count > 1)
        return orth_fail(ORTH_ERR_USAGE, "eval: --latents takes one model; leave the others out");
    if (o->latents_path && o->json_path && strcmp(o->latents_path, o->json_path) == 0)
        return orth_fail(ORTH_ERR_USAGE, "eval: --latents and --json name one file; name two");
    ORTH_TRY(orth_call_integer(call, "batch", 1, INT_MAX, &o->how.batch));
    ORTH_TRY(orth_call_integer(call, "examples", 0, EXAMPLES_MOST, &o->latents.examples));
    ORTH_TRY(orth_call_integer(call, "neighbours", 0, NEIGHBOURS_MOST, &o->latents.neighbours));
    ORTH_TRY(orth_call_integer(call, "context", 0, CONTEXT_MOST, &o->context));
    ORTH_TRY(ORTH_ALLOCATE(o->count, "evaluations", &o->evaluations));
    return ORTH_ALLOCATE(o->count, "evaluations", &o->paths);
}

/* Before the work starts, with the first model, so that a model that is not there is told first. */
static orth_status open_outputs(MPI_Comm world, outcome *o)
{
    if (o->json_path && !o->json)
        ORTH_TRY(orth_json_file_open(o->json_path, world, &o->json));
    if (o->latents_path)
        ORTH_TRY(orth_json_file_open(o->latents_path, world, &o->latents_file));
    return ORTH_OK;
}

static orth_status check_outputs(const outcome *o, const session *s, MPI_Comm world)
{
    if (o->json_path)
        ORTH_TRY(orth_output_check("json", o->json_path, s->source.path, s->dataset, world));
    if (o->latents_path)
        ORTH_TRY(orth_output_check("latents", o->latents_path, s->source.path, s->dataset, world));
    return ORTH_OK;
}

static orth_status open_latents(const outcome *o, session *s)
{
    orth_status status = orth_latents_create(&s->sae, &o->latents, &s->latents);
    if (status == ORTH_OK && s->grid.rank == 0 && o->latents.examples > 0)
        status = orth_text_open(s->dataset, &s->text);
    return status;
}

static orth_status open_session(const orth_call *call, int index, MPI_Comm world, outcome *o,
                                session *s, orth_evaluation_options *how)
{
    int64_t n_override, n_file;
    const char *const *overrides = orth_call_overrides(call, &n_override);
    const char *const *files = orth_call_list(call, "data", &n_file);
    ORTH_TRY(
        orth_model_open(orth_call_argument(call, index), overrides, n_override, world, &s->source));
    *how = o->how;
    if (how->batch == 0)
        how->batch = s->source.config.recipe.batch;
    how->skip = s->source.config.data_nonfinite == ORTH_NONFINITE_SKIP;
    if (index == 0)
        ORTH_TRY(open_outputs(world, o));
    ORTH_TRY(orth_dataset_open(files, n_file, s->source.config.data_dataset, world, &s->dataset));
    ORTH_TRY(check_outputs(o, s, world));
    ORTH_TRY(orth_model_grid(&s->source, how->batch, world, &s->grid));
    ORTH_TRY(orth_model_load(&s->source, &s->grid, &s->sae));
    if (o->latents_path)
        ORTH_TRY(orth_agree(world, open_latents(o, s)));
    how->latents = s->latents;
    return ORTH_OK;
}

static orth_status write_latents(const outcome *o, session *s, int64_t tokens)
{
    orth_latents_text text = {
        .dataset = s->dataset, .text = s->text, .before = o->context, .after = o->context};
    return orth_latents_write(s->latents, &s->sae, s->source.path, tokens, &text, o->latents_file);
}

static void close_session(session *s)
{
    orth_text_close(s->text);
    orth_latents_free(s->latents);
    orth_sae_free(&s->sae);
    orth_dataset_close(s->dataset);
    orth_grid_free(&s->grid);
    orth_model_close(&s->source);
}

static void tell(const session *s, const orth_evaluation *evaluation)
{
    char step[ORTH_STEP_ROOM];
    printf("model               %s\n", s->source.path);
    printf("                    %s%s, %" PRId64 " latents of %" PRId64 "\n",
           orth_model_step_text(s->sae.step, step), orth_selection_names[s->sae.recipe.selection],
           s->sae.recipe.n_latent, s->sae.d_model);
    orth_evaluation_print(evaluation, stdout);
}

static orth_status evaluate_one(const orth_call *call, int index, MPI_Comm world, outcome *o)
{
    session s = {0};
    orth_evaluation_options how;
    orth_evaluation *evaluation = o->evaluations + index;
    orth_status status = open_session(call, index, world, o, &s, &how);
    if (status == ORTH_OK && o->count > 1)
        orth_log_info("eval: %s", s.source.path);
    if (status == ORTH_OK)
        status = orth_evaluate(&s.sae, s.dataset, &how, evaluation);
    if (status == ORTH_OK && s.grid.rank == 0 && o->count == 1)
        tell(&s, evaluation);
    if (status == ORTH_OK && s.latents)
        status = write_latents(o, &s, evaluation->quality.tokens);
    o->paths[index] = s.source.path;
    s.source.path = NULL;
    close_session(&s);
    return status;
}

static orth_status evaluate_all(const orth_call *call, MPI_Comm world, outcome *o)
{
    int rank;
    const char *const *paths = (const char *const *)o->paths;
    ORTH_MPI(MPI_Comm_rank(world, &rank));
    for (int i = 0; i < o->count; i++)
        ORTH_TRY(evaluate_one(call, i, world, o));
    if (rank == 0 && o->count > 1)
        orth_evaluation_print_all(o->evaluations, paths, o->count, stdout);
    return o->json_path ? orth_evaluation_write(o->evaluations, paths, o->count, o->json, world)
                        : ORTH_OK;
}

static orth_status evaluate(const orth_call *call, MPI_Comm world)
{
    outcome o = {0};
    orth_status status = orth_agree(world, read_options(call, &o));
    if (status == ORTH_OK)
        status = evaluate_all(call, world, &o);
    for (int64_t i = 0; i < o.count; i++) {
        if (o.evaluations)
            orth_evaluation_free(o.evaluations + i);
        if (o.paths)
            free(o.paths[i]);
    }
    orth_free(o.evaluations);
    orth_free(o.paths);
    orth_json_file_close(o.json);
    orth_json_file_close(o.latents_file);
    return status;
}

static void help(FILE *out)
{
    fprintf(
        out,
        "A MODEL is a run directory, a checkpoint or an exported folder. z is a token after input\n"
        "normalisation, not centred; f its code; r the reconstruction less z; f~ the code times "
        "the\n"
        "lengths of the rows of W_dec, with |b_dec| as one more entry; n = n_latent.\n"
        "\nKeys of --json (of several models: models [...]):\n"
        "  tokens, skipped (rows with NaN or Inf), n_latent, d_model, selection, model\n"
        "  step      null where it is not known: of another tool's folder, and imported\n"
        "  mse       mean of r^2 over tokens and dimensions; nmse: mean of |r|^2 / |z|^2\n"
        "  fvu       sum |r|^2 / sum |z - mean z|^2; explained_variance: 1 - fvu; cosine\n"
        "  l0        {mean, p5, p50, p95, max, histogram} of the number of f_i > 0\n"
        "  dead      latents that never fire, rare: on fewer than 1 token in 10^5 (dead ones "
        "too),\n"
        "            frequency: histogram of log10 of the share of tokens\n"
        "  afa       mean of (|f| - |z|)^2\n"
        "  elbo      {median, q25, q75, mean, undefined, histogram} of\n"
        "            abs(|z|^2 - |f~|^2) / ((n - 1) |f~|^2)\n"
        "  zf        {z, f}: |z| and |f~| of at most 20,000 tokens; over, under: tokens with |f~|\n"
        "            above, below |z|; bounds: of eps (n - 1) in 0.25, 0.5, 1 the share within\n"
        "  quasi_orthogonality  | |x_hat|^2 - |f~|^2 | against eps_max (|f~|_1^2 - |f~|^2):\n"
        "            largest_ratio, violations; within, within_wide: shares of tokens whose z is\n"
        "  eps       {max, mean, max_abs, mean_abs, welch} of the products of two rows of W_dec\n"
        "  description_length   l0 (7 + log2 n) bits a token\n");
}

const orth_verb orth_verb_eval = {
    .name = "eval",
    .usage = "MODEL... --data FILE...",
    .summary = "measure held-out quality, ZF data and eLBO of a checkpoint or a run's newest one; "
               "of several models side by side",
    .min_argument = 1,
    .max_argument = MODELS_MOST,
    .takes_set = true,
    .options = options,
    .help = help,
    .run = evaluate};
