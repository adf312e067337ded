#include "rows.h"

#include <orthant/base/memory.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>

#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- the list of files ---- */

typedef struct path_list {
    char *text; ///< paths one after another, each with its NUL
    int64_t bytes;
    int64_t count;
} path_list;

static orth_status append_path(path_list *list, const char *path)
{
    int64_t length = (int64_t)strlen(path) + 1;
    char *text = orth_realloc(list->text, (size_t)(list->bytes + length));
    if (!text)
        return orth_fail(ORTH_ERR_ENVIRONMENT, "out of memory listing data files; list fewer");
    memcpy(text + list->bytes, path, (size_t)length);
    list->text = text;
    list->bytes += length;
    list->count++;
    return ORTH_OK;
}

/* A folder that is not there holds no match; one that may not be read could. */
static int stop_if_forbidden(const char *folder, int code)
{
    (void)folder;
    return code == EACCES;
}

/* A name that exists is taken as it stands, also when it holds glob characters. */
static orth_status expand(const char *pattern, path_list *list)
{
    struct stat info;
    if (stat(pattern, &info) == 0 || !strpbrk(pattern, "*?["))
        return append_path(list, pattern);
    glob_t found;
    int result = glob(pattern, 0, stop_if_forbidden, &found);
    if (result == GLOB_NOMATCH)
        return orth_fail(ORTH_ERR_DATA, "%s: no file matches; check the pattern", pattern);
    if (result != 0)
        return orth_fail(ORTH_ERR_DATA,
                         "%s: cannot be expanded: a folder is not readable; check "
                         "its permissions",
                         pattern);
    orth_status status = ORTH_OK;
    for (size_t i = 0; status == ORTH_OK && i < found.gl_pathc; i++)
        status = append_path(list, found.gl_pathv[i]);
    globfree(&found);
    return status;
}

/* Rank 0 expands for all: one look at the folders, and one result. */
static orth_status list_files(const char *const *files, int64_t n_file, MPI_Comm comm,
                              path_list *list)
{
    int rank;
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    orth_status status = ORTH_OK;
    if (n_file == 0)
        status = orth_fail(ORTH_ERR_DATA, "no data files: the list is empty; name some");
    for (int64_t i = 0; rank == 0 && status == ORTH_OK && i < n_file; i++)
        status = expand(files[i], list);
    ORTH_TRY(orth_agree(comm, status));
    int64_t sizes[2] = {list->bytes, list->count};
    ORTH_TRY(orth_broadcast(sizes, 2, MPI_INT64_T, 0, comm));
    list->bytes = sizes[0];
    list->count = sizes[1];
    if (rank != 0) {
        list->text = orth_malloc((size_t)list->bytes);
        if (!list->text)
            status = orth_fail(ORTH_ERR_ENVIRONMENT, "out of memory listing data files; list "
                                                     "fewer");
    }
    ORTH_TRY(orth_agree(comm, status));
    return orth_broadcast(list->text, list->bytes, MPI_CHAR, 0, comm);
}

/* ---- one file ---- */

static orth_status check_layout(const char *path, const char *name, const orth_h5_layout *layout)
{
    if (layout->rank != 2)
        return orth_fail(ORTH_ERR_DATA,
                         "%s: dataset '%s' has %d dimension%s, expected 2 (tokens, d_model); "
                         "reshape it or set data.dataset",
                         path, name, layout->rank, layout->rank == 1 ? "" : "s");
    if (layout->type != ORTH_H5_FLOAT16 && layout->type != ORTH_H5_BFLOAT16 &&
        layout->type != ORTH_H5_FLOAT && layout->type != ORTH_H5_DOUBLE)
        return orth_fail(ORTH_ERR_DATA,
                         "%s: dataset '%s' has type %s; supported are float16, float32, float64 "
                         "and bfloat16 (uint16 with attribute dtype = \"bfloat16\"), in both byte "
                         "orders",
                         path, name, layout->type_name);
    if (layout->extent[1] == 0)
        return orth_fail(ORTH_ERR_DATA, "%s: dataset '%s' has width 0; check how it was written",
                         path, name);
    return ORTH_OK;
}

static void take_layout(const orth_h5_layout *layout, orth_table_file *file)
{
    file->rows = layout->extent[0];
    file->type = layout->type;
    file->element_size = layout->element_size;
    file->big_endian = layout->big_endian;
    file->chunk_rows = layout->chunk_rows;
    /* A table without rows has no place in its file, and needs none. */
    file->offset = file->rows == 0 ? 0 : layout->offset;
}

