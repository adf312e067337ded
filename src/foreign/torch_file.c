#include "pickle.h"
#include "tensor_parts.h"

#include <orthant/base/memory.h>
#include <orthant/base/path.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * A .pt: a zip of <prefix>data.pkl, <prefix>data/<key> (the raw bytes of each storage) and, from
 * PyTorch 2.1 on, <prefix>byteorder. The pickle tells how tensors lie in the storages.
 */
enum {
    PICKLE_MOST = 16 << 20,
    DEPTH_MOST = 32,
    VISITS_MOST = 1 << 18,
    NAME_MOST = 1024,
    TEXTS_MOST = 64 << 20
};

typedef struct builder {
    const char *path;
    const orth_pickle *pickle;
    orth_storage_finder *find;
    void *context;
    orth_table *table;
    int64_t visits;
} builder;

static orth_status bad(const builder *b, const char *name, const char *why)
{
    return orth_fail(ORTH_ERR_CORRUPT, "%.1000s: '%.200s': %s; " ORTH_AGAIN, b->path, name, why);
}

/* ---- tensors ---- */

/* A tuple of lengths. */
static bool read_lengths(const builder *b, int64_t index, int64_t *out, int *rank)
{
    const orth_pickle_value *tuple = &b->pickle->values[index];
    if ((tuple->kind != ORTH_PICKLE_TUPLE && tuple->kind != ORTH_PICKLE_LIST) ||
        tuple->count > ORTH_TENSOR_RANK_MOST)
        return false;
    *rank = (int)tuple->count;
    for (int i = 0; i < *rank; i++) {
        const orth_pickle_value *length = &b->pickle->values[tuple->items[i]];
        if (length->kind != ORTH_PICKLE_INTEGER || length->integer < 0)
            return false;
        out[i] = length->integer;
    }
    return true;
}

static orth_status read_form(const builder *b, const char *name, const orth_pickle_value *tensor,
                             orth_record *out)
{
    int strides;
    if (!read_lengths(b, tensor->items[2], out->entry.shape, &out->entry.rank) ||
        !read_lengths(b, tensor->items[3], out->place.stride, &strides) ||
        strides != out->entry.rank)
        return bad(b, name, "its shape and strides are not the same number, at most 8, of lengths");
    if (!orth_shape_count(out->entry.rank, out->entry.shape, &out->entry.count))
        return bad(b, name, "its shape is larger than 64 bits count");
    return ORTH_OK;
}

static orth_status read_type(const builder *b, const char *name, const orth_pickle_value *tensor,
                             orth_record *out)
{
    const orth_pickle_value *values = b->pickle->values, *storage = &values[tensor->items[0]];
    const orth_pickle_value *type = &values[storage->items[1]];
    if (tensor->items[4] >= 0)
        type = &values[tensor->items[4]];
    if (type->kind != ORTH_PICKLE_GLOBAL || type->global != ORTH_GLOBAL_TYPE || type->integer < 0)
        return bad(b, name, "its element type is not told");
    out->entry.type = (orth_tensor_type)type->integer;
    return ORTH_OK;
}

/* Whether the last element, at the largest index of every dimension, lies in `bytes` bytes. */
static bool lies_within(const orth_record *record, int64_t offset, int64_t bytes)
{
    int64_t last = offset, size = orth_tensor_type_size(record->entry.type), step;
    if (record->entry.count == 0)
        return true;
    for (int i = 0; i < record->entry.rank; i++)
        if (__builtin_mul_overflow(record->entry.shape[i] - 1, record->place.stride[i], &step) ||
            __builtin_add_overflow(last, step, &last))
            return false;
    return last < bytes / size;
}

