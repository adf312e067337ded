/* Probes of every latent against what scikit-learn fits (tests/golden/probes.py), on every grid;
 * latents that do not fit the memory at once; labels that are not there.
 * ranks: 1 3 4
 */
#include "check_mpi.h"

#include <orthant/base/random.h>
#include <orthant/eval/probe.h>
#include <orthant/io/h5.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN ORTH_TEST_GOLDEN "/probes.h5"

enum { LATENTS = 12, TASKS = 5, FITTED = 4, COLUMNS = 4, BATCH = 64 };

/* Codes are the activations: every latent reads its own coordinate, and all that fire are kept. */
static void make_identity(const orth_grid *grid, orth_sae *out)
{
    orth_recipe recipe = {.n_latent = LATENTS, .k = LATENTS, .aux_k = 1};
    ck_agree(orth_sae_create(grid, &recipe, LATENTS, false, out) == ORTH_OK);
    for (int64_t i = out->own.begin; i < out->own.end; i++) {
        out->weights.W_enc[(i - out->own.begin) * LATENTS + i] = 1.0f;
        out->weights.W_dec[(i - out->own.begin) * LATENTS + i] = 1.0f;
    }
}

static void read_fits(double fits[FITTED * LATENTS][COLUMNS])
{
    orth_h5_file *file;
    orth_h5_dataset *dataset;
    ck_agree(orth_h5_open(GOLDEN, ORTH_H5_READ, ORTH_ERR_DATA, MPI_COMM_WORLD, &file) == ORTH_OK);
    ck_agree(orth_h5_dataset_open(file, "fits", &dataset) == ORTH_OK);
    ck_agree(orth_h5_read(dataset, 0, FITTED * LATENTS, ORTH_H5_DOUBLE, fits) == ORTH_OK);
    orth_h5_dataset_close(dataset);
    ck_agree(orth_h5_close(file) == ORTH_OK);
}

static bool near(double found, double wanted, double tolerance)
{
    return fabs(found - wanted) <= tolerance * fmax(1.0, fabs(wanted));
}

/* A latent whose values are tiny has a large w: compare w times their size. */
static void check_task(const orth_probe_task *task, const double fits[LATENTS][COLUMNS])
{
    bool seen[LATENTS] = {false};
    ck_agree(task->n_best == LATENTS && task->unconverged == 0);
    for (int64_t i = 0; i < LATENTS; i++) {
        const orth_probe_fit *fit = &task->best[i];
        const double *wanted = fits[fit->latent];
        ck_agree(fit->latent >= 0 && fit->latent < LATENTS && !seen[fit->latent]);
        seen[fit->latent] = true;
        ck_agree(near(fit->weight, wanted[0], 2e-5));
        ck_agree(near(fit->bias, wanted[1], 2e-5));
        ck_agree(near(fit->loss, wanted[2], 1e-7));
        ck_agree(near(fit->accuracy, wanted[3], 1e-12));
        ck_agree(fit->converged && fit->loss <= task->entropy * (1.0 + 1e-12));
        ck_agree(i == 0 || task->best[i - 1].loss < fit->loss ||
                 (task->best[i - 1].loss == fit->loss && task->best[i - 1].latent < fit->latent));
    }
}

static void check_grid(int groups, int shards, const double fits[FITTED * LATENTS][COLUMNS])
{
    static const int64_t best[] = {0, 2}, positive[] = {103, 82, 9, 22, 344};
    const char *files[] = {GOLDEN};
    orth_grid grid;
    orth_sae sae;
    orth_dataset *dataset;
    orth_labels *labels;
    orth_probe_result found = {0};
    orth_probe_options how = {.batch = BATCH, .l2 = 1e-6, .memory = 1 << 22, .top = 100};
    ck_agree(orth_grid_create(MPI_COMM_WORLD, groups, shards, &grid) == ORTH_OK);
    make_identity(&grid, &sae);
    ck_agree(orth_dataset_open(files, 1, "activations", grid.world, &dataset) == ORTH_OK);
    ck_agree(orth_labels_open(GOLDEN, "labels", orth_dataset_rows(dataset), grid.world, &labels) ==
             ORTH_OK);
    ck_agree(orth_labels_tasks(labels) == TASKS);
    ck_agree(strcmp(orth_labels_name(labels, 4), "all equal") == 0);
    ck_agree(orth_probe_latents(&sae, dataset, labels, &how, &found) == ORTH_OK);
    ck_agree(found.n_task == TASKS && found.tokens == 400 && found.passes == 1);
    for (int task = 0; task < FITTED; task++)
        check_task(&found.tasks[task], fits + task * LATENTS);
    for (int task = 0; task < TASKS; task++)
        ck_agree(found.tasks[task].positive == positive[task]);
    ck_agree(found.tasks[0].best[0].latent == best[0] && found.tasks[1].best[0].latent == best[1]);
    ck_agree(found.tasks[4].n_best == 0 && found.tasks[4].labelled == 344);
    orth_probe_free(&found);
    orth_labels_close(labels);
    orth_dataset_close(dataset);
    orth_sae_free(&sae);
    orth_grid_free(&grid);
}

START_TEST(golden)
{
    static double fits[FITTED * LATENTS][COLUMNS];
    int size;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    read_fits(fits);
    for (int groups = 1; groups <= size; groups++)
        if (size % groups == 0)
            check_grid(groups, size / groups, (const double(*)[COLUMNS])fits);
}
END_TEST

