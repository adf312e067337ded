#include "tensor_parts.h"

#include <orthant/base/half.h>
#include <orthant/base/memory.h>

#include <string.h>

/* What is read at once; over so many bytes between wanted ones is read. */
enum { PIECE_BYTES = 4 << 20, GAP_BYTES = 32 << 10, CHUNK = 512 };

/* ---- types ---- */

static bool is_integer(orth_tensor_type type)
{
    return type <= ORTH_TENSOR_I8 || type == ORTH_TENSOR_I16 || type == ORTH_TENSOR_U16 ||
           type == ORTH_TENSOR_I32 || type == ORTH_TENSOR_U32 || type == ORTH_TENSOR_I64 ||
           type == ORTH_TENSOR_U64;
}

/* Element `i` of integers; U64 as the same bits. */
static int64_t integer_at(orth_tensor_type type, const void *in, int64_t i)
{
    switch (type) {
    case ORTH_TENSOR_BOOL:
        return ((const uint8_t *)in)[i] != 0;
    case ORTH_TENSOR_U8:
        return ((const uint8_t *)in)[i];
    case ORTH_TENSOR_I8:
        return ((const int8_t *)in)[i];
    case ORTH_TENSOR_I16:
        return ((const int16_t *)in)[i];
    case ORTH_TENSOR_U16:
        return ((const uint16_t *)in)[i];
    case ORTH_TENSOR_I32:
        return ((const int32_t *)in)[i];
    case ORTH_TENSOR_U32:
        return ((const uint32_t *)in)[i];
    default:
        return ((const int64_t *)in)[i];
    }
}

static void integers_to_f32(orth_tensor_type from, const void *in, int64_t count, float *out)
{
    for (int64_t i = 0; i < count; i++) {
        int64_t value = integer_at(from, in, i);
        out[i] = from == ORTH_TENSOR_U64 ? (float)(uint64_t)value : (float)value;
    }
}

static void integers_to_f64(orth_tensor_type from, const void *in, int64_t count, double *out)
{
    for (int64_t i = 0; i < count; i++) {
        int64_t value = integer_at(from, in, i);
        out[i] = from == ORTH_TENSOR_U64 ? (double)(uint64_t)value : (double)value;
    }
}

static bool to_f32(orth_tensor_type from, const void *in, int64_t count, float *out)
{
    if (from == ORTH_TENSOR_F16)
        orth_f16_to_f32(in, count, out);
    else if (from == ORTH_TENSOR_BF16)
        orth_bf16_to_f32(in, count, out);
    else if (from == ORTH_TENSOR_F32)
        memcpy(out, in, (size_t)count * sizeof *out);
    else if (from == ORTH_TENSOR_F64)
        for (int64_t i = 0; i < count; i++)
            out[i] = (float)((const double *)in)[i];
    else if (is_integer(from))
        integers_to_f32(from, in, count, out);
    else
        return false;
    return true;
}

static bool to_f64(orth_tensor_type from, const void *in, int64_t count, double *out)
{
    float values[CHUNK];
    int64_t size = orth_tensor_type_size(from);
    if (from == ORTH_TENSOR_F64) {
        memcpy(out, in, (size_t)count * sizeof *out);
        return true;
    }
    if (is_integer(from)) {
        integers_to_f64(from, in, count, out);
        return true;
    }
    for (int64_t at = 0; at < count; at += CHUNK) {
        int64_t some = count - at < CHUNK ? count - at : CHUNK;
        if (!to_f32(from, (const char *)in + at * size, some, values))
            return false;
        for (int64_t i = 0; i < some; i++)
            out[at + i] = values[i];
    }
    return true;
}

static bool to_i64(orth_tensor_type from, const void *in, int64_t count, int64_t *out)
{
    if (!is_integer(from))
        return false;
    for (int64_t i = 0; i < count; i++) {
        out[i] = integer_at(from, in, i);
        if (from == ORTH_TENSOR_U64 && out[i] < 0)
            return false;
    }
    return true;
}

bool orth_elements_convert(orth_tensor_type from, const void *in, int64_t count,
                           orth_tensor_type to, void *out)
{
    if (to == ORTH_TENSOR_F32)
        return to_f32(from, in, count, out);
    return to == ORTH_TENSOR_F64 ? to_f64(from, in, count, out) : to_i64(from, in, count, out);
}

