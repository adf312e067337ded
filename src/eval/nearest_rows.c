#include "nearest_rows.h"

#include <orthant/base/memory.h>
#include <orthant/par/alive.h>
#include <orthant/par/collective.h>
#include <orthant/sae/measure.h>

/* Rows that travel at a time. */
enum { BLOCK_ROWS = 1024 };

typedef struct visit {
    const orth_sae *sae;
    int64_t count;
    double *norm;         ///< (size of the own part)
    float *visitor;       ///< (BLOCK_ROWS, d)
    double *visitor_norm; ///< (BLOCK_ROWS)
    orth_nearest buffers;
    orth_near *nearest;
} visit;

static orth_range block_of(const orth_sae *sae, int shard, int64_t block)
{
    orth_range own = orth_partition(sae->recipe.n_latent, sae->grid->n_shard, shard);
    int64_t begin = own.begin + block * BLOCK_ROWS, end = begin + BLOCK_ROWS;
    return (orth_range){begin < own.end ? begin : own.end, end < own.end ? end : own.end};
}

/* Send the own block `b` to the shard `offset` places before, receive that of the one after. */
static orth_status exchange(visit *v, int offset, int64_t b, orth_range *visiting,
                            const float **rows)
{
    const orth_sae *sae = v->sae;
    const orth_grid *grid = sae->grid;
    int from = (grid->shard_index + offset) % grid->n_shard;
    int to = (grid->shard_index - offset + grid->n_shard) % grid->n_shard;
    int64_t d = sae->d_model;
    orth_range out = block_of(sae, grid->shard_index, b);
    const float *own = sae->weights.W_dec + (out.begin - sae->own.begin) * d;
    *visiting = block_of(sae, from, b);
    *rows = offset == 0 ? own : v->visitor;
    if (offset == 0)
        return ORTH_OK;
    /* A row is one element, so that counts stay within an int for any width. */
    MPI_Datatype row;
    ORTH_MPI(MPI_Type_contiguous((int)d, MPI_FLOAT, &row));
    ORTH_MPI(MPI_Type_commit(&row));
    orth_status status =
        orth_mpi_status(ORTH_WAIT(MPI_Sendrecv(own, (int)orth_range_size(out), row, to, 0,
                                               v->visitor, (int)orth_range_size(*visiting), row,
                                               from, 0, grid->group, MPI_STATUS_IGNORE)),
                        "MPI_Sendrecv");
    ORTH_MPI(MPI_Type_free(&row));
    return status;
}

static orth_status receive_all(visit *v)
{
    const orth_sae *sae = v->sae;
    int64_t largest = orth_partition_largest(sae->recipe.n_latent, sae->grid->n_shard);
    orth_near_rows a = {.rows =
                            sae->weights.W_dec + (sae->part.begin - sae->own.begin) * sae->d_model,
                        .norm = v->norm,
                        .n = orth_range_size(sae->part),
                        .first = sae->part.begin};
    orth_measure_norms(a.rows, a.n, sae->d_model, v->norm);
    for (int offset = 0; offset < sae->grid->n_shard; offset++)
        for (int64_t b = 0; b * BLOCK_ROWS < largest; b++) {
            orth_range visiting;
            orth_near_rows rows = {.norm = v->visitor_norm};
            ORTH_TRY(exchange(v, offset, b, &visiting, &rows.rows));
            rows.n = orth_range_size(visiting);
            rows.first = visiting.begin;
            orth_measure_norms(rows.rows, rows.n, sae->d_model, v->visitor_norm);
            orth_nearest_add(&a, &rows, v->count, &v->buffers, v->nearest);
            orth_alive();
        }
    return ORTH_OK;
}

orth_status orth_nearest_rows(const orth_sae *sae, int64_t count, orth_near *nearest)
{
    visit v = {.sae = sae, .count = count, .nearest = nearest};
    orth_status status = ORTH_ALLOCATE(orth_range_size(sae->part), "norms", &v.norm);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(BLOCK_ROWS * sae->d_model, "visiting rows", &v.visitor);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(BLOCK_ROWS, "norms", &v.visitor_norm);
    if (status == ORTH_OK)
        status = orth_nearest_create(BLOCK_ROWS, sae->d_model, &v.buffers);
    if (status == ORTH_OK)
        status = receive_all(&v);
    orth_nearest_free(&v.buffers);
    orth_free(v.norm);
    orth_free(v.visitor);
    orth_free(v.visitor_norm);
    return status;
}
