#include "tensor_parts.h"

#include <orthant/base/memory.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct orth_tensor_file {
    char *path;
    orth_status fault;
    orth_tensor_format format;
    orth_tensor_type raw_type; ///< of a raw file: what the caller says of it
    int64_t raw_width;
    orth_source source;
    orth_table table;
};

/* ---- which format ---- */

enum { FIRST_BYTES = 16, UNKNOWN = -1, OLD_TORCH = -2 };

/* By the first bytes, of which there are `count`. A zip is a .pt or an .npz: told apart later. */
static int recognise(const unsigned char *b, int64_t count)
{
    static const unsigned char old[] = {0x80, 0x02, 0x8A, 0x0A, 0x6C, 0xFC, 0x9C, 0x46, 0xF9};
    if (count >= 4 && memcmp(b, "PK\3\4", 4) == 0)
        return ORTH_FORMAT_NPZ;
    if (count >= 4 && memcmp(b, "PK\5\6", 4) == 0)
        return ORTH_FORMAT_NPZ; /* an empty one */
    if (count >= 6 && memcmp(b, "\x93NUMPY", 6) == 0)
        return ORTH_FORMAT_NPY;
    if (count >= (int64_t)sizeof old && memcmp(b, old, sizeof old) == 0)
        return OLD_TORCH;
    /* A length below 2^32, and a JSON object. */
    if (count >= 10 && b[4] == 0 && b[5] == 0 && b[6] == 0 && b[7] == 0 && b[8] == '{')
        return ORTH_FORMAT_SAFETENSORS;
    return UNKNOWN;
}

static orth_status look(const char *path, int *out)
{
    orth_source source;
    unsigned char first[FIRST_BYTES] = {0};
    ORTH_TRY(orth_source_open(path, false, &source));
    int64_t count = source.bytes < FIRST_BYTES ? source.bytes : FIRST_BYTES;
    orth_status status = orth_source_read(&source, -1, 0, count, first);
    orth_source_close(&source);
    *out = recognise(first, count);
    return status;
}

orth_status orth_tensor_file_recognise(const char *path, MPI_Comm comm, bool *out)
{
    int rank, format = UNKNOWN;
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    orth_status status = rank == 0 ? look(path, &format) : ORTH_OK;
    if (status != ORTH_OK && status != ORTH_ERR_ENVIRONMENT) {
        orth_error_clear();
        status = ORTH_OK;
    }
    ORTH_TRY(orth_agree(comm, status));
    ORTH_TRY(orth_broadcast(&format, 1, MPI_INT, 0, comm));
    *out = format != UNKNOWN;
    return ORTH_OK;
}

const char *orth_tensor_format_name(orth_tensor_format format)
{
    static const char *const names[] = {"safetensors", "PyTorch (zip)", "npy", "npz", "raw"};
    return names[format];
}

/* ---- opening ---- */

static orth_status check_format(const char *path, int format)
{
    if (format == OLD_TORCH)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%.1000s: is of the format of PyTorch before 1.6; load it and save it "
                         "again with a newer PyTorch",
                         path);
    if (format == UNKNOWN)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%.1000s: is neither safetensors nor .pt, .npy or .npz; check the path",
                         path);
    return ORTH_OK;
}

static orth_status raw_table(orth_tensor_file *file)
{
    int64_t row;
    if (file->raw_width < 1 ||
        __builtin_mul_overflow(file->raw_width, orth_tensor_type_size(file->raw_type), &row))
        return orth_fail(ORTH_ERR_CORRUPT, "%.1000s: no row has %lld values; check width and type",
                         file->path, (long long)file->raw_width);
    ORTH_TRY(orth_source_open(file->path, false, &file->source));
    int64_t bytes = file->source.bytes;
    if (bytes % row)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%.1000s: %lld bytes are no number of rows of %lld values of type %s; "
                         "check width and type",
                         file->path, (long long)bytes, (long long)file->raw_width,
                         orth_tensor_type_name(file->raw_type));
    orth_record record = {.entry = {.kind = ORTH_ENTRY_TENSOR,
                                    .type = file->raw_type,
                                    .rank = 2,
                                    .shape = {bytes / row, file->raw_width}},
                          .place.member = -1};
    orth_shape_strides(2, record.entry.shape, record.place.stride);
    return orth_table_add(&file->table, "", NULL, &record);
}

