#include "writer_parts.h"

#include <orthant/base/memory.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

orth_status orth_bytes_add(orth_bytes *to, const void *data, int64_t count)
{
    if (to->capacity - to->count < count) {
        char *larger = NULL;
        int64_t wanted = 2 * (to->count + count) + 256;
        ORTH_TRY(ORTH_ALLOCATE(wanted, "header of a tensor file", &larger));
        if (to->count)
            memcpy(larger, to->data, (size_t)to->count);
        orth_free(to->data);
        to->data = larger;
        to->capacity = wanted;
    }
    if (count)
        memcpy(to->data + to->count, data, (size_t)count);
    to->count += count;
    return ORTH_OK;
}

orth_status orth_bytes_text(orth_bytes *to, const char *text)
{
    return orth_bytes_add(to, text, (int64_t)strlen(text));
}

/* ---- safetensors ---- */

/* Wider types first, so that every tensor is aligned. Offsets from the first byte of the data. */
static void place_by_size(orth_table *table)
{
    int64_t at = 0;
    for (int64_t size = 8; size >= 1; size /= 2)
        for (int64_t i = 0; i < table->count; i++) {
            orth_record *record = &table->records[i];
            if (record->entry.kind != ORTH_ENTRY_TENSOR ||
                orth_tensor_type_size(record->entry.type) != size)
                continue;
            record->place.offset = at;
            at += orth_record_bytes(record);
        }
}

static const char METADATA[] = "__metadata__/";

static json_t *tensor_json(const orth_record *record)
{
    json_t *shape = json_array();
    for (int i = 0; i < record->entry.rank; i++)
        json_array_append_new(shape, json_integer(record->entry.shape[i]));
    json_int_t begin = record->place.offset;
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", orth_tensor_type_name(record->entry.type),
                     "shape", shape, "data_offsets", begin, begin + orth_record_bytes(record));
}

/* NULL where memory or a name that is no UTF-8 does not allow it. */
static json_t *header_json(const orth_table *table)
{
    json_t *header = json_object(), *texts = json_object();
    bool whole = header && texts;
    for (int64_t i = 0; whole && i < table->count; i++) {
        const orth_tensor_entry *entry = &table->records[i].entry;
        if (entry->kind == ORTH_ENTRY_TENSOR)
            whole = json_object_set_new(header, entry->name, tensor_json(&table->records[i])) == 0;
        else
            whole = json_object_set_new(texts, entry->name + strlen(METADATA),
                                        json_string(entry->text)) == 0;
    }
    if (whole && json_object_size(texts))
        whole = json_object_set(header, "__metadata__", texts) == 0;
    json_decref(texts);
    if (whole)
        return header;
    json_decref(header);
    return NULL;
}

static orth_status check_kinds(const orth_table *table)
{
    for (int64_t i = 0; i < table->count; i++) {
        const orth_tensor_entry *entry = &table->records[i].entry;
        bool text =
            entry->kind == ORTH_ENTRY_TEXT && strncmp(entry->name, METADATA, strlen(METADATA)) == 0;
        if (entry->kind != ORTH_ENTRY_TENSOR && !text)
            return orth_fail(
                ORTH_ERR_INTERNAL,
                "safetensors: '%.200s' is neither a tensor nor a text of __metadata__; "
                "report it",
                entry->name);
    }
    return ORTH_OK;
}

orth_status orth_safetensors_begin(orth_table *table, orth_bytes *out)
{
    ORTH_TRY(check_kinds(table));
    place_by_size(table);
    json_t *header = header_json(table);
    char *text = header ? json_dumps(header, JSON_COMPACT) : NULL;
    json_decref(header);
    if (!text)
        return orth_fail(ORTH_ERR_ENVIRONMENT,
                         "safetensors: the header cannot be made: out of memory, or a name is no "
                         "UTF-8; free memory");
    unsigned char length[8];
    int64_t size = ((int64_t)strlen(text) + 7) / 8 * 8;
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)(size >> (8 * i));
    orth_status status = orth_bytes_add(out, length, 8);
    if (status == ORTH_OK)
        status = orth_bytes_text(out, text);
    while (status == ORTH_OK && out->count < 8 + size)
        status = orth_bytes_add(out, " ", 1);
    free(text);
    for (int64_t i = 0; i < table->count; i++)
        table->records[i].place.offset += out->count;
    return status;
}

/* ---- npy ---- */

static const char *npy_code(orth_tensor_type type)
{
    static const char *const codes[ORTH_TENSOR_TYPES] = {
        [ORTH_TENSOR_BOOL] = "|b1", [ORTH_TENSOR_U8] = "|u1",  [ORTH_TENSOR_I8] = "|i1",
        [ORTH_TENSOR_I16] = "<i2",  [ORTH_TENSOR_U16] = "<u2", [ORTH_TENSOR_F16] = "<f2",
        [ORTH_TENSOR_I32] = "<i4",  [ORTH_TENSOR_U32] = "<u4", [ORTH_TENSOR_F32] = "<f4",
        [ORTH_TENSOR_F64] = "<f8",  [ORTH_TENSOR_I64] = "<i8", [ORTH_TENSOR_U64] = "<u8"};
    return codes[type];
}

orth_status orth_npy_begin(orth_table *table, orth_bytes *out)
{
    orth_record *record = table->records;
    char text[512];
    if (table->count != 1 || record->entry.kind != ORTH_ENTRY_TENSOR)
        return orth_fail(ORTH_ERR_INTERNAL, "npy: takes one tensor; report it");
    const char *code = npy_code(record->entry.type);
    if (!code)
        return orth_fail(ORTH_ERR_USAGE,
                         "npy: NumPy has no element type %s; choose float16 or float32, or "
                         "another format",
                         orth_tensor_type_name(record->entry.type));
    int length =
        snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (", code);
    for (int i = 0; i < record->entry.rank; i++)
        length +=
            snprintf(text + length, sizeof text - (size_t)length, "%lld,%s",
                     (long long)record->entry.shape[i], i + 1 < record->entry.rank ? " " : "");
    length += snprintf(text + length, sizeof text - (size_t)length, "), }");
    /* Blanks up to a multiple of 64 bytes, and the end of the line. */
    int size = (10 + length + 1 + 63) / 64 * 64 - 10;
    unsigned char begin[10] = {
        0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)size, (unsigned char)(size >> 8)};
    memset(text + length, ' ', (size_t)(size - length));
    text[size - 1] = '\n';
    ORTH_TRY(orth_bytes_add(out, begin, sizeof begin));
    ORTH_TRY(orth_bytes_add(out, text, size));
    record->place.offset = out->count;
    return ORTH_OK;
}
