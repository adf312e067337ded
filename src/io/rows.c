#include "rows.h"

#include <orthant/base/fault.h>
#include <orthant/base/finite.h>
#include <orthant/base/half.h>
#include <orthant/base/memory.h>
#include <orthant/par/alive.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A gap of so many bytes between two wanted rows is read over; a piece is at most so large. */
enum { GAP_BYTES = 32 << 10, PIECE_BYTES = 4 << 20, OPEN_FILES = 64 };

typedef struct wanted {
    int64_t row;
    int64_t index;
} wanted;

struct orth_rows {
    const orth_dataset *dataset;
    wanted *order;        ///< (most)
    unsigned char *piece; ///< (piece_bytes)
    int64_t piece_bytes;
    int next_slot;
    int64_t file[OPEN_FILES]; ///< which file `fd` is open on, -1 none
    int fd[OPEN_FILES];
};

orth_status orth_rows_create(const orth_dataset *dataset, int64_t most, orth_rows **out)
{
    orth_rows *reader = NULL;
    ORTH_TRY(ORTH_ALLOCATE(1, "row reader", &reader));
    reader->dataset = dataset;
    reader->piece_bytes = dataset->stride > PIECE_BYTES ? dataset->stride : PIECE_BYTES;
    for (int i = 0; i < OPEN_FILES; i++)
        reader->file[i] = -1;
    orth_status status = ORTH_ALLOCATE(most, "order of rows to read", &reader->order);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(reader->piece_bytes, "read buffer", &reader->piece);
    if (status != ORTH_OK) {
        orth_rows_free(reader);
        return status;
    }
    *out = reader;
    return ORTH_OK;
}

void orth_rows_free(orth_rows *reader)
{
    if (!reader)
        return;
    for (int i = 0; i < OPEN_FILES; i++)
        if (reader->file[i] >= 0)
            close(reader->fd[i]);
    orth_free(reader->order);
    orth_free(reader->piece);
    orth_free(reader);
}

/* ---- fetching ---- */

/* The last file that starts at or before the row: those without rows are passed over. */
const orth_table_file *orth_table_find(const orth_dataset *dataset, int64_t row)
{
    int64_t low = 0, high = dataset->n_file;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (dataset->files[middle].first <= row)
            low = middle;
        else
            high = middle;
    }
    return &dataset->files[low];
}

/* A descriptor of the file, -1 with errno when it cannot be opened. A table may have more files
 * than a process may hold open. */
