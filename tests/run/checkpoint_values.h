#ifndef ORTHANT_TESTS_CHECKPOINT_VALUES_H
#define ORTHANT_TESTS_CHECKPOINT_VALUES_H

/* Models whose every value is a formula of its global index, for the tests of checkpoints. */
#include "check_mpi.h"

#include <orthant/run/checkpoint.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static inline int rank_of(void)
{
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    return rank;
}

static inline int ranks(void)
{
    int size;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    return size;
}

/* Names in the folder of checkpoints. */
static inline int count_entries(const char *run_dir)
{
    char path[512];
    snprintf(path, sizeof path, "%s/checkpoints", run_dir);
    MPI_Barrier(MPI_COMM_WORLD);
    DIR *folder = opendir(path);
    int count = 0;
    for (struct dirent *entry; folder && (entry = readdir(folder)) != NULL;)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    if (folder)
        closedir(folder);
    MPI_Barrier(MPI_COMM_WORLD);
    return count;
}

static const char *const test_config = "model:\n  n_latent: 7\nrun:\n  seed: 49\n";

/* Any bit pattern of a finite value: a model that is not finite is refused. */
static uint32_t bits_of(int array, int64_t index, int64_t step)
{
    uint64_t x = (uint64_t)index * 0x9E3779B97F4A7C15u + (uint64_t)array * 0xD1B54A32D192ED03u +
                 (uint64_t)step;
    x ^= x >> 29;
    x *= 0xBF58476D1CE4E5B9u;
    return (uint32_t)(x >> 32) & ~UINT32_C(0x40000000);
}

/* Fill or compare `count` floats that start at global element `first`. */
static bool floats(float *data, int array, int64_t first, int64_t count, int64_t step, bool fill)
{
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits = bits_of(array, first + i, step);
        if (fill)
            memcpy(&data[i], &bits, sizeof bits);
        else if (memcmp(&data[i], &bits, sizeof bits) != 0)
            return false;
    }
    return true;
}

static bool params(orth_params *p, int array, const orth_sae *sae, bool fill)
{
    int64_t d = sae->d_model, n = orth_range_size(sae->own), first = sae->own.begin;
    orth_range rows = p == &sae->weights ? sae->own : sae->part;
    int64_t count = orth_range_size(rows) * d;
    return floats(p->W_enc, array, rows.begin * d, count, sae->step, fill) &&
           floats(p->W_dec, array + 1, rows.begin * d, count, sae->step, fill) &&
           floats(p->b_enc, array + 2, first, n, sae->step, fill) &&
           floats(p->b_dec, array + 3, 0, d, sae->step, fill);
}

/* Fill every array of a model, or tell whether every value is as it was filled. */
static bool values(orth_sae *sae, bool fill)
{
    bool same = params(&sae->weights, 0, sae, fill);
    if (sae->moment1.W_enc) {
        same = same && params(&sae->moment1, 4, sae, fill) && params(&sae->moment2, 8, sae, fill);
        for (int64_t i = 0; i < orth_range_size(sae->own); i++) {
            int64_t value = (sae->own.begin + i) * 1000003 + sae->step;
            if (fill)
                sae->steps_since_fired[i] = value;
            else
                same = same && sae->steps_since_fired[i] == value;
        }
    }
    if (sae->average.W_enc)
        same = same && params(&sae->average, 12, sae, fill);
    return same;
}

static orth_checkpoint_info test_info(int64_t step)
{
    orth_checkpoint_info info = {
        .tokens_seen = 4096 * step,
        .cursor = {.epoch = 3, .position = 5000000000 + step},
        .data = {.rows = 6000000000, .d_model = 5, .hash = 0xFEDCBA9876543210},
        .threads = 2};
    snprintf(info.isa, sizeof info.isa, "reference");
    snprintf(info.libraries, sizeof info.libraries, "test libraries 1.0");
    snprintf(info.program_version, sizeof info.program_version, "0.1.0");
    info.config = (char *)(uintptr_t)test_config;
    return info;
}

/* A grid over the first n_group * n_shard ranks; false on the others, which take no part. */
static bool make_grid(int n_group, int n_shard, MPI_Comm *part, orth_grid *grid)
{
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_split(MPI_COMM_WORLD, rank < n_group * n_shard ? 0 : MPI_UNDEFINED, rank, part);
    return *part != MPI_COMM_NULL && orth_grid_create(*part, n_group, n_shard, grid) == ORTH_OK;
}

