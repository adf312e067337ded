#include <orthant/eval/code_file.h>

#include <orthant/base/memory.h>
#include <orthant/io/h5.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Elements of a chunk of the datasets that grow, the bytes of both that an entry takes at most, and
 * what HDF5's own records of a chunk and of a file stay below. */
enum { CHUNK = 1 << 16, ENTRY_BYTES = 12, CHUNK_RECORDS = 512, FILE_RECORDS = 1 << 20 };

/* Entries of the tokens that this rank writes. */
typedef struct entries {
    int64_t capacity;
    uint32_t *from_latent; ///< as they arrive, shard after shard: index in the shard
    float *from_value;
    int64_t *latent; ///< token after token: global
    float *value;
} entries;

struct orth_code_file {
    const orth_sae *sae;
    char *path;
    char *partial;
    orth_h5_file *h5;
    orth_h5_dataset *indptr, *latent, *value;
    int64_t rows;     ///< of the table
    int64_t written;  ///< entries, over all ranks
    int64_t judged;   ///< tokens of a batch that a rank writes at most
    int64_t *counts;  ///< (tokens of the group) entries of each on the own shard
    int64_t *arrived; ///< (n_shard, tokens written) entries of each, from each shard
    int64_t *end;     ///< (judged) where each written token's entries end
    int64_t *sending, *receiving, *at; ///< (n_shard) scratch
    entries entries;
};

/* ---- creating ---- */

static orth_status make_paths(const char *path, orth_code_file *file)
{
    size_t length = strlen(path) + sizeof ".partial";
    file->path = orth_strdup(path);
    file->partial = orth_malloc(length);
    if (!file->path || !file->partial)
        return orth_fail(ORTH_ERR_ENVIRONMENT, "%s: out of memory for its name; free memory", path);
    snprintf(file->partial, length, "%s.partial", path);
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return orth_fail(ORTH_ERR_STORAGE, "%s: is no plain file; give the name of a file", path);
    return ORTH_OK;
}

static orth_status allocate(const char *path, int64_t batch, orth_code_file *file)
{
    int64_t shards = file->sae->grid->n_shard;
    int64_t group = orth_partition_largest(batch, file->sae->grid->n_group);
    file->judged = orth_partition_largest(group, shards);
    ORTH_TRY(make_paths(path, file));
    ORTH_TRY(ORTH_ALLOCATE(group, "counts of codes", &file->counts));
    ORTH_TRY(ORTH_ALLOCATE(shards * file->judged, "counts of codes", &file->arrived));
    ORTH_TRY(ORTH_ALLOCATE(file->judged, "places of codes", &file->end));
    ORTH_TRY(ORTH_ALLOCATE(shards, "counts of codes", &file->sending));
    ORTH_TRY(ORTH_ALLOCATE(shards, "counts of codes", &file->receiving));
    return ORTH_ALLOCATE(shards, "places of codes", &file->at);
}

/* Make sure of the room for `count` entries before anything refers to it: HDF5 cannot close a file
 * whose records it fails to write. */
static orth_status make_room(orth_code_file *file, int64_t count)
{
    int64_t chunks = orth_partition_largest(count, CHUNK);
    int64_t bytes = FILE_RECORDS + 8 * (file->rows + 1) +
                    chunks * ((int64_t)CHUNK * ENTRY_BYTES + CHUNK_RECORDS);
    return orth_h5_reserve(file->h5, bytes);
}

static orth_status create_datasets(orth_code_file *file, const char *model)
{
    const orth_sae *sae = file->sae;
    int64_t extent[1] = {file->rows + 1}, zero = 0;
    orth_h5_type index = sae->recipe.n_latent <= INT32_MAX ? ORTH_H5_INT32 : ORTH_H5_INT64;
    ORTH_TRY(orth_h5_create(file->partial, sae->grid->world, &file->h5));
    ORTH_TRY(make_room(file, 0));
    orth_h5_file *h5 = file->h5;
    ORTH_TRY(orth_h5_dataset_create(h5, "indptr", ORTH_H5_INT64, 1, extent, &file->indptr));
    ORTH_TRY(orth_h5_dataset_create_growing(h5, "latent", index, CHUNK, &file->latent));
    ORTH_TRY(orth_h5_dataset_create_growing(h5, "value", ORTH_H5_FLOAT, CHUNK, &file->value));
    ORTH_TRY(orth_h5_attribute_write_int64(h5, "/", "n_latent", sae->recipe.n_latent));
    ORTH_TRY(orth_h5_attribute_write_int64(h5, "/", "d_model", sae->d_model));
    ORTH_TRY(orth_h5_attribute_write_text(h5, "/", "model", model));
    int64_t first = sae->grid->rank == 0;
    return orth_agree(sae->grid->world,
                      orth_h5_write(file->indptr, 0, first, ORTH_H5_INT64, &zero));
}

