#include "nearest_rows.h"

#include "shard_block.h"

#include <orthant/base/memory.h>
#include <orthant/par/alive.h>
#include <orthant/par/collective.h>
#include <orthant/sae/measure.h>

typedef struct visit {
    const orth_sae *sae;
    int64_t count;
    double *norm;         ///< (size of the own part)
    float *visitor;       ///< (ORTH_SHARD_BLOCK, d)
    double *visitor_norm; ///< (ORTH_SHARD_BLOCK)
    orth_nearest buffers;
    orth_near *nearest;
} visit;

static orth_status receive_all(visit *v)
{
    const orth_sae *sae = v->sae;
    orth_near_rows a = {.rows =
                            sae->weights.W_dec + (sae->part.begin - sae->own.begin) * sae->d_model,
                        .norm = v->norm,
                        .n = orth_range_size(sae->part),
                        .first = sae->part.begin};
    orth_measure_norms(a.rows, a.n, sae->d_model, v->norm);
    for (int offset = 0; offset < sae->grid->n_shard; offset++)
        for (int64_t b = 0; b < orth_shard_blocks(sae); b++) {
            orth_range visiting = orth_shard_block(sae, sae->grid->shard_index, b);
            orth_near_rows rows = {.rows = v->visitor, .norm = v->visitor_norm};
            if (offset == 0)
                rows.rows = sae->weights.W_dec + (visiting.begin - sae->own.begin) * sae->d_model;
            else
                ORTH_TRY(orth_shard_exchange(sae, offset, b, v->visitor, &visiting));
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
        status = ORTH_ALLOCATE(ORTH_SHARD_BLOCK * sae->d_model, "visiting rows", &v.visitor);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(ORTH_SHARD_BLOCK, "norms", &v.visitor_norm);
    if (status == ORTH_OK)
        status = orth_nearest_create(ORTH_SHARD_BLOCK, sae->d_model, &v.buffers);
    if (status == ORTH_OK)
        status = receive_all(&v);
    orth_nearest_free(&v.buffers);
    orth_free(v.norm);
    orth_free(v.visitor);
    orth_free(v.visitor_norm);
    return status;
}
