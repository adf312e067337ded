#include "writer_parts.h"

#include <orthant/par/alive.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <zip.h>

/* ---- the pickle, protocol 2, as torch.load(weights_only=True) allows ---- */

static orth_status put(orth_bytes *to, char operation)
{
    return orth_bytes_add(to, &operation, 1);
}

static orth_status put_text(orth_bytes *to, const char *text, int64_t length)
{
    unsigned char size[4];
    for (int i = 0; i < 4; i++)
        size[i] = (unsigned char)(length >> (8 * i));
    ORTH_TRY(put(to, 'X'));
    ORTH_TRY(orth_bytes_add(to, size, 4));
    return orth_bytes_add(to, text, length);
}

/* In 32 bits with a sign where it fits, else in 64. */
static orth_status put_integer(orth_bytes *to, int64_t value)
{
    unsigned char bytes[10] = {0x8A, 8};
    bool small = value == (int32_t)value;
    int first = small ? 1 : 2, size = small ? 4 : 8;
    if (small)
        bytes[0] = 'J';
    for (int i = 0; i < size; i++)
        bytes[first + i] = (unsigned char)((uint64_t)value >> (8 * i));
    return orth_bytes_add(to, bytes, first + size);
}

static orth_status put_real(orth_bytes *to, double value)
{
    uint64_t bits;
    unsigned char bytes[9] = {'G'};
    memcpy(&bits, &value, sizeof bits);
    for (int i = 0; i < 8; i++)
        bytes[1 + i] = (unsigned char)(bits >> (56 - 8 * i));
    return orth_bytes_add(to, bytes, sizeof bytes);
}

static orth_status put_tuple(orth_bytes *to, const int64_t *values, int count)
{
    ORTH_TRY(put(to, '('));
    for (int i = 0; i < count; i++)
        ORTH_TRY(put_integer(to, values[i]));
    return put(to, 't');
}

static const char *storage_class(orth_tensor_type type)
{
    static const char *const names[ORTH_TENSOR_TYPES] = {
        [ORTH_TENSOR_BOOL] = "BoolStorage",  [ORTH_TENSOR_U8] = "ByteStorage",
        [ORTH_TENSOR_I8] = "CharStorage",    [ORTH_TENSOR_I16] = "ShortStorage",
        [ORTH_TENSOR_F16] = "HalfStorage",   [ORTH_TENSOR_BF16] = "BFloat16Storage",
        [ORTH_TENSOR_I32] = "IntStorage",    [ORTH_TENSOR_F32] = "FloatStorage",
        [ORTH_TENSOR_F64] = "DoubleStorage", [ORTH_TENSOR_I64] = "LongStorage"};
    return names[type];
}

/* _rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks) */
static orth_status put_tensor(orth_bytes *to, const orth_record *record)
{
    char text[96];
    const orth_tensor_entry *e = &record->entry;
    int64_t stride[ORTH_TENSOR_RANK_MOST];
    const char *class = storage_class(e->type);
    if (!class)
        return orth_fail(ORTH_ERR_INTERNAL, ".pt: '%.200s': no storage for %s; report it", e->name,
                         orth_tensor_type_name(e->type));
    orth_shape_strides(e->rank, e->shape, stride);
    snprintf(text, sizeof text, "ctorch\n%s\n", class);
    ORTH_TRY(orth_bytes_text(to, "ctorch._utils\n_rebuild_tensor_v2\n(("));
    ORTH_TRY(put_text(to, "storage", 7));
    ORTH_TRY(orth_bytes_text(to, text));
    int length = snprintf(text, sizeof text, "%lld", (long long)record->place.member);
    ORTH_TRY(put_text(to, text, length));
    ORTH_TRY(put_text(to, "cpu", 3));
    ORTH_TRY(put_integer(to, e->count));
    ORTH_TRY(orth_bytes_text(to, "tQ"));
    ORTH_TRY(put_integer(to, 0));
    ORTH_TRY(put_tuple(to, e->shape, e->rank));
    ORTH_TRY(put_tuple(to, stride, e->rank));
    return orth_bytes_text(to, "\x89"
                               "ccollections\nOrderedDict\n)RtR");
}

static orth_status put_value(orth_bytes *to, const orth_record *record)
{
    const orth_tensor_entry *e = &record->entry;
    switch (e->kind) {
    case ORTH_ENTRY_TENSOR:
        return put_tensor(to, record);
    case ORTH_ENTRY_INTEGER:
        return put_integer(to, e->integer);
    case ORTH_ENTRY_REAL:
        return put_real(to, e->real);
    case ORTH_ENTRY_BOOL:
        return put(to, (char)(e->integer ? 0x88 : 0x89));
    case ORTH_ENTRY_TEXT:
        return put_text(to, e->text, (int64_t)strlen(e->text));
    default:
        return put(to, 'N');
    }
}