orth_status orth_code_file_create(const char *path, const orth_sae *sae, const char *model,
                                  int64_t rows, int64_t batch, orth_code_file **out)
{
    orth_code_file *file = NULL;
    orth_status status = ORTH_ALLOCATE(1, "code file", &file);
    if (status == ORTH_OK) {
        file->sae = sae;
        file->rows = rows;
        status = allocate(path, batch, file);
    }
    status = orth_agree(sae->grid->world, status);
    if (status == ORTH_OK)
        status = create_datasets(file, model);
    if (status == ORTH_OK)
        *out = file;
    else if (file)
        orth_code_file_close(file, status);
    return status;
}

/* ---- a batch ---- */

static orth_status reserve(entries *e, int64_t count)
{
    if (count <= e->capacity)
        return ORTH_OK;
    int64_t capacity = count + count / 4 + 1024;
    void *old[] = {e->from_latent, e->from_value, e->latent, e->value};
    for (size_t i = 0; i < sizeof old / sizeof *old; i++)
        orth_free(old[i]);
    *e = (entries){0};
    ORTH_TRY(ORTH_ALLOCATE(capacity, "codes", &e->from_latent));
    ORTH_TRY(ORTH_ALLOCATE(capacity, "codes", &e->from_value));
    ORTH_TRY(ORTH_ALLOCATE(capacity, "codes", &e->latent));
    ORTH_TRY(ORTH_ALLOCATE(capacity, "codes", &e->value));
    e->capacity = capacity;
    return ORTH_OK;
}

/* Tell every rank of the group how many entries its tokens have here, and learn the same of the
 * own tokens `part`. Sets sending and receiving to numbers of entries. */
static orth_status exchange_counts(orth_code_file *file, const orth_code *code, orth_range part)
{
    const orth_grid *grid = file->sae->grid;
    int64_t n = orth_range_size(part);
    for (int64_t t = 0; t < code->n_token; t++)
        file->counts[t] = code->start[t + 1] - code->start[t];
    for (int s = 0; s < grid->n_shard; s++) {
        file->sending[s] = orth_range_size(orth_partition(code->n_token, grid->n_shard, s));
        file->receiving[s] = n;
    }
    ORTH_TRY(orth_alltoall(file->counts, file->sending, file->arrived, file->receiving,
                           sizeof *file->counts, grid->group));
    for (int s = 0; s < grid->n_shard; s++) {
        orth_range its = orth_partition(code->n_token, grid->n_shard, s);
        file->sending[s] = code->start[its.end] - code->start[its.begin];
        file->receiving[s] = 0;
        for (int64_t i = 0; i < n; i++)
            file->receiving[s] += file->arrived[s * n + i];
    }
    return ORTH_OK;
}

/* Shards hold ascending ranges of latents: a token's entries are its pieces, shard after shard. */
static void merge(orth_code_file *file, int64_t n)
{
    const orth_grid *grid = file->sae->grid;
    entries *e = &file->entries;
    int64_t to = 0, from = 0;
    for (int s = 0; s < grid->n_shard; s++) {
        file->at[s] = from;
        from += file->receiving[s];
    }
    for (int64_t i = 0; i < n; i++) {
        for (int s = 0; s < grid->n_shard; s++) {
            int64_t first = orth_partition(file->sae->recipe.n_latent, grid->n_shard, s).begin;
            for (int64_t k = 0; k < file->arrived[s * n + i]; k++, file->at[s]++) {
                e->latent[to] = first + (int64_t)e->from_latent[file->at[s]];
                e->value[to++] = e->from_value[file->at[s]];
            }
        }
        file->end[i] = to;
    }
}

