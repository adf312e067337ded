#include "checkpoint_parts.h"

#include <orthant/run/run_dir.h>

#include <stdio.h>
#include <string.h>

static void add(orth_checkpoint_table *table, orth_checkpoint_array array)
{
    table->items[table->count++] = array;
}

/* `names` in the order of orth_params: W_enc, W_dec, b_enc, b_dec. */
static void add_params(orth_checkpoint_table *table, const char *const names[4], int64_t n,
                       int64_t d, orth_spread spread, const orth_params *params)
{
    static const orth_params nowhere = {0};
    const orth_params *p = params ? params : &nowhere;
    const int64_t size = sizeof(float);
    add(table, (orth_checkpoint_array){names[0], ORTH_H5_FLOAT, size, spread, {n, d}, p->W_enc});
    add(table, (orth_checkpoint_array){names[1], ORTH_H5_FLOAT, size, spread, {n, d}, p->W_dec});
    add(table, (orth_checkpoint_array){
                   names[2], ORTH_H5_FLOAT, size, ORTH_SPREAD_SHARD, {n, 1}, p->b_enc});
    add(table, (orth_checkpoint_array){
                   names[3], ORTH_H5_FLOAT, size, ORTH_SPREAD_WHOLE, {d, 1}, p->b_dec});
}

static void add_counts(orth_checkpoint_table *table, int64_t n, int64_t *counts)
{
    add(table, (orth_checkpoint_array){"/state/steps_since_fired",
                                       ORTH_H5_INT64,
                                       sizeof *counts,
                                       ORTH_SPREAD_SHARD,
                                       {n, 1},
                                       counts});
}

void orth_checkpoint_list_counts(int64_t n_latent, int64_t *counts, orth_checkpoint_table *out)
{
    out->count = 0;
    add_counts(out, n_latent, counts);
}

static const char *const average[] = {"/ema/W_enc", "/ema/W_dec", "/ema/b_enc", "/ema/b_dec"};

void orth_checkpoint_list_average(int64_t n_latent, int64_t d_model, const orth_params *weights,
                                  orth_checkpoint_table *out)
{
    out->count = 0;
    add_params(out, average, n_latent, d_model, ORTH_SPREAD_ROWS, weights);
}

orth_checkpoint_parts orth_checkpoint_parts_of(const orth_sae *sae)
{
    return (orth_checkpoint_parts){sae->threshold != NULL, sae->moment1.W_enc != NULL,
                                   sae->average.W_enc != NULL};
}

orth_checkpoint_parts orth_checkpoint_parts_in(const orth_checkpoint_info *info)
{
    return (orth_checkpoint_parts){info->has_threshold, info->has_optimizer, info->has_average};
}

void orth_checkpoint_list_arrays(int64_t n_latent, int64_t d_model, orth_checkpoint_parts parts,
                                 const orth_sae *sae, orth_checkpoint_table *out)
{
    static const char *const model[] = {"/model/W_enc", "/model/W_dec", "/model/b_enc",
                                        "/model/b_dec"};
    static const char *const first[] = {"/optimizer/m/W_enc", "/optimizer/m/W_dec",
                                        "/optimizer/m/b_enc", "/optimizer/m/b_dec"};
    static const char *const second[] = {"/optimizer/v/W_enc", "/optimizer/v/W_dec",
                                         "/optimizer/v/b_enc", "/optimizer/v/b_dec"};
    out->count = 0;
    add_params(out, model, n_latent, d_model, ORTH_SPREAD_ROWS, sae ? &sae->weights : NULL);
    if (parts.threshold)
        add(out, (orth_checkpoint_array){"/model/threshold",
                                         ORTH_H5_FLOAT,
                                         sizeof(float),
                                         ORTH_SPREAD_SHARD,
                                         {n_latent, 1},
                                         sae ? sae->threshold : NULL});
    if (parts.optimizer) {
        add_params(out, first, n_latent, d_model, ORTH_SPREAD_PART, sae ? &sae->moment1 : NULL);
        add_params(out, second, n_latent, d_model, ORTH_SPREAD_PART, sae ? &sae->moment2 : NULL);
        add_counts(out, n_latent, sae ? sae->steps_since_fired : NULL);
    }
    if (parts.average)
        add_params(out, average, n_latent, d_model, ORTH_SPREAD_PART, sae ? &sae->average : NULL);
}

void orth_checkpoint_list_whole(orth_checkpoint_table *table, const char *name, orth_h5_type type,
                                int64_t element_size, int64_t length, void *data)
{
    add(table,
        (orth_checkpoint_array){name, type, element_size, ORTH_SPREAD_WHOLE, {length, 1}, data});
}

bool orth_checkpoint_is_matrix(const orth_checkpoint_array *array)
{
    return array->spread == ORTH_SPREAD_ROWS || array->spread == ORTH_SPREAD_PART;
}

orth_range orth_checkpoint_held(const orth_checkpoint_array *array, const orth_sae *sae)
{
    switch (array->spread) {
    case ORTH_SPREAD_ROWS:
    case ORTH_SPREAD_SHARD:
        return sae->own;
    case ORTH_SPREAD_PART:
        return sae->part;
    case ORTH_SPREAD_WHOLE:
        break;
    }
    return (orth_range){0, array->extent[0]};
}

int64_t orth_checkpoint_unit(const orth_checkpoint_array *array)
{
    return orth_checkpoint_is_matrix(array) ? array->extent[1] : ORTH_CHECKPOINT_BLOCK;
}

int64_t orth_checkpoint_units(const orth_checkpoint_array *array)
{
    return orth_checkpoint_is_matrix(array)
               ? array->extent[0]
               : orth_partition_largest(array->extent[0], ORTH_CHECKPOINT_BLOCK);
}

void orth_checkpoint_checksum_name(const orth_checkpoint_array *array, char *out, int64_t size)
{
    snprintf(out, (size_t)size, "/checksum%s", array->name);
}

orth_status orth_checkpoint_path(const char *run_dir, int64_t step, bool partial, char **out)
{
    return orth_path_format(out, "%s/checkpoints/%sstep-%09lld.h5%s", run_dir, partial ? "." : "",
                            (long long)step, partial ? ".partial" : "");
}