/* Whether an entry before `index` begins with the same `length` characters. */
static bool seen(const orth_table *table, int64_t index, size_t length)
{
    for (int64_t i = 0; i < index; i++)
        if (strncmp(table->records[i].entry.name, table->records[index].entry.name, length) == 0)
            return true;
    return false;
}

/* The dictionary of all entries whose names begin with the first `length` characters of `prefix`.
 */
static orth_status put_dict(orth_bytes *to, const orth_table *table, const char *prefix,
                            size_t length)
{
    ORTH_TRY(orth_bytes_text(to, "}("));
    for (int64_t i = 0; i < table->count; i++) {
        const char *name = table->records[i].entry.name;
        if (strncmp(name, prefix, length) != 0)
            continue;
        const char *key = name + length, *slash = strchr(key, '/');
        size_t inner = slash ? (size_t)(slash + 1 - name) : 0;
        if (slash && seen(table, i, inner))
            continue;
        ORTH_TRY(put_text(to, key, slash ? slash - key : (int64_t)strlen(key)));
        if (slash)
            ORTH_TRY(put_dict(to, table, name, inner));
        else
            ORTH_TRY(put_value(to, &table->records[i]));
    }
    return put(to, 'u');
}

orth_status orth_torch_pickle(orth_table *table, orth_bytes *out)
{
    int64_t storages = 0, at = 0;
    for (int64_t i = 0; i < table->count; i++) {
        orth_record *record = &table->records[i];
        if (record->entry.kind != ORTH_ENTRY_TENSOR)
            continue;
        record->place.member = storages++;
        record->place.offset = at;
        at += orth_record_bytes(record);
    }
    ORTH_TRY(orth_bytes_text(out, "\x80\x02"));
    if (table->count == 1 && table->records[0].entry.name[0] == '\0')
        ORTH_TRY(put_value(out, &table->records[0]));
    else
        ORTH_TRY(put_dict(out, table, "", 0));
    return put(out, '.');
}

/* ---- the zip ---- */

/* 1980, the first time that a zip can tell: the same tensors give the same file. */
static bool add_source(zip_t *zip, const char *name, zip_source_t *source)
{
    if (!source)
        return false;
    zip_int64_t index = zip_file_add(zip, name, source, ZIP_FL_ENC_UTF_8);
    if (index < 0) {
        zip_source_free(source);
        return false;
    }
    return zip_set_file_compression(zip, (zip_uint64_t)index, ZIP_CM_STORE, 0) == 0 &&
           zip_file_set_dostime(zip, (zip_uint64_t)index, 0, 0x21, 0) == 0;
}

static bool add_text(zip_t *zip, const char *name, const void *text, int64_t length)
{
    return add_source(zip, name, zip_source_buffer(zip, text, (zip_uint64_t)length, 0));
}

/* Of a file, a length of 0 would mean all of it. */
static bool add_elements(zip_t *zip, const char *elements, const orth_record *record)
{
    char name[64];
    int64_t bytes = orth_record_bytes(record);
    snprintf(name, sizeof name, "archive/data/%lld", (long long)record->place.member);
    if (bytes == 0)
        return add_text(zip, name, "", 0);
    return add_source(zip, name,
                      zip_source_file(zip, elements, (zip_uint64_t)record->place.offset, bytes));
}

static void beat(zip_t *zip, double share, void *context)
{
    (void)zip;
    (void)share;
    (void)context;
    orth_alive();
}

static orth_status fill(zip_t *zip, const char *path, const char *elements, const orth_table *table,
                        const orth_bytes *pickle)
{
    bool done = add_text(zip, "archive/data.pkl", pickle->data, pickle->count) &&
                add_text(zip, "archive/byteorder", "little", 6);
    for (int64_t i = 0; done && i < table->count; i++)
        if (table->records[i].entry.kind == ORTH_ENTRY_TENSOR)
            done = add_elements(zip, elements, &table->records[i]);
    done = done && add_text(zip, "archive/version", "3\n", 2);
    zip_register_progress_callback_with_state(zip, 0.001, beat, NULL, NULL);
    if (done && zip_close(zip) == 0)
        return ORTH_OK;
    orth_status status = orth_fail(ORTH_ERR_STORAGE,
                                   "%s: cannot be written: %s; free space there, or choose "
                                   "another place",
                                   path, zip_strerror(zip));
    zip_discard(zip);
    return status;
}

orth_status orth_torch_zip(const char *path, const char *elements, const orth_table *table,
                           const orth_bytes *pickle)
{
    int code = 0;
    zip_t *zip = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, &code);
    if (zip)
        return fill(zip, path, elements, table, pickle);
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    orth_status status =
        orth_fail(ORTH_ERR_STORAGE, "%s: cannot be created: %s; choose another place", path,
                  zip_error_strerror(&error));
    zip_error_fini(&error);
    return status;
}
