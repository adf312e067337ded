/* Models written for each tool on one grid and read back on another: the same weights, or the same
 * functions where something is folded; figures of the data where a tool keeps them.
 * ranks: 1 2 3 */
#include "check_mpi.h"

#include <orthant/base/path.h>
#include <orthant/base/random.h>
#include <orthant/foreign/sae_folder.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LATENTS = 37, WIDTH = 5, K = 3 };

static float drawn(uint64_t what, int64_t i)
{
    return (float)(2.0 * orth_random_uniform(7, ORTH_RANDOM_TEST, what, (uint64_t)i) - 1.0);
}

/* Row i depends on i alone. */
static void fill(orth_sae *sae)
{
    orth_range own = sae->own;
    for (int64_t i = own.begin; i < own.end; i++) {
        for (int64_t j = 0; j < WIDTH; j++) {
            sae->weights.W_enc[(i - own.begin) * WIDTH + j] = drawn(1, i * WIDTH + j);
            sae->weights.W_dec[(i - own.begin) * WIDTH + j] = drawn(2, i * WIDTH + j);
        }
        sae->weights.b_enc[i - own.begin] = drawn(3, i);
        if (sae->threshold)
            sae->threshold[i - own.begin] = fabsf(drawn(4, i));
    }
    for (int64_t j = 0; j < WIDTH; j++)
        sae->weights.b_dec[j] = drawn(5, j);
}

static orth_recipe recipe_of(orth_selection_kind selection, orth_input_norm input)
{
    return (orth_recipe){.n_latent = LATENTS, .selection = selection, .k = K, .input = input};
}

static bool close_to(const float *a, const float *b, int64_t count, double factor, double tolerance)
{
    for (int64_t i = 0; i < count; i++)
        if (!(fabs((double)a[i] - factor * (double)b[i]) <= tolerance))
            return false;
    return true;
}

static bool same_weights(const orth_sae *a, const orth_sae *b, double scale, double tolerance)
{
    int64_t n = orth_range_size(a->own);
    const orth_params *p = &a->weights, *q = &b->weights;
    double exact = scale == 1.0 ? 0.0 : 1e-6;
    return close_to(p->W_enc, q->W_enc, n * WIDTH, scale, exact) &&
           close_to(p->W_dec, q->W_dec, n * WIDTH, 1.0 / scale, exact) &&
           close_to(p->b_dec, q->b_dec, WIDTH, 1.0 / scale, exact) &&
           close_to(p->b_enc, q->b_enc, n, 1.0, tolerance) &&
           (!a->threshold || !b->threshold || close_to(a->threshold, b->threshold, n, 1.0, 0.0));
}

typedef struct round_trip {
    const char *tool;
    orth_selection_kind selection, read;
    orth_input_norm input, read_input;
    double tolerance; /* of b_enc, into which b_dec may have been folded and out again */
} round_trip;

static const round_trip trips[] = {
    {"saelens", ORTH_SELECT_TOPK, ORTH_SELECT_TOPK, ORTH_INPUT_NONE, ORTH_INPUT_NONE, 0.0},
    {"saelens", ORTH_SELECT_TOPK, ORTH_SELECT_TOPK, ORTH_INPUT_LAYERNORM, ORTH_INPUT_LAYERNORM,
     0.0},
    {"saelens", ORTH_SELECT_TOPK, ORTH_SELECT_TOPK, ORTH_INPUT_SCALE, ORTH_INPUT_NONE, 0.0},
    {"saelens", ORTH_SELECT_JUMPRELU, ORTH_SELECT_JUMPRELU, ORTH_INPUT_NONE, ORTH_INPUT_NONE, 0.0},
    {"saelens", ORTH_SELECT_TOPAFA, ORTH_SELECT_JUMPRELU, ORTH_INPUT_NONE, ORTH_INPUT_NONE, 0.0},
    {"sparsify", ORTH_SELECT_TOPK, ORTH_SELECT_TOPK, ORTH_INPUT_NONE, ORTH_INPUT_NONE, 0.0},
    {"dictionary_learning", ORTH_SELECT_TOPK, ORTH_SELECT_TOPK, ORTH_INPUT_SCALE, ORTH_INPUT_NONE,
     0.0},
    {"dictionary_learning", ORTH_SELECT_JUMPRELU, ORTH_SELECT_JUMPRELU, ORTH_INPUT_NONE,
     ORTH_INPUT_NONE, 1e-6},
    {"openai", ORTH_SELECT_TOPK, ORTH_SELECT_TOPK, ORTH_INPUT_LAYERNORM, ORTH_INPUT_LAYERNORM, 0.0},
};
enum { TRIPS = sizeof trips / sizeof *trips };