/* Rank 0: what it is, and what it holds. */
static orth_status read_table(orth_tensor_file *file)
{
    if (file->format == ORTH_FORMAT_RAW)
        return raw_table(file);
    static orth_status (*const readers[])(orth_source *, orth_table *) = {
        orth_safetensors_table, orth_torch_table, orth_npy_table, orth_npz_table};
    int format = UNKNOWN;
    ORTH_TRY(look(file->path, &format));
    ORTH_TRY(check_format(file->path, format));
    ORTH_TRY(orth_source_open(file->path, format == ORTH_FORMAT_NPZ, &file->source));
    if (format == ORTH_FORMAT_NPZ && orth_torch_recognise(&file->source))
        format = ORTH_FORMAT_TORCH;
    file->format = (orth_tensor_format)format;
    return readers[format](&file->source, &file->table);
}

/* The others open what rank 0 has read. */
static orth_status follow(orth_tensor_file *file, int rank)
{
    int64_t bytes = file->source.bytes;
    bool zip = file->format == ORTH_FORMAT_TORCH || file->format == ORTH_FORMAT_NPZ;
    if (rank == 0)
        return ORTH_OK;
    file->source = (orth_source){.fd = -1, .open = -1};
    ORTH_TRY(orth_source_open(file->path, zip, &file->source));
    if (file->source.bytes == bytes)
        return ORTH_OK;
    return orth_fail(ORTH_ERR_CORRUPT,
                     "%.1000s: rank 0 and rank %d see files of different length; use a file "
                     "system that all nodes share",
                     file->path, rank);
}

static orth_status open_on_all(orth_tensor_file *file, MPI_Comm comm)
{
    int rank;
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    ORTH_TRY(orth_agree(comm, rank == 0 ? read_table(file) : ORTH_OK));
    int64_t shared[2] = {(int64_t)file->format, file->source.bytes};
    ORTH_TRY(orth_broadcast(shared, 2, MPI_INT64_T, 0, comm));
    file->format = (orth_tensor_format)shared[0];
    file->source.bytes = shared[1];
    ORTH_TRY(orth_table_share(&file->table, comm));
    return orth_agree(comm, follow(file, rank));
}

/* `like` has the format and what else is known before. */
static orth_status open_like(const char *path, const orth_tensor_file *like, MPI_Comm comm,
                             orth_tensor_file **out)
{
    orth_tensor_file *file = NULL;
    orth_status status = ORTH_ALLOCATE(1, "tensor file", &file);
    if (status == ORTH_OK) {
        *file = *like;
        file->source = (orth_source){.fd = -1, .open = -1};
        file->path = orth_strdup(path);
        if (!file->path)
            status = orth_fail(ORTH_ERR_ENVIRONMENT,
                               "%.1000s: out of memory for its name; free memory", path);
    }
    status = orth_agree(comm, status);
    if (status == ORTH_OK)
        status = open_on_all(file, comm);
    if (status == ORTH_OK)
        *out = file;
    else
        orth_tensor_file_close(file);
    if (status == ORTH_ERR_CORRUPT || (status == ORTH_ERR_USAGE && like->fault == ORTH_ERR_DATA))
        return like->fault;
    return status;
}

orth_status orth_tensor_file_open(const char *path, orth_status fault, MPI_Comm comm,
                                  orth_tensor_file **out)
{
    return open_like(path, &(orth_tensor_file){.fault = fault}, comm, out);
}

orth_status orth_tensor_file_open_raw(const char *path, orth_tensor_type type, int64_t width,
                                      orth_status fault, MPI_Comm comm, orth_tensor_file **out)
{
    const orth_tensor_file like = {
        .fault = fault, .format = ORTH_FORMAT_RAW, .raw_type = type, .raw_width = width};
    return open_like(path, &like, comm, out);
}

