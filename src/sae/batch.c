#include <orthant/sae/batch.h>

#include <orthant/base/memory.h>
#include <orthant/kern/norm.h>
#include <orthant/kern/table.h>
#include <orthant/par/collective.h>

#include <math.h>
#include <string.h>

orth_status orth_batch_create(int64_t n_token, int64_t d_model, orth_batch *out)
{
    orth_batch batch = {.capacity = n_token};
    orth_status status = ORTH_ALLOCATE(n_token * d_model, "tokens", &batch.x);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(n_token, "token weights", &batch.valid);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(n_token, "token norms", &batch.norm);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(n_token, "token norms", &batch.norm_centred);
    if (status == ORTH_OK)
        *out = batch;
    else
        orth_batch_free(&batch);
    return status;
}

void orth_batch_free(orth_batch *batch)
{
    orth_free(batch->x);
    orth_free(batch->valid);
    orth_free(batch->norm);
    orth_free(batch->norm_centred);
    memset(batch, 0, sizeof *batch);
}

static void normalise_row(orth_input_norm kind, double scale, int64_t d, float *x)
{
    const orth_passes *passes = orth_kernels_get()->passes;
    double mean = 0.0, factor = scale;
    if (kind == ORTH_INPUT_NONE)
        return;
    if (kind != ORTH_INPUT_SCALE) {
        mean = passes->sum(x, d) / (double)d;
        double square = passes->spread(x, mean, d);
        if (kind == ORTH_INPUT_LAYERNORM)
            factor = 1.0 / (sqrt(square / (double)(d > 1 ? d - 1 : 1)) + 1e-5);
        else
            factor = square > 0.0 ? 1.0 / sqrt(square) : 0.0;
    }
    passes->standardise(mean, factor, x, d);
}

void orth_input_normalise(orth_input_norm kind, double scale, int64_t n_row, int64_t d_model,
                          float *x)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n_row; i++)
        normalise_row(kind, scale, d_model, x + i * d_model);
}

/* What each rank of the group holds: its part of the group's tokens, in elements of `unit`. */
static orth_status gather_part(const orth_grid *grid, int64_t n_token, int64_t unit, int64_t size,
                               void *all)
{
    int64_t counts[grid->n_shard], before = 0;
    for (int s = 0; s < grid->n_shard; s++) {
        orth_range part = orth_partition(n_token, grid->n_shard, s);
        counts[s] = orth_range_size(part) * unit;
        if (s < grid->shard_index)
            before += counts[s];
    }
    return orth_allgather((char *)all + before * size, counts, size, all, grid->group);
}

/* Norms of one token, and the token centred. */
static void centre_row(const orth_passes *passes, const float *b_dec, int64_t d, int64_t t,
                       orth_batch *batch)
{
    float *x = batch->x + t * d;
    batch->norm[t] = sqrt(passes->dot(x, x, d));
    if (batch->valid[t]) {
        batch->norm_centred[t] = sqrt(passes->subtract(b_dec, x, d));
    } else {
        memset(x, 0, (size_t)d * sizeof *x);
        batch->norm_centred[t] = 0.0;
    }
}

orth_status orth_batch_exchange(const orth_grid *grid, int64_t batch, const float *b_dec,
                                int64_t d_model, orth_batch *out)
{
    const orth_passes *passes = orth_kernels_get()->passes;
    orth_range tokens = orth_grid_tokens(grid, batch);
    int64_t n = orth_range_size(tokens);
    out->n_token = n;
    out->first_token = tokens.begin;
    out->part = orth_partition(n, grid->n_shard, grid->shard_index);
#pragma omp parallel for schedule(static)
    for (int64_t t = out->part.begin; t < out->part.end; t++)
        centre_row(passes, b_dec, d_model, t, out);
    int64_t counts[2] = {0, 0};
    for (int64_t t = out->part.begin; t < out->part.end; t++) {
        counts[0] += out->valid[t];
        counts[1] += out->valid[t] && out->norm[t] > 0.0;
    }
    if (grid->n_shard > 1) {
        ORTH_TRY(gather_part(grid, n, d_model, sizeof *out->x, out->x));
        ORTH_TRY(gather_part(grid, n, 1, sizeof *out->valid, out->valid));
        ORTH_TRY(gather_part(grid, n, 1, sizeof *out->norm, out->norm));
        ORTH_TRY(gather_part(grid, n, 1, sizeof *out->norm_centred, out->norm_centred));
    }
    ORTH_TRY(orth_allreduce(counts, 2, MPI_INT64_T, MPI_SUM, grid->world));
    out->n_valid = counts[0];
    out->n_nonzero = counts[1];
    return ORTH_OK;
}