static int descriptor(orth_rows *reader, int64_t file)
{
    for (int i = 0; i < OPEN_FILES; i++)
        if (reader->file[i] == file)
            return reader->fd[i];
    if (orth_fault_fails("rows.open"))
        return -1;
    int fd = open(reader->dataset->files[file].path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int slot = reader->next_slot;
    reader->next_slot = (slot + 1) % OPEN_FILES;
    if (reader->file[slot] >= 0)
        close(reader->fd[slot]);
    reader->file[slot] = file;
    reader->fd[slot] = fd;
    return fd;
}

static orth_rows_fault read_plain(orth_rows *reader, int64_t file, int64_t begin, int64_t end)
{
    const orth_table_file *from = &reader->dataset->files[file];
    int64_t row_bytes = reader->dataset->d_model * from->element_size;
    int64_t bytes = (end - begin) * row_bytes, at = from->offset + begin * row_bytes;
    orth_rows_fault fault = {.failed = true, .file = file, .row = begin};
    int fd = descriptor(reader, file);
    if (fd < 0) {
        fault.code = errno;
        return fault;
    }
    orth_fault_effect injected = orth_fault("rows.read");
    if (injected == ORTH_FAULT_ERROR || injected == ORTH_FAULT_SHORT) {
        fault.code = injected == ORTH_FAULT_ERROR ? errno : 0;
        return fault;
    }
    for (int64_t done = 0; done < bytes;) {
        ssize_t got = pread(fd, reader->piece + done, (size_t)(bytes - done), (off_t)(at + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            fault.code = got < 0 ? errno : 0;
            return fault;
        }
        done += got;
    }
    if (injected == ORTH_FAULT_FLIP)
        reader->piece[bytes / 2] ^= 1;
    return (orth_rows_fault){.failed = false};
}

static orth_rows_fault read_piece(orth_rows *reader, int64_t file, int64_t begin, int64_t end)
{
    const orth_table_file *from = &reader->dataset->files[file];
    if (from->offset >= 0)
        return read_plain(reader, file, begin, end);
    bool failed = orth_h5_read_raw(from->set, begin, end, reader->piece) != ORTH_OK;
    return (orth_rows_fault){.failed = failed, .recorded = failed, .file = file, .row = begin};
}

static int by_row(const void *a, const void *b)
{
    int64_t x = ((const wanted *)a)->row, y = ((const wanted *)b)->row;
    return (x > y) - (x < y);
}

/* The end of the piece that starts at order[at]: rows of one file, near each other (or in one
 * chunk, which HDF5 reads whole anyway), that fit into the buffer. */
static int64_t piece_end(const orth_rows *reader, const orth_table_file *file, int64_t at,
                         int64_t count)
{
    const wanted *order = reader->order;
    int64_t row_bytes = reader->dataset->d_model * file->element_size;
    int64_t next = at + 1;
    for (; next < count && order[next].row < file->first + file->rows; next++) {
        int64_t row = order[next].row - file->first, before = order[next - 1].row - file->first;
        bool near = (row - before - 1) * row_bytes <= GAP_BYTES ||
                    (file->chunk_rows && row / file->chunk_rows == before / file->chunk_rows);
        if (!near || (order[next].row - order[at].row + 1) * row_bytes > reader->piece_bytes)
            break;
    }
    return next;
}

orth_rows_fault orth_rows_fetch(orth_rows *reader, const int64_t *rows, int64_t n_row,
                                orth_rows_sink sink, void *context)
{
    const orth_dataset *dataset = reader->dataset;
    for (int64_t i = 0; i < n_row; i++)
        reader->order[i] = (wanted){rows[i], i};
    qsort(reader->order, (size_t)n_row, sizeof *reader->order, by_row);
    for (int64_t at = 0; at < n_row;) {
        const orth_table_file *file = orth_table_find(dataset, reader->order[at].row);
        int64_t row_bytes = dataset->d_model * file->element_size;
        int64_t end = piece_end(reader, file, at, n_row);
        int64_t first = reader->order[at].row, last = reader->order[end - 1].row;
        orth_rows_fault fault =
            read_piece(reader, file - dataset->files, first - file->first, last - file->first + 1);
        if (fault.failed)
            return fault;
        orth_alive();
        for (; at < end; at++)
            sink(context, reader->order[at].index, reader->order[at].row,
                 reader->piece + (reader->order[at].row - first) * row_bytes);
    }
    return (orth_rows_fault){.failed = false};
}

orth_status orth_rows_status(const orth_dataset *dataset, orth_rows_fault fault)
{
    if (!fault.failed)
        return ORTH_OK;
    if (fault.recorded)
        return ORTH_ERR_DATA;
    return orth_fail(ORTH_ERR_DATA, "%s: row %lld cannot be read: %s; restore the file and resume",
                     dataset->files[fault.file].path, (long long)fault.row,
                     fault.code ? strerror(fault.code)
                                : "the file is shorter than when it was opened");
}

/* ---- converting ---- */

void orth_swap_bytes(const unsigned char *in, int64_t count, int64_t size, unsigned char *out)
{
    if (size == 2) {
        for (int64_t i = 0; i < count; i++) {
            uint16_t bits;
            memcpy(&bits, in + 2 * i, 2);
            bits = __builtin_bswap16(bits);
            memcpy(out + 2 * i, &bits, 2);
        }
        return;
    }
    for (int64_t i = 0; i < count; i++)
        for (int64_t byte = 0; byte < size; byte++)
            out[i * size + byte] = in[i * size + size - 1 - byte];
}

static void to_float(orth_h5_type type, const void *in, int64_t count, float *out)
{
    switch (type) {
    case ORTH_H5_FLOAT16:
        orth_f16_to_f32(in, count, out);
        break;
    case ORTH_H5_BFLOAT16:
        orth_bf16_to_f32(in, count, out);
        break;
    case ORTH_H5_DOUBLE:
        for (int64_t i = 0; i < count; i++) {
            double value;
            memcpy(&value, (const char *)in + i * 8, sizeof value);
            out[i] = (float)value;
        }
        break;
    default:
        memcpy(out, in, (size_t)count * sizeof *out);
    }
}

bool orth_rows_convert(const orth_table_file *file, const unsigned char *raw, int64_t d_model,
                       float *out)
{
    /* In pieces through a small aligned buffer: raw rows start anywhere, and may be swapped. */
    enum { PIECE = 512 };
    uint64_t piece[PIECE];
    for (int64_t at = 0; at < d_model; at += PIECE) {
        int64_t count = d_model - at < PIECE ? d_model - at : PIECE, size = file->element_size;
        const unsigned char *from = raw + at * size;
        if (file->big_endian)
            orth_swap_bytes(from, count, size, (unsigned char *)piece);
        else
            memcpy(piece, from, (size_t)(count * size));
        to_float(file->type, piece, count, out + at);
    }
    return orth_all_finite(out, d_model);
}