/* ---- a box of elements ---- */

/* One dimension of a box: steps in elements of the file and of the result. */
typedef struct dimension {
    int64_t extent, from, to;
} dimension;

typedef struct job {
    orth_source *source;
    const orth_record *record;
    int64_t size; /* of an element */
    orth_tensor_type to;
    int64_t to_size;
    char *out;
    char *piece; /* the source's */
    int rank;    /* of the box; dimensions by ascending step in the file */
    dimension dimensions[ORTH_TENSOR_RANK_MOST];
    int64_t span[ORTH_TENSOR_RANK_MOST]; /* elements in the file from first to last, up to here */
} job;

static void swap(char *bytes, int64_t count, int64_t size)
{
    for (int64_t i = 0; i < count; i++, bytes += size)
        for (int64_t low = 0, high = size - 1; low < high; low++, high--) {
            char byte = bytes[low];
            bytes[low] = bytes[high];
            bytes[high] = byte;
        }
}

/* The elements of dimension 0, from element `from` of the piece to element `to` of the result. */
static bool put_run(const job *j, int64_t count, int64_t from, int64_t to)
{
    const dimension *d = &j->dimensions[0];
    int64_t step = j->rank > 0 ? d->from : 1, out_step = j->rank > 0 ? d->to : 1;
    char raw[CHUNK * 8] __attribute__((aligned(8))), values[CHUNK * 8] __attribute__((aligned(8)));
    if (step == 1 && out_step == 1)
        return orth_elements_convert(j->record->entry.type, j->piece + from * j->size, count, j->to,
                                     j->out + to * j->to_size);
    for (int64_t at = 0; at < count; at += CHUNK) {
        int64_t some = count - at < CHUNK ? count - at : CHUNK;
        for (int64_t i = 0; i < some; i++)
            memcpy(raw + i * j->size, j->piece + (from + (at + i) * step) * j->size,
                   (size_t)j->size);
        if (!orth_elements_convert(j->record->entry.type, raw, some, j->to, values))
            return false;
        for (int64_t i = 0; i < some; i++)
            memcpy(j->out + (to + (at + i) * out_step) * j->to_size, values + i * j->to_size,
                   (size_t)j->to_size);
    }
    return true;
}

static bool put(const job *j, int level, int64_t count, int64_t from, int64_t to)
{
    if (level <= 0)
        return put_run(j, count, from, to);
    const dimension *d = &j->dimensions[level];
    for (int64_t i = 0; i < count; i++)
        if (!put(j, level - 1, j->dimensions[level - 1].extent, from + i * d->from, to + i * d->to))
            return false;
    return true;
}

static int64_t span_below(const job *j, int level)
{
    return level > 0 ? j->span[level - 1] : 1;
}

/* Read `count` indices of dimension `level` whole, in one piece. */
static orth_status load(job *j, int level, int64_t count, int64_t from, int64_t to)
{
    const orth_place *place = &j->record->place;
    int64_t span = span_below(j, level) + (level < 0 ? 0 : (count - 1) * j->dimensions[level].from);
    int64_t begin = place->offset + from * j->size;
    ORTH_TRY(orth_source_read(j->source, place->member, begin, begin + span * j->size, j->piece));
    if (place->big_endian)
        swap(j->piece, span, j->size);
    if (put(j, level, count, 0, to))
        return ORTH_OK;
    return orth_fail(
        ORTH_ERR_CORRUPT, "%.1000s: '%.200s': elements of type %s cannot be read as %s; convert it",
        j->source->path, j->record->entry.name, orth_tensor_type_name(j->record->entry.type),
        j->to == ORTH_TENSOR_I64 ? "integers of 64 bits" : "numbers");
}

/* Whether what lies between the indices of a dimension, and of those below, is little. */
static bool dense(const job *j, int level)
{
    for (int i = 0; i <= level; i++)
        if ((j->dimensions[i].from - span_below(j, i)) > GAP_BYTES / j->size)
            return false;
    return true;
}

