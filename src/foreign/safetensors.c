#include <orthant/foreign/safetensors.h>

#include "tensor_parts.h"

#include <orthant/base/memory.h>
#include <orthant/base/path.h>

#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { PREFIX = 8 }; /* bytes before the header */

/* What to do about any of these files. */
#define AGAIN ORTH_AGAIN

/* ---- the header's length ---- */

/* From the first bytes of a file, of which there are `length`. */
static orth_status header_length(const unsigned char *bytes, int64_t length, int64_t file_bytes,
                                 const char *path, int64_t *out)
{
    if (length < PREFIX)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%.1000s: %lld bytes are too short for a safetensors file; " AGAIN, path,
                         (long long)file_bytes);
    uint64_t size = 0;
    for (int i = PREFIX - 1; i >= 0; i--)
        size = size << 8 | bytes[i];
    if (size > ORTH_SAFETENSORS_HEADER_MOST)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%.1000s: bytes 0 to 7: a header of %" PRIu64 " bytes, at most %d are "
                         "allowed: not a safetensors file, or damaged; " AGAIN,
                         path, size, ORTH_SAFETENSORS_HEADER_MOST);
    if ((int64_t)size > file_bytes - PREFIX)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%.1000s: bytes 0 to 7: a header of %" PRIu64 " bytes in a file of %lld: "
                         "cut off, or not a safetensors file; " AGAIN,
                         path, size, (long long)file_bytes);
    *out = (int64_t)size;
    return ORTH_OK;
}

/* ---- one tensor ---- */

typedef struct header {
    const char *path;
    int64_t data_begin; /* of the tensors, in the file */
    int64_t data_bytes;
} header;

static orth_status bad_tensor(const header *h, const char *name, const char *why)
{
    return orth_fail(ORTH_ERR_CORRUPT, "%.1000s: tensor '%.200s': %s; " AGAIN, h->path, name, why);
}

static orth_status read_type(const header *h, const json_t *entry, orth_tensor *tensor)
{
    const char *name = json_string_value(json_object_get(entry, "dtype"));
    if (!name)
        return bad_tensor(h, tensor->name, "dtype is missing or no text");
    for (int i = 0; i < ORTH_TENSOR_TYPES; i++)
        if (strcmp(orth_tensor_type_name((orth_tensor_type)i), name) == 0) {
            tensor->type = (orth_tensor_type)i;
            return ORTH_OK;
        }
    return orth_fail(ORTH_ERR_CORRUPT,
                     "%.1000s: tensor '%.200s': dtype '%.40s' is unknown; convert it to F32",
                     h->path, tensor->name, name);
}

/* The shape, and the bytes that it asks for. */
static orth_status read_shape(const header *h, const json_t *entry, orth_tensor *tensor,
                              int64_t *bytes)
{
    const json_t *shape = json_object_get(entry, "shape");
    if (!json_is_array(shape))
        return bad_tensor(h, tensor->name, "shape is missing or no list");
    if (json_array_size(shape) > ORTH_TENSOR_RANK_MOST)
        return bad_tensor(h, tensor->name, "shape has more than 8 dimensions");
    tensor->rank = (int)json_array_size(shape);
    *bytes = orth_tensor_type_size(tensor->type);
    for (int i = 0; i < ORTH_TENSOR_RANK_MOST; i++) {
        tensor->shape[i] = 1;
        if (i >= tensor->rank)
            continue;
        const json_t *extent = json_array_get(shape, (size_t)i);
        if (!json_is_integer(extent) || json_integer_value(extent) < 0)
            return bad_tensor(h, tensor->name, "shape holds what is no length");
        tensor->shape[i] = json_integer_value(extent);
        if (__builtin_mul_overflow(*bytes, tensor->shape[i], bytes))
            return bad_tensor(h, tensor->name, "shape is larger than 64 bits count");
    }
    return ORTH_OK;
}