/* Open one file; it stays open only where HDF5 must read the rows. Collective; agreed. */
static orth_status open_file(orth_dataset *dataset, orth_table_file *file, const char *name,
                             int64_t *width)
{
    ORTH_TRY(orth_h5_open(file->path, ORTH_H5_READ_INDEPENDENT, ORTH_ERR_DATA, dataset->comm,
                          &file->h5));
    ORTH_TRY(orth_h5_dataset_open(file->h5, name, &file->set));
    const orth_h5_layout *layout = orth_h5_dataset_layout(file->set);
    ORTH_TRY(orth_agree(dataset->comm, check_layout(file->path, name, layout)));
    take_layout(layout, file);
    *width = layout->extent[1];
    if (file->offset < 0)
        return ORTH_OK;
    orth_h5_dataset_close(file->set);
    file->set = NULL;
    orth_h5_file *h5 = file->h5;
    file->h5 = NULL;
    return orth_h5_close(h5);
}

static orth_status open_files(orth_dataset *dataset, const char *name)
{
    dataset->plain = true;
    for (int64_t i = 0; i < dataset->n_file; i++) {
        orth_table_file *file = &dataset->files[i];
        int64_t width = 0;
        ORTH_TRY(open_file(dataset, file, name, &width));
        if (i == 0)
            dataset->d_model = width;
        if (width != dataset->d_model)
            return orth_fail(ORTH_ERR_DATA,
                             "%s: tokens have %lld values, but %lld in %s; use files of one width",
                             file->path, (long long)width, (long long)dataset->d_model,
                             dataset->files[0].path);
        file->first = dataset->rows;
        dataset->rows += file->rows;
        dataset->plain = dataset->plain && file->offset >= 0;
        int64_t row_bytes = width * file->element_size;
        if (row_bytes > dataset->stride)
            dataset->stride = row_bytes;
    }
    if (dataset->rows == 0)
        return orth_fail(ORTH_ERR_DATA, "%s: dataset '%s' has no rows; name files with tokens",
                         dataset->files[0].path, name);
    return ORTH_OK;
}

/* ---- the table ---- */

static orth_status create_table(const char *const *files, int64_t n_file, orth_dataset *dataset)
{
    path_list list = {0};
    orth_status status = list_files(files, n_file, dataset->comm, &list);
    dataset->paths = list.text;
    if (status != ORTH_OK)
        return status;
    status = ORTH_ALLOCATE(list.count, "list of data files", &dataset->files);
    ORTH_TRY(orth_agree(dataset->comm, status));
    dataset->n_file = list.count;
    char *path = list.text;
    for (int64_t i = 0; i < list.count; i++, path += strlen(path) + 1)
        dataset->files[i].path = path;
    return ORTH_OK;
}

orth_status orth_dataset_open(const char *const *files, int64_t n_file, const char *dataset,
                              MPI_Comm comm, orth_dataset **out)
{
    orth_dataset *table = NULL;
    orth_status status = ORTH_ALLOCATE(1, "data table", &table);
    if (status == ORTH_OK)
        table->comm = MPI_COMM_NULL;
    status = orth_agree(comm, status);
    if (status == ORTH_OK)
        status = orth_mpi_status(ORTH_WAIT(MPI_Comm_dup(comm, &table->comm)), "MPI_Comm_dup");
    if (status == ORTH_OK)
        status = create_table(files, n_file, table);
    if (status == ORTH_OK)
        status = open_files(table, dataset);
    if (status == ORTH_OK) {
        *out = table;
        return ORTH_OK;
    }
    orth_dataset_close(table);
    return status;
}

void orth_dataset_close(orth_dataset *dataset)
{
    if (!dataset)
        return;
    for (int64_t i = 0; i < dataset->n_file; i++) {
        orth_h5_dataset_close(dataset->files[i].set);
        orth_h5_close(dataset->files[i].h5);
    }
    orth_rows_free(dataset->reader);
    orth_free(dataset->files);
    free(dataset->paths);
    if (dataset->comm != MPI_COMM_NULL)
        MPI_Comm_free(&dataset->comm);
    orth_free(dataset);
}

int64_t orth_dataset_rows(const orth_dataset *dataset)
{
    return dataset->rows;
}

int64_t orth_dataset_width(const orth_dataset *dataset)
{
    return dataset->d_model;
}

int64_t orth_dataset_row_bytes(const orth_dataset *dataset)
{
    return dataset->stride;
}

