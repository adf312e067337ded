#include "tensor_parts.h"

#include <orthant/base/memory.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>

#include <string.h>

bool orth_shape_count(int rank, const int64_t *shape, int64_t *count)
{
    int64_t n = 1, bytes;
    bool empty = false;
    for (int i = 0; i < rank; i++) {
        if (shape[i] < 0)
            return false;
        if (shape[i] == 0)
            empty = true;
        else if (__builtin_mul_overflow(n, shape[i], &n) || __builtin_mul_overflow(n, 8, &bytes))
            return false;
    }
    *count = empty ? 0 : n;
    return true;
}

void orth_shape_strides(int rank, const int64_t *shape, int64_t *stride)
{
    int64_t step = 1;
    for (int i = rank - 1; i >= 0; i--) {
        stride[i] = step;
        step *= shape[i] > 0 ? shape[i] : 1;
    }
}

/* Make room for `more` elements behind `count`, twice as many as there were at least. */
static orth_status grow(void **block, int64_t size, int64_t count, int64_t more, int64_t *capacity)
{
    if (*capacity - count >= more)
        return ORTH_OK;
    void *larger = NULL;
    int64_t wanted = 2 * *capacity > count + more ? 2 * *capacity : count + more;
    ORTH_TRY(orth_allocate(wanted, size, "table of tensors", &larger));
    if (count)
        memcpy(larger, *block, (size_t)(count * size));
    orth_free(*block);
    *block = larger;
    *capacity = wanted;
    return ORTH_OK;
}

static orth_status add_text(orth_table *table, const char *text, int64_t *at)
{
    int64_t size = (int64_t)strlen(text) + 1;
    ORTH_TRY(grow((void **)&table->pool, 1, table->pool_bytes, size, &table->pool_capacity));
    memcpy(table->pool + table->pool_bytes, text, (size_t)size);
    *at = table->pool_bytes;
    table->pool_bytes += size;
    return ORTH_OK;
}

orth_status orth_table_add(orth_table *table, const char *name, const char *text,
                           const orth_record *record)
{
    ORTH_TRY(
        grow((void **)&table->records, sizeof *table->records, table->count, 1, &table->capacity));
    orth_record *added = &table->records[table->count];
    *added = *record;
    added->text = -1;
    ORTH_TRY(add_text(table, name, &added->name));
    if (text)
        ORTH_TRY(add_text(table, text, &added->text));
    for (int i = added->entry.rank; i < ORTH_TENSOR_RANK_MOST; i++)
        added->entry.shape[i] = 1;
    added->entry.count = 1;
    orth_shape_count(added->entry.rank, added->entry.shape, &added->entry.count);
    table->count++;
    return ORTH_OK;
}

void orth_table_finish(orth_table *table)
{
    for (int64_t i = 0; i < table->count; i++) {
        orth_record *record = &table->records[i];
        record->entry.name = table->pool + record->name;
        record->entry.text = record->text < 0 ? NULL : table->pool + record->text;
    }
}

orth_status orth_table_share(orth_table *table, MPI_Comm comm)
{
    int rank;
    int64_t sizes[2] = {table->count, table->pool_bytes};
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    ORTH_TRY(orth_broadcast(sizes, 2, MPI_INT64_T, 0, comm));
    orth_status status = ORTH_OK;
    if (rank != 0) {
        status = ORTH_ALLOCATE(sizes[0], "table of tensors", &table->records);
        if (status == ORTH_OK)
            status = ORTH_ALLOCATE(sizes[1], "names of tensors", &table->pool);
        table->count = table->capacity = sizes[0];
        table->pool_bytes = table->pool_capacity = sizes[1];
    }
    ORTH_TRY(orth_agree(comm, status));
    ORTH_TRY(orth_broadcast(table->records, sizes[0] * (int64_t)sizeof *table->records, MPI_BYTE, 0,
                            comm));
    ORTH_TRY(orth_broadcast(table->pool, sizes[1], MPI_BYTE, 0, comm));
    orth_table_finish(table);
    return ORTH_OK;
}

void orth_table_free(orth_table *table)
{
    orth_free(table->records);
    orth_free(table->pool);
    *table = (orth_table){0};
}
