#include "output.h"

#include <orthant/app/verb.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/run/dictionary_json.h>
#include <orthant/run/evaluate.h>
#include <orthant/run/json_value.h>
#include <orthant/run/model_source.h>

#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>

static const orth_option options[] = {
    {"data", ORTH_OPTION_LIST, "FILE...", NULL,
     "activations on which both models are evaluated as `orthant eval` does it"},
    {"encoder", ORTH_OPTION_FLAG, NULL, NULL, "matches the rows of W_enc too, and not W_dec alone"},
    {"each", ORTH_OPTION_FLAG, NULL, NULL, "adds to --json the nearest latent of every single one"},
    {"json", ORTH_OPTION_OUTPUT, "FILE", NULL, "writes all figures; the keys are below"},
    {"batch", ORTH_OPTION_TEXT, "N", NULL,
     "consecutive rows of a batch; default: each model's train.batch"},
    {0}};

static void help(FILE *out)
{
    fprintf(
        out,
        "A MODEL is a run directory, a checkpoint or an exported folder. For each latent the\n"
        "largest signed cosine with a latent of the other model is taken, both ways; their\n"
        "mean is the mean max cosine similarity (MMCS).\n"
        "\nKeys of --json:\n"
        "  a, b      model, step, n_latent, d_model, selection; with --data eval {...}, as\n"
        "            `orthant eval --json` without arrays\n"
        "  decoder   a_to_b and b_to_a, each: n_latent, mean, min, max, p5, p25, p50, p75, p95,\n"
        "            above_0.7 and above_0.9 (latents with a larger one), histogram {edges,\n"
        "            counts}\n"
        "  encoder   the same of W_enc, with --encoder\n");
}

/* One of the two. */
typedef struct side {
    orth_model_source source;
    orth_grid grid;
    orth_sae sae;
    orth_dataset *dataset; ///< NULL: nothing is evaluated
    orth_evaluation evaluation;
    bool evaluated;
} side;

typedef struct session {
    side sides[2];
    const char *json_path; ///< NULL: none is wanted
    orth_json_file *json;  ///< rank 0
    orth_dictionary_match decoder, encoder;
    bool has_encoder;
} session;

static orth_status open_side(const orth_call *call, int index, int64_t batch, MPI_Comm world,
                             side *s)
{
    int64_t n_override;
    const char *const *overrides = orth_call_overrides(call, &n_override);
    ORTH_TRY(
        orth_model_open(orth_call_argument(call, index), overrides, n_override, world, &s->source));
    if (batch == 0)
        batch = s->source.config.recipe.batch;
    return orth_model_grid(&s->source, batch, world, &s->grid);
}

static orth_status check_width(const session *s)
{
    const orth_model_source *a = &s->sides[0].source, *b = &s->sides[1].source;
    if (a->info.d_model == b->info.d_model)
        return ORTH_OK;
    return orth_fail(ORTH_ERR_USAGE,
                     "compare: %s has d_model %" PRId64 ", %s has %" PRId64
                     "; give two models of activations of one width",
                     a->path, a->info.d_model, b->path, b->info.d_model);
}

static orth_status open_data(const orth_call *call, MPI_Comm world, session *s)
{
    int64_t n_file;
    const char *const *files = orth_call_list(call, "data", &n_file);
    for (int i = 0; n_file > 0 && i < 2; i++) {
        side *one = &s->sides[i];
        ORTH_TRY(orth_dataset_open(files, n_file, one->source.config.data_dataset, world,
                                   &one->dataset));
        if (s->json_path)
            ORTH_TRY(
                orth_output_check("json", s->json_path, one->source.path, one->dataset, world));
    }
    return ORTH_OK;
}

static orth_status open_session(const orth_call *call, int64_t batch, MPI_Comm world, session *s)
{
    for (int i = 0; i < 2; i++)
        ORTH_TRY(open_side(call, i, batch, world, &s->sides[i]));
    ORTH_TRY(check_width(s));
    s->json_path = orth_call_text(call, "json");
    if (s->json_path)
        ORTH_TRY(orth_json_file_open(s->json_path, world, &s->json));
    ORTH_TRY(open_data(call, world, s));
    for (int i = 0; i < 2; i++)
        ORTH_TRY(orth_model_load(&s->sides[i].source, &s->sides[i].grid, &s->sides[i].sae));
    return ORTH_OK;
}

static orth_status measure(const orth_call *call, int64_t batch, session *s)
{
    const orth_sae *a = &s->sides[0].sae, *b = &s->sides[1].sae;
    bool each = s->json_path && orth_call_flag(call, "each");
    ORTH_TRY(orth_dictionary_match_measure(a, b, false, each, &s->decoder));
    s->has_encoder = orth_call_flag(call, "encoder");
    if (s->has_encoder)
        ORTH_TRY(orth_dictionary_match_measure(a, b, true, each, &s->encoder));
    for (int i = 0; i < 2; i++) {
        side *one = &s->sides[i];
        orth_evaluation_options how = {.batch = batch ? batch : one->source.config.recipe.batch,
                                       .skip = one->source.config.data_nonfinite ==
                                               ORTH_NONFINITE_SKIP};
        if (one->dataset)
            ORTH_TRY(orth_evaluate(&one->sae, one->dataset, &how, &one->evaluation));
        one->evaluated = one->dataset != NULL;
    }
    return ORTH_OK;
}

/* ---- what was found ---- */

