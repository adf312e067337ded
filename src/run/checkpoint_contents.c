/* Writing the contents of a checkpoint: attributes, arrays and their checksums. */
#include "checkpoint_parts.h"

#include <orthant/base/crc32c.h>
#include <orthant/base/fault.h>
#include <orthant/base/memory.h>
#include <orthant/par/agree.h>
#include <orthant/par/alive.h>
#include <orthant/par/collective.h>

#include <stdio.h>
#include <string.h>

enum {
    /* Elements of a vector that rank 0 gathers and writes at once: a multiple of a block. */
    GATHER_ELEMENTS = 16 * ORTH_CHECKPOINT_BLOCK,
    GATHER_UNITS = GATHER_ELEMENTS / ORTH_CHECKPOINT_BLOCK
};

/** An array being written. */
typedef struct target {
    const orth_checkpoint_array *array;
    const orth_sae *sae;
    orth_h5_dataset *data;
    orth_h5_dataset *checksums;
    uint32_t *unit_checksums; ///< scratch
    char *gather;             ///< scratch of rank 0
} target;

/* The own part of the shard: its peers write the others. */
static orth_status write_rows(const target *t)
{
    orth_range rows = t->sae->part;
    int64_t row_bytes = t->array->extent[1] * t->array->element_size;
    int64_t first = rows.begin - orth_checkpoint_held(t->array, t->sae).begin;
    const char *data = (const char *)t->array->data + first * row_bytes;
    int64_t count = orth_range_size(rows);
    for (int64_t i = 0; i < count; i++)
        t->unit_checksums[i] = orth_crc32c(data + i * row_bytes, row_bytes);
    orth_fault("checkpoint.write");
    ORTH_TRY(orth_h5_write(t->data, rows.begin, rows.end, t->array->type, data));
    return orth_h5_write(t->checksums, rows.begin, rows.end, ORTH_H5_UINT32, t->unit_checksums);
}

/* Checksum and write elements [begin, end) of a vector, which start at a block. */
static orth_status write_elements(const target *t, int64_t begin, int64_t end, const char *data)
{
    int64_t size = t->array->element_size, unit = begin / ORTH_CHECKPOINT_BLOCK, units = 0;
    for (int64_t i = begin; i < end; i += ORTH_CHECKPOINT_BLOCK, units++) {
        int64_t count = end - i < ORTH_CHECKPOINT_BLOCK ? end - i : ORTH_CHECKPOINT_BLOCK;
        t->unit_checksums[units] = orth_crc32c(data + (i - begin) * size, count * size);
    }
    orth_fault("checkpoint.write");
    ORTH_TRY(orth_h5_write(t->data, begin, end, t->array->type, data));
    return orth_h5_write(t->checksums, unit, unit + units, ORTH_H5_UINT32, t->unit_checksums);
}

static orth_status write_whole(const target *t)
{
    if (t->sae->grid->rank != 0)
        return ORTH_OK;
    for (int64_t i = 0; i < t->array->extent[0]; i += GATHER_ELEMENTS) {
        int64_t left = t->array->extent[0] - i;
        ORTH_TRY(write_elements(t, i, i + (left < GATHER_ELEMENTS ? left : GATHER_ELEMENTS),
                                (const char *)t->array->data + i * t->array->element_size));
    }
    return ORTH_OK;
}

/* Bring elements [begin, end) of a sharded vector to rank 0, from the shards of the first group. */
static orth_status gather_elements(const target *t, int64_t begin, int64_t end)
{
    const orth_grid *grid = t->sae->grid;
    int64_t size = t->array->element_size;
    for (int s = 0; s < grid->n_shard; s++) {
        orth_range part = orth_partition(t->array->extent[0], grid->n_shard, s);
        int64_t from = part.begin > begin ? part.begin : begin;
        int64_t to = part.end < end ? part.end : end;
        if (from >= to)
            continue;
        const char *own = (const char *)t->array->data + (from - part.begin) * size;
        int bytes = (int)((to - from) * size);
        if (grid->rank == 0 && s == 0)
            memcpy(t->gather + (from - begin) * size, own, (size_t)bytes);
        else if (grid->rank == 0)
            ORTH_MPI(MPI_Recv(t->gather + (from - begin) * size, bytes, MPI_BYTE, s, 0, grid->group,
                              MPI_STATUS_IGNORE));
        else if (grid->group_index == 0 && grid->shard_index == s)
            ORTH_MPI(MPI_Send(own, bytes, MPI_BYTE, 0, 0, grid->group));
    }
    return ORTH_OK;
}

static orth_status write_sharded(const target *t)
{
    orth_status status = ORTH_OK;
    for (int64_t i = 0; i < t->array->extent[0]; i += GATHER_ELEMENTS) {
        int64_t left = t->array->extent[0] - i;
        int64_t end = i + (left < GATHER_ELEMENTS ? left : GATHER_ELEMENTS);
        ORTH_TRY(gather_elements(t, i, end));
        /* After a failed write rank 0 goes on receiving, so that no sender is left waiting. */
        if (status == ORTH_OK && t->sae->grid->rank == 0)
            status = write_elements(t, i, end, t->gather);
    }
    return status;
}