static orth_status read_place(const header *h, const json_t *entry, int64_t bytes,
                              orth_tensor *tensor)
{
    const json_t *place = json_object_get(entry, "data_offsets");
    const json_t *begin = json_array_get(place, 0), *end = json_array_get(place, 1);
    if (json_array_size(place) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return bad_tensor(h, tensor->name, "data_offsets are missing or no two integers");
    int64_t from = json_integer_value(begin), to = json_integer_value(end);
    if (from < 0 || from > to || to > h->data_bytes)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%.1000s: tensor '%.200s': data_offsets %lld to %lld are not within the "
                         "%lld bytes of data; " AGAIN,
                         h->path, tensor->name, (long long)from, (long long)to,
                         (long long)h->data_bytes);
    if (to - from != bytes)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%.1000s: tensor '%.200s': %lld bytes, its type and shape ask for %lld; "
                         "" AGAIN,
                         h->path, tensor->name, (long long)(to - from), (long long)bytes);
    tensor->begin = h->data_begin + from;
    tensor->end = h->data_begin + to;
    return ORTH_OK;
}

static orth_status read_tensor(const header *h, const char *name, const json_t *entry,
                               orth_tensor *tensor)
{
    int64_t bytes = 0;
    tensor->name = orth_strdup(name);
    if (!tensor->name)
        return orth_fail(ORTH_ERR_ENVIRONMENT, "%.1000s: out of memory for its table; free memory",
                         h->path);
    if (!json_is_object(entry))
        return bad_tensor(h, name, "its entry is no object");
    ORTH_TRY(read_type(h, entry, tensor));
    ORTH_TRY(read_shape(h, entry, tensor, &bytes));
    return read_place(h, entry, bytes, tensor);
}

/* ---- the table ---- */

static const char METADATA[] = "__metadata__";

static orth_status check_metadata(const header *h, json_t *metadata)
{
    const char *key;
    json_t *value;
    bool texts = json_is_object(metadata);
    if (texts)
        json_object_foreach(metadata, key, value) texts = texts && json_is_string(value);
    return texts ? ORTH_OK
                 : orth_fail(ORTH_ERR_CORRUPT, "%.1000s: %s is no object of texts; " AGAIN, h->path,
                             METADATA);
}

static int by_place(const void *a, const void *b)
{
    const orth_tensor *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

/* The tensors, sorted, fill the data exactly. */
static orth_status check_places(const header *h, const orth_safetensors *file)
{
    int64_t at = h->data_begin;
    for (int64_t i = 0; i < file->count; i++) {
        const orth_tensor *tensor = &file->tensors[i];
        if (tensor->begin < at)
            return orth_fail(ORTH_ERR_CORRUPT,
                             "%.1000s: tensors '%.200s' and '%.200s' overlap at byte %lld; " AGAIN,
                             h->path, file->tensors[i - 1].name, tensor->name,
                             (long long)tensor->begin);
        if (tensor->begin > at)
            return orth_fail(ORTH_ERR_CORRUPT,
                             "%.1000s: bytes %lld to %lld, before tensor '%.200s', belong to none; "
                             "" AGAIN,
                             h->path, (long long)at, (long long)tensor->begin - 1, tensor->name);
        at = tensor->end;
    }
    if (at != h->data_begin + h->data_bytes)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%.1000s: bytes %lld to %lld, at the end, belong to no tensor; " AGAIN,
                         h->path, (long long)at, (long long)(h->data_begin + h->data_bytes - 1));
    return ORTH_OK;
}

static orth_status read_table(const header *h, json_t *object, orth_safetensors *out)
{
    const char *name;
    json_t *entry;
    ORTH_TRY(ORTH_ALLOCATE((int64_t)json_object_size(object), "table of tensors", &out->tensors));
    json_object_foreach(object, name, entry)
    {
        if (strcmp(name, METADATA) == 0) {
            ORTH_TRY(check_metadata(h, entry));
            out->metadata = json_incref(entry);
        } else {
            ORTH_TRY(read_tensor(h, name, entry, &out->tensors[out->count++]));
        }
    }
    if (out->count > 0)
        qsort(out->tensors, (size_t)out->count, sizeof *out->tensors, by_place);
    return check_places(h, out);
}

