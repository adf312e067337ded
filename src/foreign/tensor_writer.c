#define _GNU_SOURCE /* fallocate */
#include <orthant/foreign/tensor_writer.h>

#include "writer_parts.h"

#include <orthant/base/fault.h>
#include <orthant/base/half.h>
#include <orthant/base/memory.h>
#include <orthant/base/path.h>
#include <orthant/par/agree.h>
#include <orthant/par/alive.h>
#include <orthant/par/collective.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 1 << 14 };

struct orth_tensor_writer {
    MPI_Comm comm;
    int rank;
    orth_tensor_format format;
    char *path;
    char *partial;
    char *elements; ///< where elements are written: `partial`, of a .pt a file of their own
    orth_table table;
    orth_bytes before; ///< what goes before the elements; of a .pt its pickle
    int fd;
    int64_t written; ///< elements, by this rank
    bool created;    ///< there is something to take away
    bool committed;
};

static orth_status refuse(const char *path, const char *doing)
{
    bool full = errno == ENOSPC || errno == EDQUOT;
    return orth_fail(ORTH_ERR_STORAGE, "%s: cannot %s: %s; %s", path, doing, strerror(errno),
                     full ? "free space there, or choose another place"
                          : "give a file in an existing folder that can be written");
}

/* ---- opening ---- */

static orth_status copy_entries(const orth_tensor_entry *entries, int64_t count, orth_table *out)
{
    for (int64_t i = 0; i < count; i++) {
        orth_record record = {.entry = entries[i], .place.member = -1};
        if (entries[i].rank < 0 || entries[i].rank > ORTH_TENSOR_RANK_MOST ||
            !orth_shape_count(entries[i].rank, entries[i].shape, &record.entry.count))
            return orth_fail(ORTH_ERR_INTERNAL, "tensor '%.200s': impossible shape; report it",
                             entries[i].name);
        ORTH_TRY(orth_table_add(out, entries[i].name,
                                entries[i].kind == ORTH_ENTRY_TEXT ? entries[i].text : NULL,
                                &record));
    }
    orth_table_finish(out);
    return ORTH_OK;
}

static orth_status begin(orth_tensor_writer *writer)
{
    switch (writer->format) {
    case ORTH_FORMAT_SAFETENSORS:
        return orth_safetensors_begin(&writer->table, &writer->before);
    case ORTH_FORMAT_NPY:
        return orth_npy_begin(&writer->table, &writer->before);
    case ORTH_FORMAT_RAW:
        return writer->table.count == 1
                   ? ORTH_OK
                   : orth_fail(ORTH_ERR_INTERNAL, "raw: takes one tensor; report it");
    case ORTH_FORMAT_TORCH:
        return orth_torch_pickle(&writer->table, &writer->before);
    default:
        return orth_fail(ORTH_ERR_INTERNAL, "%s: is not written; report it",
                         orth_tensor_format_name(writer->format));
    }
}