static orth_status add_tensor(builder *b, const char *name, const orth_pickle_value *tensor)
{
    const orth_pickle_value *values = b->pickle->values, *storage = &values[tensor->items[0]];
    const orth_pickle_value *offset = &values[tensor->items[1]];
    orth_record record = {.entry.kind = ORTH_ENTRY_TENSOR};
    int64_t bytes = 0;
    if (storage->kind != ORTH_PICKLE_STORAGE)
        return bad(b, name, "is a tensor without a storage");
    if (offset->kind != ORTH_PICKLE_INTEGER || offset->integer < 0)
        return bad(b, name, "its place in the storage is no number");
    ORTH_TRY(read_type(b, name, tensor, &record));
    ORTH_TRY(read_form(b, name, tensor, &record));
    const char *key = values[storage->items[2]].text;
    if (!b->find(b->context, key, &record.place.member, &bytes))
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%.1000s: '%.200s': its elements, the member data/%.100s, are missing; "
                         "" ORTH_AGAIN,
                         b->path, name, key);
    if (!lies_within(&record, offset->integer, bytes))
        return bad(b, name, "its shape and strides reach beyond its elements");
    record.place.offset =
        record.entry.count ? offset->integer * orth_tensor_type_size(record.entry.type) : 0;
    return orth_table_add(b->table, name, NULL, &record);
}

/* ---- everything else ---- */

static orth_status visit(builder *b, const char *name, int64_t index, int depth);

/* "<name>/<key>", or the key alone at the top. Owned by the caller (free). */
static orth_status join(const builder *b, const char *name, const orth_pickle_value *key, int depth,
                        char **out)
{
    const char *between = depth > 0 ? "/" : "";
    if (key->kind == ORTH_PICKLE_TEXT)
        return orth_path_format(out, "%s%s%s", name, between, key->text);
    if (key->kind == ORTH_PICKLE_INTEGER)
        return orth_path_format(out, "%s%s%" PRId64, name, between, key->integer);
    return bad(b, name, "a dictionary with a key that is neither text nor integer");
}

static orth_status visit_items(builder *b, const char *name, const orth_pickle_value *value,
                               int depth)
{
    bool dict = value->kind == ORTH_PICKLE_DICT;
    if (depth == DEPTH_MOST)
        return bad(b, name, "is nested more than 32 times");
    for (int64_t i = 0; i < value->count; i += 1 + dict) {
        char *inner = NULL;
        orth_pickle_value place = {.kind = ORTH_PICKLE_INTEGER, .integer = i};
        const orth_pickle_value *key = dict ? &b->pickle->values[value->items[i]] : &place;
        ORTH_TRY(join(b, name, key, depth, &inner));
        orth_status status = visit(b, inner, value->items[i + dict], depth + 1);
        free(inner);
        ORTH_TRY(status);
    }
    return ORTH_OK;
}

static orth_status visit(builder *b, const char *name, int64_t index, int depth)
{
    const orth_pickle_value *value = &b->pickle->values[index];
    orth_record record = {.entry = {.integer = value->integer, .real = value->real}};
    if (b->visits++ == VISITS_MOST || b->table->pool_bytes > TEXTS_MOST)
        return bad(b, name, "more than 262144 values, or 64 MiB of texts");
    if (strlen(name) > NAME_MOST)
        return bad(b, name, "a key longer than 1024 bytes");
    switch (value->kind) {
    case ORTH_PICKLE_DICT:
    case ORTH_PICKLE_LIST:
    case ORTH_PICKLE_TUPLE:
        return visit_items(b, name, value, depth);
    case ORTH_PICKLE_TENSOR:
        return add_tensor(b, name, value);
    case ORTH_PICKLE_NONE:
        record.entry.kind = ORTH_ENTRY_NONE;
        break;
    case ORTH_PICKLE_BOOL:
        record.entry.kind = ORTH_ENTRY_BOOL;
        break;
    case ORTH_PICKLE_INTEGER:
        record.entry.kind = ORTH_ENTRY_INTEGER;
        break;
    case ORTH_PICKLE_REAL:
        record.entry.kind = ORTH_ENTRY_REAL;
        break;
    case ORTH_PICKLE_TEXT:
    case ORTH_PICKLE_GLOBAL: /* torch.float32 in a dictionary of settings */
        record.entry.kind = ORTH_ENTRY_TEXT;
        break;
    default:
        return bad(b, name, "is a storage without a tensor");
    }
    return orth_table_add(b->table, name, record.entry.kind == ORTH_ENTRY_TEXT ? value->text : NULL,
                          &record);
}