static orth_status write_array(orth_h5_file *file, target *t)
{
    char name[96];
    const orth_checkpoint_array *array = t->array;
    int64_t units = orth_checkpoint_units(array);
    orth_checkpoint_checksum_name(array, name, sizeof name);
    t->data = t->checksums = NULL;
    orth_status status =
        orth_h5_dataset_create(file, array->name, array->type,
                               orth_checkpoint_is_matrix(array) ? 2 : 1, array->extent, &t->data);
    if (status == ORTH_OK)
        status = orth_h5_dataset_create(file, name, ORTH_H5_UINT32, 1, &units, &t->checksums);
    if (status == ORTH_OK) {
        if (orth_checkpoint_is_matrix(array))
            status = write_rows(t);
        else if (array->spread == ORTH_SPREAD_SHARD)
            status = write_sharded(t);
        else
            status = write_whole(t);
        status = orth_agree(t->sae->grid->world, status);
    }
    orth_h5_dataset_close(t->checksums);
    orth_h5_dataset_close(t->data);
    return status;
}

static orth_status write_attributes(orth_h5_file *file, const orth_sae *sae,
                                    const orth_checkpoint_info *info)
{
    const struct {
        const char *name;
        const char *value;
    } texts[] = {{"format", ORTH_CHECKPOINT_FORMAT},
                 {"program_version", info->program_version},
                 {"selection", orth_selection_names[sae->recipe.selection]},
                 {"isa", info->isa},
                 {"libraries", info->libraries}};
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {{"format_version", ORTH_CHECKPOINT_FORMAT_VERSION},
                   {"step", sae->step},
                   {"tokens_seen", info->tokens_seen},
                   {"seed", sae->recipe.seed},
                   {"n_latent", sae->recipe.n_latent},
                   {"d_model", sae->d_model},
                   {"ranks", sae->grid->size},
                   {"n_group", sae->grid->n_group},
                   {"n_shard", sae->grid->n_shard},
                   {"threads", info->threads}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        ORTH_TRY(orth_h5_attribute_write_text(file, "/", texts[i].name, texts[i].value));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        ORTH_TRY(orth_h5_attribute_write_int64(file, "/", numbers[i].name, numbers[i].value));
    return ORTH_OK;
}

/** The small vectors, in the form they have in the file. */
typedef struct small_values {
    int64_t cursor[2];
    double mse_scale;
    double input_scale;
    char fingerprint[128];
} small_values;

static void list_all(const orth_sae *sae, const orth_checkpoint_info *info, small_values *values,
                     orth_checkpoint_table *out)
{
    orth_checkpoint_list_arrays(sae->recipe.n_latent, sae->d_model, orth_checkpoint_parts_of(sae),
                                sae, out);
    values->cursor[0] = info->cursor.epoch;
    values->cursor[1] = info->cursor.position;
    values->mse_scale = sae->mse_scale;
    values->input_scale = sae->input_scale;
    int length = snprintf(values->fingerprint, sizeof values->fingerprint,
                          "rows: %lld\nd_model: %lld\nhash: %016llx\n", (long long)info->data.rows,
                          (long long)info->data.d_model, (unsigned long long)info->data.hash);
    /* An empty dataset has no place in the file: no configuration is an empty line. */
    const char *config = info->config && *info->config ? info->config : "\n";
    orth_checkpoint_list_whole(out, "/state/cursor", ORTH_H5_INT64, 8, 2, values->cursor);
    orth_checkpoint_list_whole(out, "/state/mse_scale", ORTH_H5_DOUBLE, 8, 1, &values->mse_scale);
    orth_checkpoint_list_whole(out, "/state/input_scale", ORTH_H5_DOUBLE, 8, 1,
                               &values->input_scale);
    orth_checkpoint_list_whole(out, "/data_fingerprint", ORTH_H5_UINT8, 1, length,
                               values->fingerprint);
    /* Two integers each, as the cursor; not there without roll-backs. */
    if (info->n_skipped > 0)
        orth_checkpoint_list_whole(out, "/state/skipped", ORTH_H5_INT64, 8, 2 * info->n_skipped,
                                   info->skipped);
    orth_checkpoint_list_whole(out, "/config", ORTH_H5_UINT8, 1, (int64_t)strlen(config),
                               (void *)(uintptr_t)config);
}

orth_status orth_checkpoint_write_contents(orth_h5_file *file, const orth_sae *sae,
                                           const orth_checkpoint_info *info)
{
    orth_checkpoint_table table;
    small_values values;
    list_all(sae, info, &values, &table);
    target t = {.sae = sae};
    int64_t units = orth_range_size(sae->part);
    orth_status status = ORTH_ALLOCATE(units > GATHER_UNITS ? units : GATHER_UNITS,
                                       "checksums of a checkpoint", &t.unit_checksums);
    if (status == ORTH_OK && sae->grid->rank == 0)
        status = orth_allocate(GATHER_ELEMENTS, 8, "buffer of a checkpoint", (void **)&t.gather);
    status = orth_agree(sae->grid->world, status);
    if (status == ORTH_OK)
        status = write_attributes(file, sae, info);
    for (int i = 0; status == ORTH_OK && i < table.count; i++) {
        t.array = &table.items[i];
        status = write_array(file, &t);
        orth_alive();
    }
    orth_free(t.gather);
    orth_free(t.unit_checksums);
    return status;
}

int64_t orth_checkpoint_bytes(const orth_sae *sae, const orth_checkpoint_info *info)
{
    orth_checkpoint_table table;
    small_values values;
    list_all(sae, info, &values, &table);
    int64_t bytes = 0;
    for (int i = 0; i < table.count; i++) {
        const orth_checkpoint_array *array = &table.items[i];
        bytes += array->extent[0] * array->extent[1] * array->element_size +
                 4 * orth_checkpoint_units(array);
    }
    return bytes;
}
