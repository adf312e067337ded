/* Reading one array of a checkpoint in bounded memory, with its checksums. */
#include "checkpoint_parts.h"

#include <orthant/base/crc32c.h>
#include <orthant/base/fault.h>
#include <orthant/base/memory.h>
#include <orthant/par/agree.h>

#include <errno.h>
#include <string.h>

static orth_status check_shape(orth_checkpoint_reader *reader)
{
    orth_checkpoint_array *array = &reader->array;
    const orth_h5_layout *layout = orth_h5_dataset_layout(reader->data);
    const orth_h5_layout *sums = orth_h5_dataset_layout(reader->checksums);
    int rank = orth_checkpoint_is_matrix(array) ? 2 : 1;
    if (array->extent[0] < 0)
        array->extent[0] = layout->extent[0];
    if (layout->rank != rank || layout->extent[0] != array->extent[0] ||
        layout->extent[1] != array->extent[1] || layout->type != array->type)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%s: %s is %s with %d dimensions, %lld x %lld, expected %lld x %lld; use "
                         "another checkpoint",
                         reader->path, array->name, layout->type_name, layout->rank,
                         (long long)layout->extent[0], (long long)layout->extent[1],
                         (long long)array->extent[0], (long long)array->extent[1]);
    /* Chunks that were never written have no bytes, and can claim any number of rows. */
    if (layout->offset < 0 || sums->offset < 0)
        return orth_fail(ORTH_ERR_CORRUPT, "%s: %s is not contiguous; use another checkpoint",
                         reader->path, array->name);
    int64_t units = orth_checkpoint_units(array);
    if (sums->rank != 1 || sums->type != ORTH_H5_UINT32 || sums->extent[0] != units)
        return orth_fail(
            ORTH_ERR_CORRUPT,
            "%s: /checksum%s has %lld entries of type %s, expected %lld of uint32; use "
            "another checkpoint",
            reader->path, array->name, (long long)sums->extent[0], sums->type_name,
            (long long)units);
    return ORTH_OK;
}

static orth_status allocate_piece(orth_checkpoint_reader *reader)
{
    const orth_checkpoint_array *array = &reader->array;
    int64_t unit_bytes = orth_checkpoint_unit(array) * array->element_size;
    int64_t units = ORTH_CHECKPOINT_PIECE_BYTES / unit_bytes;
    int64_t most = orth_checkpoint_units(array);
    units = units < most ? units : most;
    reader->units_in_piece = units < 1 ? 1 : units;
    ORTH_TRY(orth_allocate(reader->units_in_piece, unit_bytes, "piece of a checkpoint",
                           (void **)&reader->piece));
    return ORTH_ALLOCATE(reader->units_in_piece, "checksums of a checkpoint",
                         &reader->piece_checksums);
}

orth_status orth_checkpoint_reader_open(orth_h5_file *file, const orth_checkpoint_array *array,
                                        MPI_Comm comm, orth_checkpoint_reader *out)
{
    char name[96];
    *out = (orth_checkpoint_reader){.array = *array, .path = orth_h5_path(file)};
    orth_checkpoint_checksum_name(array, name, sizeof name);
    orth_status status = orth_h5_dataset_open(file, array->name, &out->data);
    if (status == ORTH_OK)
        status = orth_h5_dataset_open(file, name, &out->checksums);
    if (status == ORTH_OK) {
        status = check_shape(out);
        if (status == ORTH_OK)
            status = allocate_piece(out);
        status = orth_agree(comm, status);
    }
    if (status != ORTH_OK)
        orth_checkpoint_reader_close(out);
    return status;
}

void orth_checkpoint_reader_close(orth_checkpoint_reader *reader)
{
    orth_free(reader->piece);
    orth_free(reader->piece_checksums);
    orth_h5_dataset_close(reader->checksums);
    orth_h5_dataset_close(reader->data);
    memset(reader, 0, sizeof *reader);
}

static orth_status mismatch(const orth_checkpoint_reader *reader, int64_t unit, uint32_t stored,
                            uint32_t computed)
{
    bool row = orth_checkpoint_is_matrix(&reader->array);
    return orth_fail(
        ORTH_ERR_CORRUPT,
        "%s: %s, %s %lld: checksum %08x, stored %08x: the file is damaged; use another "
        "checkpoint",
        reader->path, reader->array.name, row ? "row" : "block of 4096 elements", (long long)unit,
        computed, stored);
}

/* Units [begin, end), no more than fit the piece, as elements [first, last) of the array. */
static orth_status read_piece(orth_checkpoint_reader *reader, int64_t begin, int64_t end,
                              orth_range *elements)
{
    const orth_checkpoint_array *array = &reader->array;
    int64_t unit = orth_checkpoint_unit(array), total = array->extent[0] * array->extent[1];
    elements->begin = begin * unit;
    elements->end = end * unit < total ? end * unit : total;
    int64_t columns = array->extent[1];
    orth_fault_effect effect = orth_fault("checkpoint.read");
    if (effect == ORTH_FAULT_ERROR)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%s: cannot read rows %lld to %lld of dataset '%s': %s; the file may be "
                         "damaged: use another one",
                         reader->path, (long long)(elements->begin / columns),
                         (long long)(elements->end / columns) - 1, array->name, strerror(errno));
    ORTH_TRY(orth_h5_read(reader->data, elements->begin / columns, elements->end / columns,
                          array->type, reader->piece));
    ORTH_TRY(orth_h5_read(reader->checksums, begin, end, ORTH_H5_UINT32, reader->piece_checksums));
    if (effect == ORTH_FAULT_FLIP)
        reader->piece[0] = (char)(reader->piece[0] ^ 1);
    for (int64_t u = begin; u < end; u++) {
        int64_t from = u * unit, to = from + unit < elements->end ? from + unit : elements->end;
        uint32_t computed =
            orth_crc32c(reader->piece + (from - elements->begin) * array->element_size,
                        (to - from) * array->element_size);
        if (computed != reader->piece_checksums[u - begin])
            return mismatch(reader, u, reader->piece_checksums[u - begin], computed);
    }
    return ORTH_OK;
}

orth_status orth_checkpoint_reader_units(orth_checkpoint_reader *reader, int64_t begin, int64_t end,
                                         orth_range keep, void *out)
{
    int64_t size = reader->array.element_size;
    for (int64_t u = begin; u < end; u += reader->units_in_piece) {
        int64_t stop = u + reader->units_in_piece < end ? u + reader->units_in_piece : end;
        orth_range piece;
        ORTH_TRY(read_piece(reader, u, stop, &piece));
        int64_t from = piece.begin > keep.begin ? piece.begin : keep.begin;
        int64_t to = piece.end < keep.end ? piece.end : keep.end;
        if (out && from < to)
            memcpy((char *)out + (from - keep.begin) * size,
                   reader->piece + (from - piece.begin) * size, (size_t)((to - from) * size));
    }
    return ORTH_OK;
}