orth_status orth_pickle_table(const unsigned char *bytes, int64_t length, const char *path,
                              orth_storage_finder *find, void *context, orth_table *out)
{
    orth_pickle pickle;
    orth_status status = orth_pickle_parse(bytes, length, path, &pickle);
    if (status == ORTH_OK) {
        builder b = {
            .path = path, .pickle = &pickle, .find = find, .context = context, .table = out};
        status = visit(&b, "", pickle.root, 0);
    }
    orth_pickle_free(&pickle);
    return status;
}

/* ---- the zip ---- */

typedef struct archive {
    orth_source *source;
    int prefix; /* bytes of the name of data.pkl before it */
    const char *pickle;
} archive;

static bool find_storage(void *context, const char *key, int64_t *member, int64_t *bytes)
{
    archive *a = context;
    char name[512];
    int length = snprintf(name, sizeof name, "%.*sdata/%s", a->prefix, a->pickle, key);
    if (length < 0 || length >= (int)sizeof name)
        return false;
    *member = orth_source_locate(a->source, name);
    bool there = *member >= 0 && orth_source_size(a->source, *member, bytes) == ORTH_OK;
    if (*member >= 0 && !there)
        orth_error_clear();
    return there;
}

/* What <prefix>byteorder says, where it is. */
static orth_status check_order(const archive *a)
{
    char name[512], text[8] = "";
    int64_t size = 0;
    int length = snprintf(name, sizeof name, "%.*sbyteorder", a->prefix, a->pickle);
    int64_t member = length < (int)sizeof name ? orth_source_locate(a->source, name) : -1;
    if (member < 0)
        return ORTH_OK;
    ORTH_TRY(orth_source_size(a->source, member, &size));
    if (size == 6)
        ORTH_TRY(orth_source_read(a->source, member, 0, size, text));
    if (strcmp(text, "little") == 0)
        return ORTH_OK;
    return orth_fail(ORTH_ERR_CORRUPT,
                     "%.1000s: its byte order is not little-endian; load it with PyTorch and save "
                     "it again on a little-endian machine",
                     a->source->path);
}

static int64_t find_pickle(orth_source *source, archive *out)
{
    static const char wanted[] = "data.pkl";
    size_t size = sizeof wanted - 1;
    for (int64_t i = 0; i < orth_source_members(source); i++) {
        const char *name = orth_source_name(source, i);
        size_t length = name ? strlen(name) : 0;
        if (length < size || length > 256 || strcmp(name + length - size, wanted) != 0 ||
            (length > size && name[length - size - 1] != '/'))
            continue;
        *out = (archive){source, (int)(length - size), name};
        return i;
    }
    return -1;
}

bool orth_torch_recognise(orth_source *source)
{
    archive ignored;
    return find_pickle(source, &ignored) >= 0;
}

orth_status orth_torch_table(orth_source *source, orth_table *out)
{
    archive a;
    int64_t member = find_pickle(source, &a), size = 0;
    unsigned char *bytes = NULL;
    ORTH_TRY(check_order(&a));
    ORTH_TRY(orth_source_size(source, member, &size));
    if (size > PICKLE_MOST)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%.1000s: its data.pkl has %lld bytes, at most %d are read; save tensors "
                         "in place of long Python lists",
                         source->path, (long long)size, PICKLE_MOST);
    ORTH_TRY(ORTH_ALLOCATE(size, "pickle", &bytes));
    orth_status status = orth_source_read(source, member, 0, size, bytes);
    if (status == ORTH_OK)
        status = orth_pickle_table(bytes, size, source->path, find_storage, &a, out);
    orth_free(bytes);
    return status;
}