static orth_status write_bytes(const orth_tensor_writer *writer, int64_t at, const void *bytes,
                               int64_t count)
{
    for (int64_t done = 0; done < count;) {
        orth_fault_effect fault = orth_fault("tensor.write");
        int64_t some = fault == ORTH_FAULT_SHORT ? (count - done + 1) / 2 : count - done;
        ssize_t n = fault == ORTH_FAULT_ERROR ? -1
                                              : pwrite(writer->fd, (const char *)bytes + done,
                                                       (size_t)some, (off_t)(at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return refuse(writer->path, "write");
        done += n;
    }
    orth_alive();
    return ORTH_OK;
}

/* Rank 0: the file with its beginning and the room for the rest. */
static orth_status create(orth_tensor_writer *writer)
{
    struct stat info;
    bool zip = writer->format == ORTH_FORMAT_TORCH;
    int64_t end = zip ? 0 : writer->before.count;
    if (stat(writer->path, &info) == 0 && !S_ISREG(info.st_mode))
        return orth_fail(ORTH_ERR_STORAGE, "%s: is no plain file; give the name of a file",
                         writer->path);
    for (int64_t i = 0; i < writer->table.count; i++) {
        const orth_record *record = &writer->table.records[i];
        int64_t last = record->place.offset + orth_record_bytes(record);
        if (record->entry.kind == ORTH_ENTRY_TENSOR && last > end)
            end = last;
    }
    if (!orth_fault_fails("tensor.create"))
        writer->fd = open(writer->elements, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (writer->fd < 0)
        return refuse(writer->path, "create");
    writer->created = true;
    bool full = end > 0 && fallocate(writer->fd, 0, 0, (off_t)end) != 0 &&
                (errno == ENOSPC || errno == EDQUOT || errno == EFBIG);
    if (full || ftruncate(writer->fd, (off_t)end) != 0)
        return refuse(writer->path, "make room for it");
    return write_bytes(writer, 0, writer->before.data, zip ? 0 : writer->before.count);
}

static orth_status prepare(orth_tensor_writer *writer, const char *path,
                           const orth_tensor_entry *entries, int64_t count)
{
    bool zip = writer->format == ORTH_FORMAT_TORCH;
    ORTH_TRY(orth_path_format(&writer->path, "%s", path));
    ORTH_TRY(orth_path_format(&writer->partial, "%s.partial", path));
    ORTH_TRY(orth_path_format(&writer->elements, "%s%s.partial", path, zip ? ".data" : ""));
    ORTH_TRY(copy_entries(entries, count, &writer->table));
    return begin(writer);
}

static orth_status open_all(orth_tensor_writer *writer)
{
    ORTH_TRY(orth_agree(writer->comm, writer->rank == 0 ? create(writer) : ORTH_OK));
    orth_status status = ORTH_OK;
    if (writer->rank != 0) {
        writer->fd = open(writer->elements, O_RDWR | O_CLOEXEC);
        if (writer->fd < 0)
            status = refuse(writer->path, "open what rank 0 created");
    }
    return orth_agree(writer->comm, status);
}

orth_status orth_tensor_writer_open(const char *path, orth_tensor_format format,
                                    const orth_tensor_entry *entries, int64_t count, MPI_Comm comm,
                                    orth_tensor_writer **out)
{
    orth_tensor_writer *writer = NULL;
    orth_status status = ORTH_ALLOCATE(1, "tensor writer", &writer);
    if (status == ORTH_OK) {
        *writer = (orth_tensor_writer){.comm = comm, .format = format, .fd = -1};
        status = orth_mpi_status(MPI_Comm_rank(comm, &writer->rank), "MPI_Comm_rank");
    }
    if (status == ORTH_OK)
        status = prepare(writer, path, entries, count);
    status = orth_agree(comm, status);
    if (status == ORTH_OK)
        status = open_all(writer);
    if (status == ORTH_OK)
        *out = writer;
    else
        orth_tensor_writer_close(writer);
    return status;
}

/* ---- elements ---- */

static bool is_float(orth_tensor_type type)
{
    return type == ORTH_TENSOR_F16 || type == ORTH_TENSOR_BF16 || type == ORTH_TENSOR_F32 ||
           type == ORTH_TENSOR_F64;
}

static void store_f32(orth_tensor_type type, const float *in, int64_t count, void *out)
{
    double *wide = out;
    if (type == ORTH_TENSOR_F16)
        orth_f32_to_f16(in, count, out);
    else if (type == ORTH_TENSOR_BF16)
        orth_f32_to_bf16(in, count, out);
    else if (type == ORTH_TENSOR_F32)
        memcpy(out, in, (size_t)count * sizeof *in);
    else
        for (int64_t i = 0; i < count; i++)
            wide[i] = in[i];
}

static void store_i64(orth_tensor_type type, const int64_t *in, int64_t count, void *out)
{
    int64_t size = orth_tensor_type_size(type);
    for (int64_t i = 0; i < count; i++) {
        int64_t value = type == ORTH_TENSOR_BOOL ? in[i] != 0 : in[i];
        memcpy((char *)out + i * size, &value, (size_t)size); /* little-endian: the low bytes */
    }
}

/* What is to be written, and whether the tensor takes it. */
static orth_status check_range(const orth_tensor_writer *writer, int64_t index, int64_t first,
                               int64_t end, bool floats, const orth_record **out)
{
    const orth_record *record =
        index >= 0 && index < writer->table.count ? &writer->table.records[index] : NULL;
    if (!record || record->entry.kind != ORTH_ENTRY_TENSOR || first < 0 || first > end ||
        end > record->entry.count || is_float(record->entry.type) != floats)
        return orth_fail(ORTH_ERR_INTERNAL,
                         "%s: elements %lld to %lld of entry %lld are none of the kind; report it",
                         writer->path, (long long)first, (long long)end, (long long)index);
    *out = record;
    return ORTH_OK;
}

orth_status orth_tensor_write_f32(orth_tensor_writer *writer, int64_t index, int64_t begin,
                                  int64_t end, const float *values)
{
    const orth_record *record;
    double buffer[CHUNK];
    ORTH_TRY(check_range(writer, index, begin, end, true, &record));
    int64_t size = orth_tensor_type_size(record->entry.type);
    for (int64_t at = begin; at < end; at += CHUNK) {
        int64_t count = end - at < CHUNK ? end - at : CHUNK;
        store_f32(record->entry.type, values + (at - begin), count, buffer);
        ORTH_TRY(write_bytes(writer, record->place.offset + at * size, buffer, count * size));
    }
    writer->written += end - begin;
    return ORTH_OK;
}

orth_status orth_tensor_write_f64(orth_tensor_writer *writer, int64_t index, int64_t begin,
                                  int64_t end, const double *values)
{
    const orth_record *record;
    float rounded[CHUNK];
    ORTH_TRY(check_range(writer, index, begin, end, true, &record));
    if (record->entry.type == ORTH_TENSOR_F64) {
        writer->written += end - begin;
        return write_bytes(writer, record->place.offset + begin * 8, values, (end - begin) * 8);
    }
    for (int64_t at = begin; at < end; at += CHUNK) {
        int64_t count = end - at < CHUNK ? end - at : CHUNK;
        for (int64_t i = 0; i < count; i++)
            rounded[i] = (float)values[at - begin + i];
        ORTH_TRY(orth_tensor_write_f32(writer, index, at, at + count, rounded));
    }
    return ORTH_OK;
}

orth_status orth_tensor_write_i64(orth_tensor_writer *writer, int64_t index, int64_t begin,
                                  int64_t end, const int64_t *values)
{
    const orth_record *record;
    int64_t buffer[CHUNK];
    ORTH_TRY(check_range(writer, index, begin, end, false, &record));
    int64_t size = orth_tensor_type_size(record->entry.type);
    for (int64_t at = begin; at < end; at += CHUNK) {
        int64_t count = end - at < CHUNK ? end - at : CHUNK;
        store_i64(record->entry.type, values + (at - begin), count, buffer);
        ORTH_TRY(write_bytes(writer, record->place.offset + at * size, buffer, count * size));
    }
    writer->written += end - begin;
    return ORTH_OK;
}

/* ---- the end ---- */

static orth_status count_elements(const orth_tensor_writer *writer)
{
    int64_t written = writer->written, wanted = 0;
    for (int64_t i = 0; i < writer->table.count; i++)
        if (writer->table.records[i].entry.kind == ORTH_ENTRY_TENSOR)
            wanted += writer->table.records[i].entry.count;
    ORTH_TRY(orth_allreduce(&written, 1, MPI_INT64_T, MPI_SUM, writer->comm));
    if (written == wanted)
        return ORTH_OK;
    return orth_fail(ORTH_ERR_INTERNAL, "%s: %lld elements were written, not %lld; report it",
                     writer->path, (long long)written, (long long)wanted);
}

/* What this rank wrote is on the disk. */
static orth_status finish(orth_tensor_writer *writer)
{
    bool failed = orth_fault_fails("tensor.sync") || fsync(writer->fd) != 0;
    orth_status status = failed ? refuse(writer->path, "bring to the disk") : ORTH_OK;
    if (close(writer->fd) != 0 && status == ORTH_OK)
        status = refuse(writer->path, "write");
    writer->fd = -1;
    return status;
}

static orth_status publish(orth_tensor_writer *writer)
{
    if (writer->format == ORTH_FORMAT_TORCH) {
        ORTH_TRY(
            orth_torch_zip(writer->partial, writer->elements, &writer->table, &writer->before));
        unlink(writer->elements);
    }
    ORTH_TRY(orth_file_publish(writer->partial, writer->path));
    writer->committed = true;
    return ORTH_OK;
}

orth_status orth_tensor_writer_commit(orth_tensor_writer *writer)
{
    ORTH_TRY(count_elements(writer));
    ORTH_TRY(orth_agree(writer->comm, finish(writer)));
    return orth_agree(writer->comm, writer->rank == 0 ? publish(writer) : ORTH_OK);
}

void orth_tensor_writer_close(orth_tensor_writer *writer)
{
    if (!writer)
        return;
    if (writer->fd >= 0)
        close(writer->fd);
    if (writer->rank == 0 && writer->created && !writer->committed) {
        unlink(writer->partial);
        unlink(writer->elements);
    }
    orth_table_free(&writer->table);
    orth_free(writer->before.data);
    free(writer->path);
    free(writer->partial);
    free(writer->elements);
    orth_free(writer);
}