static void free_grid(MPI_Comm *part, orth_grid *grid)
{
    if (*part == MPI_COMM_NULL)
        return;
    orth_grid_free(grid);
    MPI_Comm_free(part);
}

static orth_status make_sae(const orth_grid *grid, int64_t n, int64_t d, double ema, bool trainable,
                            orth_sae *sae)
{
    orth_recipe recipe = {.seed = 49, .n_latent = n, .ema = ema, .selection = ORTH_SELECT_TOPAFA};
    return orth_sae_create(grid, &recipe, d, trainable, sae);
}

/* An empty run directory, the same on every rank. Collective over MPI_COMM_WORLD. */
static const char *fresh_run_dir(void)
{
    static char path[256];
    static int count = 0;
    int rank;
    char part[320];
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    snprintf(path, sizeof path, "%s/run%d", orth_check_folder(), count++);
    snprintf(part, sizeof part, "%s/checkpoints", path);
    if (rank == 0 && (mkdir(path, 0777) != 0 || mkdir(part, 0777) != 0))
        MPI_Abort(MPI_COMM_WORLD, 1);
    MPI_Barrier(MPI_COMM_WORLD);
    return path;
}

/* Write the checkpoint of `step` with formula values on a grid of all ranks. */
static orth_status write_step(const char *run_dir, int n_group, int n_shard, int64_t n, int64_t d,
                              int64_t step, int64_t keep)
{
    MPI_Comm part;
    orth_grid grid;
    orth_sae sae;
    if (!make_grid(n_group, n_shard, &part, &grid))
        return ORTH_OK;
    orth_status status = make_sae(&grid, n, d, 0.999, true, &sae);
    sae.step = step;
    sae.mse_scale = 1.0 / 3.0 + (double)step;
    sae.input_scale = 0.1;
    values(&sae, true);
    orth_checkpoint_info info = test_info(step);
    if (status == ORTH_OK)
        status = orth_checkpoint_write(run_dir, &sae, &info, true, keep);
    orth_sae_free(&sae);
    free_grid(&part, &grid);
    return status;
}

static void step_path(char *out, size_t size, const char *run_dir, int64_t step)
{
    snprintf(out, size, "%s/checkpoints/step-%09lld.h5", run_dir, (long long)step);
}

/* Whether the file reads back, on a grid of the first ranks, exactly as it was filled. */
static orth_status read_step(const char *path, int n_group, int n_shard, int64_t n, int64_t d,
                             int64_t step, bool trainable, bool *same)
{
    MPI_Comm part;
    orth_grid grid;
    orth_sae sae;
    orth_checkpoint_info info = {0};
    *same = true;
    if (!make_grid(n_group, n_shard, &part, &grid))
        return ORTH_OK;
    orth_status status = make_sae(&grid, n, d, 0.999, trainable, &sae);
    if (status == ORTH_OK)
        status = orth_checkpoint_read_info(path, grid.world, &info);
    if (status == ORTH_OK)
        status = orth_checkpoint_read(path, &sae);
    if (status == ORTH_OK) {
        orth_checkpoint_info wanted = test_info(step);
        *same =
            sae.step == step && info.step == step && info.n_latent == n && info.d_model == d &&
            info.tokens_seen == wanted.tokens_seen && info.cursor.epoch == wanted.cursor.epoch &&
            info.cursor.position == wanted.cursor.position && info.data.rows == wanted.data.rows &&
            info.data.d_model == wanted.data.d_model && info.data.hash == wanted.data.hash &&
            info.threads == wanted.threads && strcmp(info.isa, wanted.isa) == 0 &&
            strcmp(info.libraries, wanted.libraries) == 0 &&
            strcmp(info.program_version, wanted.program_version) == 0 &&
            strcmp(info.config, test_config) == 0 && info.has_optimizer && info.has_average &&
            sae.mse_scale == 1.0 / 3.0 + (double)step && sae.input_scale == 0.1 &&
            info.mse_scale == sae.mse_scale && info.input_scale == sae.input_scale;
        *same = *same && values(&sae, false);
    }
    orth_checkpoint_info_free(&info);
    orth_sae_free(&sae);
    free_grid(&part, &grid);
    return status;
}

#endif
