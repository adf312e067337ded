#include "output.h"

#include <orthant/app/verb.h>
#include <orthant/base/memory.h>
#include <orthant/eval/active_overlap.h>
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
#include <string.h>

static const orth_option options[] = {
    {"data", ORTH_OPTION_LIST, "FILE...", NULL,
     "activations on which both models are evaluated as `orthant eval` does it, and on which it is "
     "counted how many matched latents are active together"},
    {"encoder", ORTH_OPTION_FLAG, NULL, NULL, "matches the rows of W_enc too, and not W_dec alone"},
    {"each", ORTH_OPTION_FLAG, NULL, NULL, "adds to --json the nearest latent of every single one"},
    {"json", ORTH_OPTION_OUTPUT, "FILE", NULL, "writes all figures; the keys are below"},
    {"batch", ORTH_OPTION_TEXT, "N", NULL,
     "consecutive rows of a batch; default: each model's train.batch, for both together A's"},
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
        "  encoder   the same of W_enc, with --encoder\n"
        "  overlap   with --data: tokens, and a_to_b and b_to_a, each {share, jaccard}: of the\n"
        "            latents that are active on a token the share whose nearest one in the other\n"
        "            model is active too, and their Jaccard index |m(A) & B| / |m(A) | B|, with\n"
        "            m(A) the nearest ones in B of those active in A; means over tokens\n");
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
    bool has_encoder, each; ///< each: every single one is told
    orth_overlap overlap;   ///< with data
} session;

static orth_status open_side(const orth_call *call, int index, MPI_Comm world, side *s)
{
    int64_t n_override;
    const char *const *overrides = orth_call_overrides(call, &n_override);
    return orth_model_open(orth_call_argument(call, index), overrides, n_override, world,
                           &s->source);
}

static int64_t batch_of(const side *s, int64_t batch)
{
    return batch ? batch : s->source.config.recipe.batch;
}

/* Both on the first one's: the same tokens are at the same ranks. */
static orth_status make_grids(int64_t batch, MPI_Comm world, session *s)
{
    side *a = &s->sides[0], *b = &s->sides[1];
    ORTH_TRY(orth_model_grid(&a->source, batch_of(a, batch), world, &a->grid));
    return orth_grid_create(world, a->grid.n_group, a->grid.n_shard, &b->grid);
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
        ORTH_TRY(open_side(call, i, world, &s->sides[i]));
    ORTH_TRY(check_width(s));
    ORTH_TRY(make_grids(batch, world, s));
    s->json_path = orth_call_text(call, "json");
    if (s->json_path)
        ORTH_TRY(orth_json_file_open(s->json_path, world, &s->json));
    ORTH_TRY(open_data(call, world, s));
    for (int i = 0; i < 2; i++)
        ORTH_TRY(orth_model_load(&s->sides[i].source, &s->sides[i].grid, &s->sides[i].sae));
    return ORTH_OK;
}

static bool skips(const side *s)
{
    return s->source.config.data_nonfinite == ORTH_NONFINITE_SKIP;
}

/* Rank 0's nearest latents on all ranks. */
static orth_status share_matches(const orth_match *match, int64_t n_latent, MPI_Comm world,
                                 int64_t **out)
{
    ORTH_TRY(orth_agree(world, ORTH_ALLOCATE(n_latent, "nearest latents", out)));
    if (match->nearest)
        memcpy(*out, match->nearest, (size_t)n_latent * sizeof **out);
    return orth_broadcast(*out, n_latent, MPI_INT64_T, 0, world);
}

static orth_status measure_overlap(int64_t batch, session *s)
{
    const orth_match *matches[] = {&s->decoder.a_to_b, &s->decoder.b_to_a};
    MPI_Comm world = s->sides[0].grid.world;
    int64_t *nearest[2] = {NULL, NULL};
    orth_overlap_side sides[2];
    orth_status status = ORTH_OK;
    for (int i = 0; status == ORTH_OK && i < 2; i++) {
        side *one = &s->sides[i];
        status = share_matches(matches[i], one->sae.recipe.n_latent, world, &nearest[i]);
        sides[i] = (orth_overlap_side){&one->sae, one->dataset, nearest[i]};
    }
    if (status == ORTH_OK)
        status = orth_active_overlap(&sides[0], &sides[1], batch_of(&s->sides[0], batch),
                                     skips(&s->sides[0]) && skips(&s->sides[1]), &s->overlap);
    orth_free(nearest[0]);
    orth_free(nearest[1]);
    return status;
}

static orth_status measure(const orth_call *call, int64_t batch, session *s)
{
    const orth_sae *a = &s->sides[0].sae, *b = &s->sides[1].sae;
    bool each = s->json_path && orth_call_flag(call, "each"), data = s->sides[0].dataset != NULL;
    ORTH_TRY(orth_dictionary_match_measure(a, b, false, each || data, &s->decoder));
    s->has_encoder = orth_call_flag(call, "encoder");
    if (s->has_encoder)
        ORTH_TRY(orth_dictionary_match_measure(a, b, true, each, &s->encoder));
    for (int i = 0; i < 2; i++) {
        side *one = &s->sides[i];
        orth_evaluation_options how = {.batch = batch_of(one, batch), .skip = skips(one)};
        if (data)
            ORTH_TRY(orth_evaluate(&one->sae, one->dataset, &how, &one->evaluation));
        one->evaluated = data;
    }
    s->each = each;
    return data ? measure_overlap(batch, s) : ORTH_OK;
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

static json_t *both_json(const orth_dictionary_match *match, bool each)
{
    return json_pack("{s:o, s:o}", "a_to_b", orth_match_json(&match->a_to_b, each), "b_to_a",
                     orth_match_json(&match->b_to_a, each));
}

static json_t *way_json(const orth_overlap_way *way)
{
    return json_pack("{s:o, s:o}", "share", orth_json_number(way->share), "jaccard",
                     orth_json_number(way->jaccard));
}

static json_t *overlap_json(const orth_overlap *overlap)
{
    return json_pack("{s:I, s:o, s:o}", "tokens", (json_int_t)overlap->tokens, "a_to_b",
                     way_json(&overlap->a_to_b), "b_to_a", way_json(&overlap->b_to_a));
}

static orth_status session_json(const session *s, json_t **out)
{
    json_t *sides[2] = {NULL, NULL}, *object = json_object();
    orth_status status = ORTH_OK;
    for (int i = 0; status == ORTH_OK && i < 2; i++)
        status = side_json(&s->sides[i], &sides[i]);
    json_object_set_new(object, "a", sides[0]);
    json_object_set_new(object, "b", sides[1]);
    json_object_set_new(object, "decoder", both_json(&s->decoder, s->each));
    if (s->has_encoder)
        json_object_set_new(object, "encoder", both_json(&s->encoder, s->each));
    if (s->sides[0].evaluated)
        json_object_set_new(object, "overlap", overlap_json(&s->overlap));
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

static void print_overlap(const char *label, const orth_overlap_way *way)
{
    printf("%-20s%.4g %% of the active latents have their nearest one active too, Jaccard %.4g\n",
           label, 100.0 * way->share, way->jaccard);
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
    if (s->sides[0].evaluated) {
        print_overlap("active, A in B", &s->overlap.a_to_b);
        print_overlap("active, B in A", &s->overlap.b_to_a);
        print_quality(s);
    }
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