int64_t orth_dataset_files(const orth_dataset *dataset)
{
    return dataset->n_file;
}

const char *orth_dataset_file(const orth_dataset *dataset, int64_t index)
{
    return dataset->files[index].path;
}

const char *orth_dataset_locate(const orth_dataset *dataset, int64_t row, int64_t *row_in_file)
{
    const orth_table_file *file = orth_table_find(dataset, row);
    *row_in_file = row - file->first;
    return file->path;
}

/* ---- reading ---- */

typedef struct float_rows {
    const orth_dataset *dataset;
    float *out; ///< (n_row, d_model)
} float_rows;

static void convert_row(void *context, int64_t index, int64_t row, const unsigned char *raw)
{
    const float_rows *to = context;
    int64_t width = to->dataset->d_model;
    orth_rows_convert(orth_table_find(to->dataset, row), raw, width, to->out + index * width);
}

orth_status orth_dataset_read(orth_dataset *dataset, const int64_t *rows, int64_t n_row, float *out)
{
    enum { MOST = 4096 };
    if (!dataset->reader)
        ORTH_TRY(orth_rows_create(dataset, MOST, &dataset->reader));
    for (int64_t i = 0; i < n_row; i++)
        if (rows[i] < 0 || rows[i] >= dataset->rows)
            return orth_fail(ORTH_ERR_INTERNAL, "row %lld of %lld was asked for; report it",
                             (long long)rows[i], (long long)dataset->rows);
    for (int64_t at = 0; at < n_row; at += MOST) {
        int64_t count = n_row - at < MOST ? n_row - at : MOST;
        float_rows to = {dataset, out + at * dataset->d_model};
        ORTH_TRY(orth_rows_status(
            dataset, orth_rows_fetch(dataset->reader, rows + at, count, convert_row, &to)));
    }
    return ORTH_OK;
}

/* ---- fingerprint ---- */

enum { SAMPLED = 256 };

typedef struct row_hashes {
    const orth_dataset *dataset;
    uint64_t hash[SAMPLED];
} row_hashes;

/* FNV-1a over 64 bits. */
static uint64_t hash_bytes(uint64_t hash, const unsigned char *bytes, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}

static const uint64_t hash_start = 0xcbf29ce484222325u;

/* Of the values in little-endian order, whatever the file's. */
static void hash_row(void *context, int64_t index, int64_t row, const unsigned char *raw)
{
    row_hashes *to = context;
    const orth_table_file *file = orth_table_find(to->dataset, row);
    uint64_t hash = hash_start;
    for (int64_t i = 0; i < to->dataset->d_model; i++) {
        unsigned char value[8];
        const unsigned char *from = raw + i * file->element_size;
        if (file->big_endian) {
            orth_swap_bytes(from, 1, file->element_size, value);
            from = value;
        }
        hash = hash_bytes(hash, from, file->element_size);
    }
    to->hash[index] = hash;
}

static orth_status hash_sample(orth_dataset *dataset, uint64_t *out)
{
    row_hashes hashes = {.dataset = dataset};
    int64_t rows[SAMPLED], count = dataset->rows < SAMPLED ? dataset->rows : SAMPLED;
    for (int64_t i = 0; i < count; i++) /* the first and the last row, and evenly between */
        rows[i] = count == 1 ? 0 : (int64_t)((__int128)i * (dataset->rows - 1) / (count - 1));
    orth_rows *reader = NULL;
    ORTH_TRY(orth_rows_create(dataset, count, &reader));
    orth_status status =
        orth_rows_status(dataset, orth_rows_fetch(reader, rows, count, hash_row, &hashes));
    orth_rows_free(reader);
    ORTH_TRY(status);
    *out = hash_bytes(hash_start, (const unsigned char *)hashes.hash,
                      count * (int64_t)sizeof *hashes.hash);
    return ORTH_OK;
}

orth_status orth_dataset_fingerprint(orth_dataset *dataset, orth_fingerprint *out)
{
    int rank;
    uint64_t hash = 0;
    ORTH_MPI(MPI_Comm_rank(dataset->comm, &rank));
    orth_status status = rank == 0 ? hash_sample(dataset, &hash) : ORTH_OK;
    ORTH_TRY(orth_agree(dataset->comm, status));
    ORTH_TRY(orth_broadcast(&hash, 1, MPI_UINT64_T, 0, dataset->comm));
    *out = (orth_fingerprint){dataset->rows, dataset->d_model, hash};
    return ORTH_OK;
}