static void write_model(const round_trip *trip, const char *folder, int n_group, int n_shard)
{
    orth_grid grid;
    orth_sae sae;
    bool calibrate = false;
    orth_recipe recipe = recipe_of(trip->selection, trip->input);
    ck_agree(orth_grid_create(MPI_COMM_WORLD, n_group, n_shard, &grid) == ORTH_OK);
    ck_agree(orth_sae_create(&grid, &recipe, WIDTH, false, &sae) == ORTH_OK);
    sae.input_scale = trip->input == ORTH_INPUT_SCALE ? 0.75 : 1.0;
    ck_agree(orth_sae_export_check(trip->tool, &sae, &calibrate) == ORTH_OK);
    ck_agree(calibrate == (trip->selection != trip->read));
    if (calibrate)
        sae.threshold = calloc(LATENTS, sizeof *sae.threshold);
    fill(&sae);
    const orth_sae_export what = {
        .tool = trip->tool, .folder = folder, .sae = &sae, .model = "a \"model\"", .tokens = 0};
    ck_agree(orth_sae_export_write(&what) == ORTH_OK);
    ck_agree(orth_sae_export_write(&what) == ORTH_ERR_USAGE); /* it is there now */
    orth_error_clear();
    if (calibrate)
        free(sae.threshold);
    sae.threshold = calibrate ? NULL : sae.threshold;
    orth_sae_free(&sae);
    orth_grid_free(&grid);
}

static void read_model(const round_trip *trip, const char *folder, int n_group, int n_shard)
{
    orth_grid grid;
    orth_sae sae, wanted;
    orth_sae_folder *opened = NULL;
    orth_recipe recipe = recipe_of(trip->read, trip->read_input);
    ck_agree(orth_sae_folder_open(folder, MPI_COMM_WORLD, &opened) == ORTH_OK);
    const orth_sae_description *d = orth_sae_folder_description(opened);
    ck_agree(strcmp(d->tool, trip->tool) == 0 && d->n_latent == LATENTS && d->d_model == WIDTH);
    ck_agree(d->selection == trip->read && d->input == trip->read_input);
    ck_agree(d->k == (orth_selection_uses_k(d->selection) ? K : 0));
    ck_agree(orth_grid_create(MPI_COMM_WORLD, n_group, n_shard, &grid) == ORTH_OK);
    ck_agree(orth_sae_create(&grid, &recipe, WIDTH, false, &sae) == ORTH_OK);
    ck_agree(orth_sae_create(&grid, &recipe, WIDTH, false, &wanted) == ORTH_OK);
    fill(&wanted);
    ck_agree(orth_sae_folder_read(opened, &sae) == ORTH_OK);
    ck_agree(
        same_weights(&sae, &wanted, trip->input == ORTH_INPUT_SCALE ? 0.75 : 1.0, trip->tolerance));
    orth_sae_folder_close(opened);
    orth_sae_free(&wanted);
    orth_sae_free(&sae);
    orth_grid_free(&grid);
}

START_TEST(there_and_back)
{
    int size;
    char *folder = NULL;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    ck_agree(orth_path_format(&folder, "%s/trip%d", orth_check_folder(), _i) == ORTH_OK);
    write_model(trips + _i, folder, _i % 2 ? size : 1, _i % 2 ? 1 : size);
    read_model(trips + _i, folder, _i % 2 ? 1 : size, _i % 2 ? size : 1);
    free(folder);
}
END_TEST

/* What a tool cannot express is an error that names it. */
START_TEST(refusals)
{
    const struct {
        const char *tool;
        orth_selection_kind selection;
        orth_input_norm input;
        const char *words;
    } cases[] = {{"saelens", ORTH_SELECT_TOPK, ORTH_INPUT_UNIT, "input.norm is unit"},
                 {"sparsify", ORTH_SELECT_BATCHTOPK, ORTH_INPUT_NONE, "selection is batchtopk"},
                 {"openai", ORTH_SELECT_JUMPRELU, ORTH_INPUT_LAYERNORM, "selection is jumprelu"},
                 {"gemma_scope", ORTH_SELECT_JUMPRELU, ORTH_INPUT_NONE, "is none of saelens"}};
    for (int i = 0; i < 4; i++) {
        bool calibrate;
        orth_sae sae = {.recipe = recipe_of(cases[i].selection, cases[i].input), .d_model = WIDTH};
        orth_error_clear();
        ck_agree(orth_sae_export_check(cases[i].tool, &sae, &calibrate) == ORTH_ERR_USAGE);
        ck_agree(strstr(orth_error_text(), cases[i].words) != NULL);
    }
    orth_error_clear();
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("folders of other tools");
    TCase *cases = tcase_create("folders of other tools");
    tcase_set_timeout(cases, 0);
    tcase_add_loop_test(cases, there_and_back, 0, TRIPS);
    tcase_add_test(cases, refusals);
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