orth_status orth_safetensors_parse(const char *bytes, int64_t length, int64_t file_bytes,
                                   const char *path, orth_safetensors *out)
{
    int64_t size = 0;
    ORTH_TRY(header_length((const unsigned char *)bytes, length, file_bytes, path, &size));
    if (size > length - PREFIX)
        return orth_fail(ORTH_ERR_INTERNAL, "%.1000s: the header was not read whole; report it",
                         path);
    header h = {path, PREFIX + size, file_bytes - PREFIX - size};
    json_error_t error = {.line = 1, .column = 1, .text = "expected '{' at its first byte"};
    json_t *object = NULL;
    if (size > 0 && bytes[PREFIX] == '{')
        object = json_loadb(bytes + PREFIX, (size_t)size, JSON_REJECT_DUPLICATES, &error);
    if (!object)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%.1000s: malformed header, line %d, column %d: %s; " AGAIN, path,
                         error.line, error.column, error.text);
    orth_safetensors table = {0};
    orth_status status = read_table(&h, object, &table);
    json_decref(object);
    if (status == ORTH_OK)
        *out = table;
    else
        orth_safetensors_free(&table);
    return status;
}

void orth_safetensors_free(orth_safetensors *file)
{
    for (int64_t i = 0; i < file->count; i++)
        free(file->tensors[i].name);
    orth_free(file->tensors);
    json_decref(file->metadata);
    *file = (orth_safetensors){0};
}

const orth_tensor *orth_safetensors_find(const orth_safetensors *file, const char *name)
{
    for (int64_t i = 0; i < file->count; i++)
        if (strcmp(file->tensors[i].name, name) == 0)
            return &file->tensors[i];
    return NULL;
}

/* ---- from a file ---- */

/* What orth_safetensors_table adds of a file whose beginning was read. */
static orth_status add_all(const orth_safetensors *file, orth_table *out)
{
    for (int64_t i = 0; i < file->count; i++) {
        const orth_tensor *tensor = &file->tensors[i];
        orth_record record = {
            .entry = {.kind = ORTH_ENTRY_TENSOR, .type = tensor->type, .rank = tensor->rank},
            .place = {.member = -1, .offset = tensor->begin}};
        memcpy(record.entry.shape, tensor->shape, sizeof tensor->shape);
        orth_shape_strides(tensor->rank, tensor->shape, record.place.stride);
        ORTH_TRY(orth_table_add(out, tensor->name, NULL, &record));
    }
    const char *key;
    json_t *value;
    json_object_foreach(file->metadata, key, value)
    {
        char *name = NULL;
        orth_record record = {.entry.kind = ORTH_ENTRY_TEXT};
        ORTH_TRY(orth_path_format(&name, "%s/%s", METADATA, key));
        orth_status status = orth_table_add(out, name, json_string_value(value), &record);
        free(name);
        ORTH_TRY(status);
    }
    return ORTH_OK;
}

orth_status orth_safetensors_table(orth_source *source, orth_table *out)
{
    unsigned char prefix[PREFIX] = {0};
    int64_t size = 0, first = source->bytes < PREFIX ? source->bytes : PREFIX;
    char *bytes = NULL;
    orth_safetensors file = {0};
    ORTH_TRY(orth_source_read(source, -1, 0, first, prefix));
    ORTH_TRY(header_length(prefix, first, source->bytes, source->path, &size));
    ORTH_TRY(ORTH_ALLOCATE(PREFIX + size, "header of a safetensors file", &bytes));
    orth_status status = orth_source_read(source, -1, 0, PREFIX + size, bytes);
    if (status == ORTH_OK)
        status = orth_safetensors_parse(bytes, PREFIX + size, source->bytes, source->path, &file);
    if (status == ORTH_OK)
        status = add_all(&file, out);
    orth_safetensors_free(&file);
    orth_free(bytes);
    return status;
}
