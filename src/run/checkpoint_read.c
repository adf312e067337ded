/* Reading the arrays of a checkpoint on any grid, and verifying them. */
#include "checkpoint_parts.h"

#include <orthant/base/memory.h>
#include <orthant/par/agree.h>
#include <orthant/par/alive.h>
#include <orthant/par/collective.h>

#include <math.h>
#include <stdlib.h>

/* Each peer reads its part of the shard. What all of them hold is exchanged, so that a file is read
 * once whatever the number of token groups. */
static orth_status read_rows(orth_checkpoint_reader *reader, const orth_sae *sae)
{
    const orth_grid *grid = sae->grid;
    int64_t columns = reader->array.extent[1], row_bytes = columns * reader->array.element_size;
    orth_range held = orth_checkpoint_held(&reader->array, sae), rows = sae->part;
    char *mine = (char *)reader->array.data + (rows.begin - held.begin) * row_bytes;
    int64_t *counts = NULL;
    orth_status status = ORTH_ALLOCATE(grid->n_group, "counts of rows", &counts);
    if (status == ORTH_OK)
        status = orth_checkpoint_reader_units(
            reader, rows.begin, rows.end, (orth_range){rows.begin * columns, rows.end * columns},
            mine);
    status = orth_agree(grid->world, status);
    if (status == ORTH_OK && grid->n_group > 1 && reader->array.spread == ORTH_SPREAD_ROWS) {
        for (int g = 0; g < grid->n_group; g++)
            counts[g] = orth_range_size(orth_partition(orth_range_size(held), grid->n_group, g));
        status = orth_allgather(mine, counts, row_bytes, reader->array.data, grid->peers);
    }
    orth_free(counts);
    return status;
}

/* A vector is small: each rank reads the blocks that cover its own elements. */
static orth_status read_elements(orth_checkpoint_reader *reader, const orth_sae *sae)
{
    orth_range own = orth_checkpoint_held(&reader->array, sae);
    int64_t begin = own.begin / ORTH_CHECKPOINT_BLOCK;
    int64_t end = orth_partition_largest(own.end, ORTH_CHECKPOINT_BLOCK);
    if (own.begin == own.end)
        end = begin;
    return orth_agree(sae->grid->world,
                      orth_checkpoint_reader_units(reader, begin, end, own, reader->array.data));
}

static orth_status read_arrays(orth_h5_file *file, orth_checkpoint_table *table,
                               const orth_sae *sae)
{
    for (int i = 0; i < table->count; i++) {
        orth_checkpoint_reader reader;
        ORTH_TRY(orth_checkpoint_reader_open(file, &table->items[i], sae->grid->world, &reader));
        orth_status status = orth_checkpoint_is_matrix(&reader.array) ? read_rows(&reader, sae)
                                                                      : read_elements(&reader, sae);
        orth_checkpoint_reader_close(&reader);
        ORTH_TRY(status);
    }
    return ORTH_OK;
}

static orth_status read_listed(const char *path, orth_checkpoint_table *table, const orth_sae *sae)
{
    orth_h5_file *file = NULL;
    ORTH_TRY(orth_h5_open(path, ORTH_H5_READ, ORTH_ERR_CORRUPT, sae->grid->world, &file));
    orth_status status = orth_agree(sae->grid->world, read_arrays(file, table, sae));
    orth_status closed = orth_h5_close(file);
    return status == ORTH_OK ? closed : status;
}

static orth_status check_sizes(const char *path, const orth_checkpoint_info *info,
                               const orth_sae *sae)
{
    if (info->n_latent == sae->recipe.n_latent && info->d_model == sae->d_model)
        return ORTH_OK;
    return orth_fail(ORTH_ERR_CORRUPT,
                     "%s: a model of n_latent %lld and d_model %lld, expected %lld and %lld; set "
                     "model.n_latent and the data to those of the checkpoint",
                     path, (long long)info->n_latent, (long long)info->d_model,
                     (long long)sae->recipe.n_latent, (long long)sae->d_model);
}