static orth_status walk(job *j, int level, int64_t from, int64_t to)
{
    if (level < 0)
        return load(j, level, 1, from, to);
    const dimension *d = &j->dimensions[level];
    int64_t room = PIECE_BYTES / j->size, below = span_below(j, level), some = 1;
    if (level == 0 && !dense(j, level)) {
        for (int64_t i = 0; i < d->extent; i++)
            ORTH_TRY(load(j, level, 1, from + i * d->from, to + i * d->to));
        return ORTH_OK;
    }
    if (!dense(j, level) || below > room) {
        for (int64_t i = 0; i < d->extent; i++)
            ORTH_TRY(walk(j, level - 1, from + i * d->from, to + i * d->to));
        return ORTH_OK;
    }
    if (d->from > 0)
        some = (room - below) / d->from + 1;
    else
        some = d->extent;
    for (int64_t at = 0; at < d->extent; at += some)
        ORTH_TRY(load(j, level, d->extent - at < some ? d->extent - at : some, from + at * d->from,
                      to + at * d->to));
    return ORTH_OK;
}

/* Sort the dimensions by their step in the file; those that follow each other in the file as in the
 * result become one. */
static void order(job *j)
{
    int kept = 0;
    for (int i = 1; i < j->rank; i++)
        for (int k = i; k > 0 && j->dimensions[k].from < j->dimensions[k - 1].from; k--) {
            dimension higher = j->dimensions[k - 1];
            j->dimensions[k - 1] = j->dimensions[k];
            j->dimensions[k] = higher;
        }
    for (int i = 0; i < j->rank; i++) {
        dimension *last = kept > 0 ? &j->dimensions[kept - 1] : NULL, *d = &j->dimensions[i];
        if (last && d->from == last->from * last->extent && d->to == last->to * last->extent)
            last->extent *= d->extent;
        else
            j->dimensions[kept++] = *d;
    }
    j->rank = kept;
    for (int i = 0; i < j->rank; i++)
        j->span[i] = span_below(j, i) + (j->dimensions[i].extent - 1) * j->dimensions[i].from;
}

/* The box of indices [first, last] of dimension `dim` and everything below; `from` is its first
 * element in the file, `to` in the result. */
static orth_status read_box(job *j, int dim, int64_t extent, int64_t from, int64_t to)
{
    const orth_tensor_entry *e = &j->record->entry;
    int64_t step = 1;
    j->rank = 0;
    for (int i = e->rank - 1; i >= dim; i--) {
        int64_t length = i == dim ? extent : e->shape[i];
        if (length > 1)
            j->dimensions[j->rank++] = (dimension){length, j->record->place.stride[i], step};
        step *= length;
    }
    order(j);
    return walk(j, j->rank - 1, from, to);
}

/* Elements [begin, end) of the tensor of the dimensions from `dim` on, whose first element is
 * `from` in the file: a part of its first row, whole rows, a part of the last. */
static orth_status read_range(job *j, int dim, int64_t begin, int64_t end, int64_t from, int64_t to)
{
    const orth_tensor_entry *e = &j->record->entry;
    if (begin >= end)
        return ORTH_OK;
    if (dim >= e->rank)
        return read_box(j, dim, 1, from, to);
    int64_t row = 1, stride = j->record->place.stride[dim];
    for (int i = dim + 1; i < e->rank; i++)
        row *= e->shape[i];
    int64_t first = begin / row, last = end / row;
    if (first == last)
        return read_range(j, dim + 1, begin - first * row, end - first * row, from + first * stride,
                          to);
    if (begin > first * row) {
        ORTH_TRY(read_range(j, dim + 1, begin - first * row, row, from + first * stride, to));
        to += (first + 1) * row - begin;
        first++;
    }
    if (first < last)
        ORTH_TRY(read_box(j, dim, last - first, from + first * stride, to));
    to += (last - first) * row;
    return read_range(j, dim + 1, 0, end - last * row, from + last * stride, to);
}

orth_status orth_elements_read(orth_source *source, const orth_record *record, int64_t begin,
                               int64_t end, orth_tensor_type to, void *out)
{
    job j = {.source = source,
             .record = record,
             .size = orth_tensor_type_size(record->entry.type),
             .to = to,
             .to_size = orth_tensor_type_size(to),
             .out = out};
    if (!source->piece)
        ORTH_TRY(ORTH_ALLOCATE(PIECE_BYTES, "elements of a tensor", &source->piece));
    j.piece = source->piece;
    return read_range(&j, 0, begin, end, 0, 0);
}
