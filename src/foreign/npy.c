#include "tensor_parts.h"

#include <orthant/base/memory.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * .npy: "\x93NUMPY", version, the length of the header (2 bytes, from version 2 on 4), the header
 * (a Python dictionary of descr, fortran_order and shape), the elements. .npz: a zip of them.
 */
enum { MAGIC = 8, HEADER_MOST = 1 << 16 };

static const char MARK[] = "\x93NUMPY";

typedef struct header {
    const char *path, *name;
    const char *at, *end;
} header;

static orth_status bad(const header *h, const char *why)
{
    return orth_fail(ORTH_ERR_CORRUPT, "%.1000s%s%.200s: %s; " ORTH_AGAIN, h->path,
                     h->name[0] ? ": " : "", h->name, why);
}

/* ---- the words of the header ---- */

static void skip_blanks(header *h)
{
    while (h->at < h->end && (*h->at == ' ' || *h->at == '\n' || *h->at == '\t' || *h->at == '\r'))
        h->at++;
}

static bool take(header *h, char wanted)
{
    skip_blanks(h);
    if (h->at >= h->end || *h->at != wanted)
        return false;
    h->at++;
    return true;
}

static bool take_text(header *h, char *out, size_t size)
{
    skip_blanks(h);
    if (h->at >= h->end || (*h->at != '\'' && *h->at != '"'))
        return false;
    char quote = *h->at++;
    size_t n = 0;
    for (; h->at < h->end && *h->at != quote; h->at++) {
        if (*h->at == '\\' || n + 1 >= size)
            return false;
        out[n++] = *h->at;
    }
    out[n] = '\0';
    return take(h, quote);
}

static bool take_word(header *h, const char *word)
{
    size_t length = strlen(word);
    skip_blanks(h);
    if ((size_t)(h->end - h->at) < length || memcmp(h->at, word, length) != 0)
        return false;
    h->at += length;
    return true;
}

static bool take_length(header *h, int64_t *out)
{
    int64_t value = 0;
    skip_blanks(h);
    const char *first = h->at;
    for (; h->at < h->end && *h->at >= '0' && *h->at <= '9'; h->at++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, *h->at - '0', &value))
            return false;
    *out = value;
    return h->at > first;
}

/* ---- its three values ---- */

static const struct {
    const char *code; /* kind and bytes */
    orth_tensor_type type;
} codes[] = {
    {"b1", ORTH_TENSOR_BOOL}, {"u1", ORTH_TENSOR_U8},  {"i1", ORTH_TENSOR_I8},
    {"i2", ORTH_TENSOR_I16},  {"u2", ORTH_TENSOR_U16}, {"f2", ORTH_TENSOR_F16},
    {"i4", ORTH_TENSOR_I32},  {"u4", ORTH_TENSOR_U32}, {"f4", ORTH_TENSOR_F32},
    {"i8", ORTH_TENSOR_I64},  {"u8", ORTH_TENSOR_U64}, {"f8", ORTH_TENSOR_F64},
};

static orth_status read_type(header *h, orth_record *out)
{
    char text[40];
    if (!take_text(h, text, sizeof text))
        return bad(h, "its descr is no simple type (arrays of records cannot be read)");
    bool ordered = strchr("<>|=", text[0]) && text[0];
    const char *code = text + ordered;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (strcmp(code, codes[i].code) == 0) {
            out->entry.type = codes[i].type;
            out->place.big_endian = text[0] == '>' && orth_tensor_type_size(codes[i].type) > 1;
            return ORTH_OK;
        }
    return orth_fail(ORTH_ERR_CORRUPT,
                     "%.1000s%s%.200s: elements of type '%s' cannot be read; save it as float32%s",
                     h->path, h->name[0] ? ": " : "", h->name, text,
                     strcmp(code, "V2") == 0 ? " (NumPy's files do not know bfloat16)" : "");
}

static orth_status read_shape(header *h, orth_tensor_entry *out)
{
    out->rank = 0;
    if (!take(h, '('))
        return bad(h, "its shape is no tuple of lengths");
    while (!take(h, ')')) {
        if (out->rank == ORTH_TENSOR_RANK_MOST)
            return bad(h, "its shape has more than 8 dimensions");
        if (!take_length(h, &out->shape[out->rank++]))
            return bad(h, "its shape is no tuple of lengths");
        take_word(h, "L"); /* as Python 2 wrote them */
        if (!take(h, ',')) {
            if (!take(h, ')'))
                return bad(h, "its shape is no tuple of lengths");
            break;
        }
    }
    return orth_shape_count(out->rank, out->shape, &out->count)
               ? ORTH_OK
               : bad(h, "its shape is larger than 64 bits count");
}