static orth_status side_json(const side *s, json_t **out)
{
    json_t *evaluation = NULL, *object = json_object();
    orth_status status = ORTH_OK;
    if (s->evaluated)
        status = orth_evaluation_json(&s->evaluation, false, &evaluation);
    orth_json_set_text(object, "model", s->source.path);
    json_object_set_new(object, "step", orth_json_step(s->sae.step));
    orth_json_set_integer(object, "n_latent", s->sae.recipe.n_latent);
    orth_json_set_integer(object, "d_model", s->sae.d_model);
    json_object_set_new(object, "selection",
                        json_string(orth_selection_names[s->sae.recipe.selection]));
    if (evaluation)
        json_object_set_new(object, "eval", evaluation);
    *out = object;
    return status;
}

static json_t *both_json(const orth_dictionary_match *match)
{
    return json_pack("{s:o, s:o}", "a_to_b", orth_match_json(&match->a_to_b), "b_to_a",
                     orth_match_json(&match->b_to_a));
}

static orth_status session_json(const session *s, json_t **out)
{
    json_t *sides[2] = {NULL, NULL}, *object = json_object();
    orth_status status = ORTH_OK;
    for (int i = 0; status == ORTH_OK && i < 2; i++)
        status = side_json(&s->sides[i], &sides[i]);
    json_object_set_new(object, "a", sides[0]);
    json_object_set_new(object, "b", sides[1]);
    json_object_set_new(object, "decoder", both_json(&s->decoder));
    if (s->has_encoder)
        json_object_set_new(object, "encoder", both_json(&s->encoder));
    *out = object;
    return status;
}

static void print_match(const char *label, const orth_match *m)
{
    printf("%-20sMMCS %.6g (5%% %.4g, median %.4g, 95%% %.4g), above 0.7: %" PRId64
           ", above 0.9: %" PRId64 " of %" PRId64 "\n",
           label, m->mean, m->quantiles[0], m->quantiles[2], m->quantiles[4], m->above_07,
           m->above_09, m->n_latent);
}

static void print_row(const char *label, double a, double b)
{
    printf("%-20s%12.6g %12.6g\n", label, a, b);
}

static void print_quality(const session *s)
{
    const orth_quality *a = &s->sides[0].evaluation.quality;
    const orth_quality *b = &s->sides[1].evaluation.quality;
    printf("%-20s%12s %12s\n", "", "A", "B");
    print_row("mse", a->mse, b->mse);
    print_row("nmse", a->nmse, b->nmse);
    print_row("fvu", a->fvu, b->fvu);
    print_row("cosine", a->cosine, b->cosine);
    print_row("l0", a->l0, b->l0);
    print_row("dead latents", (double)a->dead, (double)b->dead);
    print_row("afa", a->afa, b->afa);
    print_row("eLBO, median", a->elbo_median, b->elbo_median);
}

static void print(const session *s)
{
    for (int i = 0; i < 2; i++) {
        const side *one = &s->sides[i];
        char step[ORTH_STEP_ROOM];
        printf("%-20s%s\n", i == 0 ? "A" : "B", one->source.path);
        printf("                    %s%s, %" PRId64 " latents of %" PRId64 "\n",
               orth_model_step_text(one->sae.step, step),
               orth_selection_names[one->sae.recipe.selection], one->sae.recipe.n_latent,
               one->sae.d_model);
    }
    print_match("decoder, A in B", &s->decoder.a_to_b);
    print_match("decoder, B in A", &s->decoder.b_to_a);
    if (s->has_encoder) {
        print_match("encoder, A in B", &s->encoder.a_to_b);
        print_match("encoder, B in A", &s->encoder.b_to_a);
    }
    if (s->sides[0].evaluated)
        print_quality(s);
}

static orth_status tell(const session *s, MPI_Comm world)
{
    json_t *object = NULL;
    orth_status status = ORTH_OK;
    if (s->sides[0].grid.rank == 0)
        print(s);
    if (!s->json_path)
        return ORTH_OK;
    if (s->json)
        status = session_json(s, &object);
    status = orth_agree(world, status);
    if (status == ORTH_OK)
        status = orth_json_file_write(s->json, object, world);
    json_decref(object);
    return status;
}

static orth_status compare(const orth_call *call, MPI_Comm world)
{
    session s = {0};
    int64_t batch = 0;
    ORTH_TRY(orth_call_integer(call, "batch", 1, INT_MAX, &batch));
    orth_status status = open_session(call, batch, world, &s);
    if (status == ORTH_OK)
        status = measure(call, batch, &s);
    if (status == ORTH_OK)
        status = tell(&s, world);
    orth_dictionary_match_free(&s.decoder);
    orth_dictionary_match_free(&s.encoder);
    orth_json_file_close(s.json);
    for (int i = 0; i < 2; i++) {
        orth_evaluation_free(&s.sides[i].evaluation);
        orth_dataset_close(s.sides[i].dataset);
        orth_sae_free(&s.sides[i].sae);
        orth_grid_free(&s.sides[i].grid);
        orth_model_close(&s.sides[i].source);
    }
    return status;
}

const orth_verb orth_verb_compare = {
    .name = "compare",
    .usage = "A B [--data FILE...] [--encoder] [--json FILE]",
    .summary = "match the latents of two models: mean max cosine similarity, both ways",
    .min_argument = 2,
    .max_argument = 2,
    .takes_set = true,
    .options = options,
    .help = help,
    .run = compare};