orth_status orth_checkpoint_read(const char *path, orth_sae *sae)
{
    orth_checkpoint_info info;
    MPI_Comm world = sae->grid->world;
    ORTH_TRY(orth_checkpoint_read_info(path, world, &info));
    orth_status status = check_sizes(path, &info, sae);
    int64_t step = info.step;
    double mse_scale = info.mse_scale, input_scale = info.input_scale;
    orth_checkpoint_table table;
    orth_checkpoint_parts parts = orth_checkpoint_parts_in(&info);
    const orth_checkpoint_parts wanted = orth_checkpoint_parts_of(sae);
    parts.threshold = wanted.threshold;
    parts.optimizer = parts.optimizer && wanted.optimizer;
    parts.average = parts.average && wanted.average;
    orth_checkpoint_list_arrays(info.n_latent, info.d_model, parts, sae, &table);
    orth_checkpoint_info_free(&info);
    ORTH_TRY(orth_agree(world, status));
    status = read_listed(path, &table, sae);
    if (status == ORTH_OK) {
        sae->step = step;
        sae->mse_scale = mse_scale;
        sae->input_scale = input_scale;
    }
    return status;
}

orth_status orth_checkpoint_read_counts(const char *path, orth_sae *sae)
{
    orth_checkpoint_table table;
    ORTH_TRY(orth_agree(sae->grid->world, ORTH_ALLOCATE(orth_range_size(sae->own), "dead latents",
                                                        &sae->steps_since_fired)));
    orth_checkpoint_list_counts(sae->recipe.n_latent, sae->steps_since_fired, &table);
    return read_listed(path, &table, sae);
}

orth_status orth_checkpoint_read_average(const char *path, orth_sae *sae)
{
    int64_t n = sae->recipe.n_latent, d = sae->d_model, n_own = orth_range_size(sae->own);
    const orth_params *w = &sae->weights;
    orth_checkpoint_table table;
    orth_checkpoint_list_average(n, d, w, &table);
    double correction = 1.0 / (1.0 - pow(sae->recipe.ema, (double)sae->step));
    orth_status status = read_listed(path, &table, sae);
    float *const arrays[] = {w->W_enc, w->W_dec, w->b_enc, w->b_dec};
    const int64_t counts[] = {n_own * d, n_own * d, n_own, d};
    for (int a = 0; a < 4 && status == ORTH_OK; a++)
        for (int64_t i = 0; i < counts[a]; i++)
            arrays[a][i] = (float)((double)arrays[a][i] * correction);
    return status;
}

/* Neighbouring ranks swap their parts: what a node wrote is best checked from another one. */
static orth_status verify_array(orth_h5_file *file, const orth_checkpoint_array *array,
                                MPI_Comm comm)
{
    int rank, size;
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    ORTH_MPI(MPI_Comm_size(comm, &size));
    orth_checkpoint_reader reader;
    ORTH_TRY(orth_checkpoint_reader_open(file, array, comm, &reader));
    orth_range part = orth_partition(orth_checkpoint_units(&reader.array), size, (rank + 1) % size);
    orth_status status =
        orth_checkpoint_reader_units(&reader, part.begin, part.end, (orth_range){0, 0}, NULL);
    orth_checkpoint_reader_close(&reader);
    return orth_agree(comm, status);
}

orth_status orth_checkpoint_verify(const char *path, MPI_Comm comm)
{
    orth_checkpoint_info info;
    /* This reads and checks the small vectors on every rank. */
    ORTH_TRY(orth_checkpoint_read_info(path, comm, &info));
    orth_checkpoint_table table;
    orth_checkpoint_list_arrays(info.n_latent, info.d_model, orth_checkpoint_parts_in(&info), NULL,
                                &table);
    orth_checkpoint_info_free(&info);
    orth_h5_file *file = NULL;
    ORTH_TRY(orth_h5_open(path, ORTH_H5_READ, ORTH_ERR_CORRUPT, comm, &file));
    orth_status status = ORTH_OK;
    for (int i = 0; status == ORTH_OK && i < table.count; i++) {
        status = verify_array(file, &table.items[i], comm);
        orth_alive();
    }
    orth_status closed = orth_h5_close(file);
    return status == ORTH_OK ? closed : status;
}