void orth_tensor_file_close(orth_tensor_file *file)
{
    if (!file)
        return;
    orth_source_close(&file->source);
    orth_table_free(&file->table);
    free(file->path);
    orth_free(file);
}

/* ---- what it holds ---- */

const char *orth_tensor_file_path(const orth_tensor_file *file)
{
    return file->path;
}

orth_tensor_format orth_tensor_file_format(const orth_tensor_file *file)
{
    return file->format;
}

int64_t orth_tensor_file_count(const orth_tensor_file *file)
{
    return file->table.count;
}

const orth_tensor_entry *orth_tensor_file_entry(const orth_tensor_file *file, int64_t index)
{
    return &file->table.records[index].entry;
}

const orth_tensor_entry *orth_tensor_file_find(const orth_tensor_file *file, const char *name)
{
    for (int64_t i = 0; i < file->table.count; i++)
        if (strcmp(file->table.records[i].entry.name, name) == 0)
            return &file->table.records[i].entry;
    return NULL;
}

char *orth_tensor_shape_text(const orth_tensor_entry *entry, char out[192])
{
    int length = snprintf(out, 192, "[");
    for (int i = 0; i < entry->rank; i++)
        length += snprintf(out + length, (size_t)(192 - length), "%s%lld", i ? ", " : "",
                           (long long)entry->shape[i]);
    snprintf(out + length, (size_t)(192 - length), "]");
    return out;
}

/* ---- elements ---- */

/* A number that is no tensor. */
static orth_status read_number(const orth_tensor_file *file, const orth_tensor_entry *entry,
                               orth_tensor_type to, void *out)
{
    bool real = entry->kind == ORTH_ENTRY_REAL;
    if (!(real && to != ORTH_TENSOR_I64) && entry->kind != ORTH_ENTRY_INTEGER &&
        entry->kind != ORTH_ENTRY_BOOL)
        return orth_fail(file->fault, "%.1000s: '%.200s' is no %s; check the file", file->path,
                         entry->name, to == ORTH_TENSOR_I64 ? "integer" : "number");
    const void *from = real ? (const void *)&entry->real : (const void *)&entry->integer;
    orth_elements_convert(real ? ORTH_TENSOR_F64 : ORTH_TENSOR_I64, from, 1, to, out);
    return ORTH_OK;
}

static orth_status read_elements(orth_tensor_file *file, const orth_tensor_entry *entry,
                                 int64_t begin, int64_t end, orth_tensor_type to, void *out)
{
    if (begin < 0 || end > entry->count || begin > end)
        return orth_fail(ORTH_ERR_INTERNAL,
                         "%.1000s: '%.200s': elements that it has not; report it", file->path,
                         entry->name);
    if (begin == end)
        return ORTH_OK;
    if (entry->kind != ORTH_ENTRY_TENSOR)
        return read_number(file, entry, to, out);
    /* The entry is the beginning of its record. */
    orth_status status =
        orth_elements_read(&file->source, (const orth_record *)entry, begin, end, to, out);
    return status == ORTH_ERR_CORRUPT ? file->fault : status;
}

orth_status orth_tensor_read_f32(orth_tensor_file *file, const orth_tensor_entry *entry,
                                 int64_t begin, int64_t end, float *out)
{
    return read_elements(file, entry, begin, end, ORTH_TENSOR_F32, out);
}

orth_status orth_tensor_read_f64(orth_tensor_file *file, const orth_tensor_entry *entry,
                                 int64_t begin, int64_t end, double *out)
{
    return read_elements(file, entry, begin, end, ORTH_TENSOR_F64, out);
}

orth_status orth_tensor_read_i64(orth_tensor_file *file, const orth_tensor_entry *entry,
                                 int64_t begin, int64_t end, int64_t *out)
{
    return read_elements(file, entry, begin, end, ORTH_TENSOR_I64, out);
}