/* Grow the file by `total` entries over all ranks. */
static orth_status grow(orth_code_file *file, int64_t total)
{
    ORTH_TRY(make_room(file, file->written + total));
    ORTH_TRY(orth_h5_dataset_resize(file->latent, file->written + total));
    return orth_h5_dataset_resize(file->value, file->written + total);
}

/* The own slab: `n` tokens from row `row` on, their entries from place `offset` on. Local. */
static orth_status write_slab(orth_code_file *file, int64_t row, int64_t n, int64_t offset)
{
    int64_t count = n > 0 ? file->end[n - 1] : 0;
    for (int64_t i = 0; i < n; i++)
        file->end[i] += offset;
    ORTH_TRY(orth_h5_write(file->indptr, row + 1, row + 1 + n, ORTH_H5_INT64, file->end));
    ORTH_TRY(
        orth_h5_write(file->latent, offset, offset + count, ORTH_H5_INT64, file->entries.latent));
    return orth_h5_write(file->value, offset, offset + count, ORTH_H5_FLOAT, file->entries.value);
}

orth_status orth_code_file_add(orth_code_file *file, const orth_workspace *w, int64_t first_row)
{
    const orth_grid *grid = file->sae->grid;
    const orth_code *code = &w->code;
    entries *e = &file->entries;
    orth_range part = orth_partition(code->n_token, grid->n_shard, grid->shard_index);
    ORTH_TRY(exchange_counts(file, code, part));
    int64_t count = 0, before = 0, total;
    for (int s = 0; s < grid->n_shard; s++)
        count += file->receiving[s];
    ORTH_TRY(orth_agree(grid->world, reserve(e, count)));
    ORTH_TRY(orth_alltoall(code->latent, file->sending, e->from_latent, file->receiving,
                           sizeof *code->latent, grid->group));
    ORTH_TRY(orth_alltoall(code->value, file->sending, e->from_value, file->receiving,
                           sizeof *code->value, grid->group));
    merge(file, orth_range_size(part));
    /* Ranks in order hold the batch's tokens in order. */
    ORTH_MPI(MPI_Exscan(&count, &before, 1, MPI_INT64_T, MPI_SUM, grid->world));
    if (grid->rank == 0)
        before = 0;
    total = count;
    ORTH_TRY(orth_allreduce(&total, 1, MPI_INT64_T, MPI_SUM, grid->world));
    ORTH_TRY(grow(file, total));
    orth_status status = write_slab(file, first_row + w->batch.first_token + part.begin,
                                    orth_range_size(part), file->written + before);
    file->written += total;
    return orth_agree(grid->world, status);
}

int64_t orth_code_file_entries(const orth_code_file *file)
{
    return file->written;
}

/* ---- closing ---- */

static orth_status name_file(const orth_code_file *file)
{
    if (rename(file->partial, file->path) == 0)
        return ORTH_OK;
    return orth_fail(ORTH_ERR_STORAGE, "%s: cannot rename %s to it: %s; check the folder",
                     file->path, file->partial, strerror(errno));
}

static void free_all(orth_code_file *file)
{
    void *blocks[] = {file->counts,
                      file->arrived,
                      file->end,
                      file->sending,
                      file->receiving,
                      file->at,
                      file->entries.from_latent,
                      file->entries.from_value,
                      file->entries.latent,
                      file->entries.value};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        orth_free(blocks[i]);
    free(file->path);
    free(file->partial);
    orth_free(file);
}

orth_status orth_code_file_close(orth_code_file *file, orth_status failed)
{
    if (!file)
        return failed;
    const orth_grid *grid = file->sae->grid;
    bool opened = file->h5 != NULL;
    orth_h5_dataset_close(file->value);
    orth_h5_dataset_close(file->latent);
    orth_h5_dataset_close(file->indptr);
    orth_status status = failed, closed = orth_h5_close(file->h5);
    if (status == ORTH_OK)
        status = closed;
    if (status == ORTH_OK)
        status = orth_agree(grid->world, grid->rank == 0 ? name_file(file) : ORTH_OK);
    if (status != ORTH_OK && opened && grid->rank == 0)
        unlink(file->partial);
    free_all(file);
    return status;
}