/* ---- more latents than fit ---- */

enum { MANY = 12000, WIDE = 16, ROWS = 500, SOME_TASKS = 2 };

static void make_files(const char *path)
{
    const int64_t extent[] = {ROWS, WIDE}, extent_labels[] = {ROWS, SOME_TASKS};
    static float x[ROWS * WIDE];
    static int32_t label[ROWS * SOME_TASKS];
    orth_h5_file *file;
    orth_h5_dataset *dataset;
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    int64_t rows = rank == 0 ? ROWS : 0;
    for (int64_t i = 0; i < ROWS * WIDE; i++)
        x[i] = (float)orth_random_normal(1, ORTH_RANDOM_TEST, (uint64_t)i, 0);
    for (int64_t i = 0; i < ROWS; i++)
        for (int64_t task = 0; task < SOME_TASKS; task++)
            label[i * SOME_TASKS + task] =
                (int32_t)(x[i * WIDE + task] > 0.3f) - (i % 7 == task ? 2 : 0);
    ck_agree(orth_h5_create(path, MPI_COMM_WORLD, &file) == ORTH_OK);
    ck_agree(orth_h5_dataset_create(file, "activations", ORTH_H5_FLOAT, 2, extent, &dataset) ==
             ORTH_OK);
    ck_agree(orth_h5_write(dataset, 0, rows, ORTH_H5_FLOAT, x) == ORTH_OK);
    orth_h5_dataset_close(dataset);
    ck_agree(orth_h5_dataset_create(file, "labels", ORTH_H5_INT32, 2, extent_labels, &dataset) ==
             ORTH_OK);
    ck_agree(orth_h5_write(dataset, 0, rows, ORTH_H5_INT32, label) == ORTH_OK);
    orth_h5_dataset_close(dataset);
    ck_agree(orth_h5_close(file) == ORTH_OK);
}

static void probe_many(const char *path, const orth_grid *grid, int64_t memory, int64_t batch,
                       orth_probe_result *out)
{
    orth_recipe recipe = {.n_latent = MANY, .k = 100, .aux_k = 1};
    orth_probe_options how = {.batch = batch, .l2 = 1e-6, .memory = memory, .top = 50};
    orth_sae sae;
    orth_dataset *dataset;
    orth_labels *labels;
    ck_agree(orth_sae_create(grid, &recipe, WIDE, false, &sae) == ORTH_OK);
    for (int64_t i = sae.own.begin; i < sae.own.end; i++)
        for (int64_t j = 0; j < WIDE; j++)
            sae.weights.W_enc[(i - sae.own.begin) * WIDE + j] =
                (float)orth_random_normal(2, ORTH_RANDOM_TEST, (uint64_t)i, (uint64_t)j);
    ck_agree(orth_dataset_open(&path, 1, "activations", grid->world, &dataset) == ORTH_OK);
    ck_agree(orth_labels_open(path, "labels", ROWS, grid->world, &labels) == ORTH_OK);
    ck_agree(strcmp(orth_labels_name(labels, 1), "task 1") == 0);
    ck_agree(orth_probe_latents(&sae, dataset, labels, &how, out) == ORTH_OK);
    orth_labels_close(labels);
    orth_dataset_close(dataset);
    orth_sae_free(&sae);
}

static void check_same(const orth_probe_result *a, const orth_probe_result *b, double tolerance)
{
    ck_agree(a->n_task == b->n_task && a->tokens == b->tokens);
    for (int64_t i = 0; i < a->n_task; i++) {
        const orth_probe_task *one = &a->tasks[i], *other = &b->tasks[i];
        ck_agree(one->n_best == 50 && other->n_best == 50);
        ck_agree(one->labelled == other->labelled && one->entropy == other->entropy);
        for (int64_t j = 0; j < one->n_best; j++) {
            ck_agree(one->best[j].latent == other->best[j].latent);
            ck_agree(near(one->best[j].weight, other->best[j].weight, tolerance));
            ck_agree(near(one->best[j].bias, other->best[j].bias, tolerance));
            ck_agree(near(one->best[j].loss, other->best[j].loss, tolerance));
        }
    }
}

START_TEST(several_passes)
{
    char path[512];
    int size;
    orth_probe_result one = {0};
    orth_grid grid;
    snprintf(path, sizeof path, "%s/many.h5", orth_check_folder());
    make_files(path);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int groups = 1; groups <= size; groups++) {
        orth_probe_result all = {0}, parts = {0};
        if (size % groups)
            continue;
        ck_agree(orth_grid_create(MPI_COMM_WORLD, groups, size / groups, &grid) == ORTH_OK);
        probe_many(path, &grid, 1 << 26, 97, &all);
        probe_many(path, &grid, 1 << 11, 97, &parts); /* labels of one task, a mebibyte of codes */
        ck_agree(all.passes == 1);
        ck_agree(parts.passes > 1 || size > 2);
        check_same(&all, &parts, 0.0);
        if (groups == 1)
            one = all;
        else
            check_same(&one, &all, 1e-9);
        if (groups > 1)
            orth_probe_free(&all);
        orth_probe_free(&parts);
        orth_grid_free(&grid);
    }
    orth_probe_free(&one);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("probe");
    TCase *tests = tcase_create("probes");
    tcase_set_timeout(tests, 0);
    tcase_add_test(tests, golden);
    tcase_add_test(tests, several_passes);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