static orth_status read_values(header *h, orth_record *out, bool *fortran)
{
    char key[40];
    int seen = 0;
    if (!take(h, '{'))
        return bad(h, "its header is no dictionary");
    while (!take(h, '}')) {
        if (!take_text(h, key, sizeof key) || !take(h, ':'))
            return bad(h, "its header is no dictionary of descr, fortran_order and shape");
        int which = 0;
        if (strcmp(key, "descr") == 0) {
            which = 1;
            ORTH_TRY(read_type(h, out));
        } else if (strcmp(key, "shape") == 0) {
            which = 2;
            ORTH_TRY(read_shape(h, &out->entry));
        } else if (strcmp(key, "fortran_order") == 0) {
            which = 4;
            *fortran = take_word(h, "True");
            if (!*fortran && !take_word(h, "False"))
                return bad(h, "its fortran_order is neither True nor False");
        }
        if (!which || (seen & which))
            return bad(h, "its header holds another key than descr, fortran_order and shape, once");
        seen |= which;
        if (!take(h, ',')) {
            if (!take(h, '}'))
                return bad(h, "its header is no dictionary");
            break;
        }
    }
    skip_blanks(h);
    if (seen != 7 || h->at != h->end)
        return bad(h, "its header is not descr, fortran_order and shape alone");
    return ORTH_OK;
}

/* ---- the whole ---- */

static void set_strides(orth_record *out, bool fortran)
{
    const orth_tensor_entry *e = &out->entry;
    orth_shape_strides(e->rank, e->shape, out->place.stride);
    if (!fortran)
        return;
    int64_t step = 1;
    for (int i = 0; i < e->rank; i++) {
        out->place.stride[i] = step;
        step *= e->shape[i] > 0 ? e->shape[i] : 1;
    }
}

orth_status orth_npy_parse(const char *bytes, int64_t length, int64_t total, const char *path,
                           const char *name, orth_record *out)
{
    header h = {path, name, bytes, bytes};
    const unsigned char *b = (const unsigned char *)bytes;
    orth_record record = {.place.member = -1, .text = -1};
    bool fortran = false;
    if (length < MAGIC + 2 || memcmp(bytes, MARK, sizeof MARK - 1) != 0)
        return bad(&h, "does not begin as an .npy file");
    if (b[6] < 1 || b[6] > 3)
        return bad(&h, "is of a version of .npy that is not known");
    int64_t begin = b[6] == 1 ? MAGIC + 2 : MAGIC + 4;
    int64_t size = length < begin ? INT64_MAX - MAGIC - 4 : b[8] | b[9] << 8;
    if (b[6] > 1 && length >= begin)
        size |= (int64_t)b[10] << 16 | (int64_t)b[11] << 24;
    if (size > HEADER_MOST || begin + size > length)
        return bad(&h, "its header is cut off, or longer than 64 KiB");
    h.at = bytes + begin;
    h.end = h.at + size;
    ORTH_TRY(read_values(&h, &record, &fortran));
    record.entry.kind = ORTH_ENTRY_TENSOR;
    record.place.offset = begin + size;
    set_strides(&record, fortran);
    int64_t wanted, there = total - record.place.offset;
    if (__builtin_mul_overflow(record.entry.count, orth_tensor_type_size(record.entry.type),
                               &wanted) ||
        wanted != there)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%.1000s%s%.200s: %lld bytes of elements, its type and shape ask for "
                         "%lld; " ORTH_AGAIN,
                         path, name[0] ? ": " : "", name, (long long)there, (long long)wanted);
    *out = record;
    return ORTH_OK;
}

/* The header of a member (-1: of the file), added under `name`. */
static orth_status add_array(orth_source *source, int64_t member, int64_t total, const char *name,
                             char *bytes, orth_table *out)
{
    int64_t length = total < HEADER_MOST + MAGIC + 4 ? total : HEADER_MOST + MAGIC + 4;
    orth_record record;
    ORTH_TRY(orth_source_read(source, member, 0, length, bytes));
    ORTH_TRY(orth_npy_parse(bytes, length, total, source->path, name, &record));
    record.place.member = member;
    return orth_table_add(out, name, NULL, &record);
}

orth_status orth_npy_table(orth_source *source, orth_table *out)
{
    char *bytes = NULL;
    ORTH_TRY(ORTH_ALLOCATE(HEADER_MOST + MAGIC + 4, "header of an array", &bytes));
    orth_status status = add_array(source, -1, source->bytes, "", bytes, out);
    orth_free(bytes);
    return status;
}

static orth_status add_member(orth_source *source, int64_t member, char *bytes, orth_table *out)
{
    const char *file = orth_source_name(source, member);
    size_t length = file ? strlen(file) : 0;
    if (length < 4 || strcmp(file + length - 4, ".npy") != 0)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%.1000s: holds '%.200s', which is no .npy file; name an .npz file, or a "
                         ".pt file of PyTorch",
                         source->path, file ? file : "?");
    int64_t total = 0;
    char *name = orth_strdup(file);
    if (!name)
        return orth_fail(ORTH_ERR_ENVIRONMENT, "%.1000s: out of memory for names; free memory",
                         source->path);
    name[length - 4] = '\0';
    orth_status status = orth_source_size(source, member, &total);
    if (status == ORTH_OK)
        status = add_array(source, member, total, name, bytes, out);
    free(name);
    return status;
}

orth_status orth_npz_table(orth_source *source, orth_table *out)
{
    char *bytes = NULL;
    ORTH_TRY(ORTH_ALLOCATE(HEADER_MOST + MAGIC + 4, "header of an array", &bytes));
    orth_status status = ORTH_OK;
    int64_t members = orth_source_members(source);
    for (int64_t i = 0; status == ORTH_OK && i < members; i++)
        status = add_member(source, i, bytes, out);
    orth_free(bytes);
    return status;
}
