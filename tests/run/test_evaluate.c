/* An evaluation in mid-run: its files, and that nothing of the run is disturbed.
 * ranks: 1 3
 */
#include "check_mpi.h"

#include <orthant/base/random.h>
#include <orthant/run/evaluate.h>
#include <orthant/run/run_dir.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 48, BATCH = 700, STEP = 7 };

static const char *const files[] = {ORTH_TEST_DATA "/sample-eval.h5"};

typedef struct run {
    orth_grid grid;
    orth_sae sae;
    orth_workspace workspace;
    orth_dataset *dataset;
} run;

/* A model in training, with moments: whatever its weights. */
static void open_run(run *r)
{
    int size;
    orth_recipe recipe = {.input = ORTH_INPUT_LAYERNORM,
                          .n_latent = N,
                          .k = 5,
                          .aux_k = 8,
                          .batch = BATCH,
                          .aux = ORTH_AUX_NONE};
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    ck_agree(orth_grid_create(MPI_COMM_WORLD, 1, size, &r->grid) == ORTH_OK);
    ck_agree(orth_dataset_open(files, 1, "activations", MPI_COMM_WORLD, &r->dataset) == ORTH_OK);
    int64_t d = orth_dataset_width(r->dataset);
    ck_agree(orth_sae_create(&r->grid, &recipe, d, true, &r->sae) == ORTH_OK);
    for (int64_t i = 0; i < orth_range_size(r->sae.own) * d; i++) {
        uint64_t place = (uint64_t)(r->sae.own.begin * d + i);
        r->sae.weights.W_enc[i] = (float)orth_random_normal(1, ORTH_RANDOM_TEST, place, 0) / 20.0f;
        r->sae.weights.W_dec[i] = r->sae.weights.W_enc[i];
        r->sae.moment1.W_enc[i] = 3.0f;
    }
    r->sae.step = STEP;
    ck_agree(orth_workspace_create(&r->sae, BATCH, true, &r->workspace) == ORTH_OK);
}

static void close_run(run *r)
{
    orth_workspace_free(&r->workspace);
    orth_sae_free(&r->sae);
    orth_dataset_close(r->dataset);
    orth_grid_free(&r->grid);
}

/* The model's own bytes, in one sum. */
static uint64_t sum_of(const orth_sae *sae)
{
    uint64_t sum = (uint64_t)sae->step;
    int64_t size = orth_range_size(sae->own) * sae->d_model;
    const float *arrays[] = {sae->weights.W_enc, sae->weights.W_dec, sae->moment1.W_enc,
                             sae->moment2.W_enc};
    for (size_t a = 0; a < 4; a++)
        for (int64_t i = 0; i < size; i++) {
            uint32_t bits;
            memcpy(&bits, arrays[a] + i, sizeof bits);
            sum = sum * 31 + bits;
        }
    for (int64_t i = 0; i < orth_range_size(sae->own); i++)
        sum = sum * 31 + (uint64_t)sae->steps_since_fired[i];
    return sum;
}

static double number(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static json_t *load(const char *folder, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return json_load_file(path, 0, NULL);
}

START_TEST(in_training)
{
    run r = {0};
    orth_metrics_file *metrics = NULL;
    const char *folder = orth_check_folder();
    open_run(&r);
    uint64_t before = sum_of(&r.sae);
    orth_evaluation_options how = {.batch = BATCH, .eps = true, .workspace = &r.workspace};
    ck_agree(orth_run_dir_create(folder, MPI_COMM_WORLD) == ORTH_OK);
    ck_agree(r.grid.rank != 0 || orth_metrics_open(folder, STEP, &metrics) == ORTH_OK);
    ck_agree(orth_evaluate_step(&r.sae, r.dataset, folder, &how, metrics) == ORTH_OK);
    orth_metrics_close(metrics);
    ck_agree(sum_of(&r.sae) == before);
    json_t *full = load(folder, "eval/step-000000007.json"), *line = load(folder, "metrics.jsonl");
    const json_t *brief = json_object_get(line, "eval");
    ck_agree(number(full, "tokens") == 4096.0 && number(line, "step") == STEP);
    ck_agree(number(full, "mse") > 0.0 && number(full, "mse") == number(brief, "mse"));
    ck_agree(json_array_size(json_object_get(json_object_get(full, "zf"), "z")) == 4096);
    ck_agree(json_object_get(full, "eps") && json_object_get(full, "frequency"));
    ck_agree(brief && !json_object_get(brief, "zf") && !json_object_get(brief, "frequency"));
    json_decref(full);
    json_decref(line);
    close_run(&r);
}
END_TEST

/* The run's workspace and an own one give the same. */
START_TEST(workspaces)
{
    run r = {0};
    orth_evaluation own, lent;
    open_run(&r);
    orth_evaluation_options how = {.batch = BATCH};
    ck_agree(orth_evaluate(&r.sae, r.dataset, &how, &own) == ORTH_OK);
    how.workspace = &r.workspace;
    ck_agree(orth_evaluate(&r.sae, r.dataset, &how, &lent) == ORTH_OK);
    ck_agree(own.quality.mse == lent.quality.mse && own.quality.tokens == 4096);
    ck_agree(own.quality.elbo_median == lent.quality.elbo_median && own.quality.l0 == 5.0);
    ck_agree(!own.has_eps && own.step == STEP);
    orth_evaluation_free(&own);
    orth_evaluation_free(&lent);
    close_run(&r);
}
END_TEST

/* A run directory that has gone: an error of the storage, on all ranks. */
START_TEST(no_folder)
{
    run r = {0};
    open_run(&r);
    orth_evaluation_options how = {.batch = BATCH, .workspace = &r.workspace};
    ck_agree(orth_evaluate_step(&r.sae, r.dataset, "/no/such/run", &how, NULL) == ORTH_ERR_STORAGE);
    orth_error_clear();
    close_run(&r);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("evaluate");
    TCase *tests = tcase_create("evaluate");
    tcase_add_test(tests, in_training);
    tcase_add_test(tests, workspaces);
    tcase_add_test(tests, no_folder);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
