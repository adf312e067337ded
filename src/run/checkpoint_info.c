/* What a checkpoint holds besides its arrays. */
#include "checkpoint_parts.h"

#include <orthant/base/memory.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A configuration is some kilobytes: a length beyond this is damage. */
enum { MAX_TEXT = 16 << 20 };

static orth_status read_mark(orth_h5_file *file, bool *out)
{
    char format[64] = "";
    bool there = false;
    ORTH_TRY(orth_h5_attribute_exists(file, "/", "format", &there));
    if (there)
        ORTH_TRY(orth_h5_attribute_read_text(file, "/", "format", format, sizeof format));
    *out = strcmp(format, ORTH_CHECKPOINT_FORMAT) == 0;
    return ORTH_OK;
}

orth_status orth_checkpoint_recognise(const char *path, MPI_Comm comm, bool *out)
{
    orth_h5_file *file = NULL;
    ORTH_TRY(orth_h5_open(path, ORTH_H5_READ, ORTH_ERR_DATA, comm, &file));
    orth_status status = read_mark(file, out);
    orth_status closed = orth_h5_close(file);
    return status == ORTH_OK ? closed : status;
}

static orth_status read_format(orth_h5_file *file, orth_checkpoint_info *info, bool *newer)
{
    const char *path = orth_h5_path(file);
    bool marked = false;
    ORTH_TRY(read_mark(file, &marked));
    if (!marked)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%s: not an Orthant checkpoint (attribute format is not \"%s\"); give a "
                         "file from a run's checkpoints folder",
                         path, ORTH_CHECKPOINT_FORMAT);
    ORTH_TRY(orth_h5_attribute_read_int64(file, "/", "format_version", &info->format_version));
    *newer = info->format_version > ORTH_CHECKPOINT_FORMAT_VERSION;
    if (*newer)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%s: checkpoint of format version %lld, this program reads up to version "
                         "%d; use the newer program that wrote it",
                         path, (long long)info->format_version, ORTH_CHECKPOINT_FORMAT_VERSION);
    if (info->format_version < 1)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%s: format version %lld does not exist; use another checkpoint", path,
                         (long long)info->format_version);
    return ORTH_OK;
}

static orth_status read_attributes(orth_h5_file *file, orth_checkpoint_info *info)
{
    int64_t ranks, n_group, n_shard, threads;
    struct {
        const char *name;
        int64_t *value;
    } numbers[] = {{"step", &info->step},
                   {"tokens_seen", &info->tokens_seen},
                   {"n_latent", &info->n_latent},
                   {"d_model", &info->d_model},
                   {"ranks", &ranks},
                   {"n_group", &n_group},
                   {"n_shard", &n_shard},
                   {"threads", &threads}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        ORTH_TRY(orth_h5_attribute_read_int64(file, "/", numbers[i].name, numbers[i].value));
    info->ranks = (int)ranks;
    info->n_group = (int)n_group;
    info->n_shard = (int)n_shard;
    info->threads = (int)threads;
    ORTH_TRY(orth_h5_attribute_read_text(file, "/", "isa", info->isa, sizeof info->isa));
    ORTH_TRY(orth_h5_attribute_read_text(file, "/", "libraries", info->libraries,
                                         sizeof info->libraries));
    ORTH_TRY(orth_h5_attribute_read_text(file, "/", "program_version", info->program_version,
                                         sizeof info->program_version));
    if (info->step < 0 || info->n_latent < 1 || info->d_model < 1)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%s: step %lld, n_latent %lld, d_model %lld are no sizes of a model; use "
                         "another checkpoint",
                         orth_h5_path(file), (long long)info->step, (long long)info->n_latent,
                         (long long)info->d_model);
    ORTH_TRY(orth_h5_exists(file, "/model/threshold", &info->has_threshold));
    ORTH_TRY(orth_h5_exists(file, "/optimizer", &info->has_optimizer));
    return orth_h5_exists(file, "/ema", &info->has_average);
}

/* A vector that every rank reads whole: `bytes` of it into `out`. */
static orth_status read_vector(orth_h5_file *file, const char *name, orth_h5_type type,
                               int64_t element_size, int64_t length, MPI_Comm comm, void *out)
{
    orth_checkpoint_table one = {.count = 0};
    orth_checkpoint_list_whole(&one, name, type, element_size, length, NULL);
    orth_checkpoint_reader reader;
    ORTH_TRY(orth_checkpoint_reader_open(file, &one.items[0], comm, &reader));
    orth_status status =
        orth_checkpoint_reader_units(&reader, 0, orth_checkpoint_units(&reader.array),
                                     (orth_range){0, reader.array.extent[0]}, out);
    orth_checkpoint_reader_close(&reader);
    return orth_agree(comm, status);
}

/* A text of any length, owned by the caller (free). */
static orth_status read_text(orth_h5_file *file, const char *name, MPI_Comm comm, char **out)
{
    orth_checkpoint_table one = {.count = 0};
    orth_checkpoint_list_whole(&one, name, ORTH_H5_UINT8, 1, -1, NULL);
    orth_checkpoint_reader reader;
    ORTH_TRY(orth_checkpoint_reader_open(file, &one.items[0], comm, &reader));
    int64_t length = reader.array.extent[0];
    char *text = NULL;
    orth_status status = ORTH_OK;
    if (length < 1 || length > MAX_TEXT)
        status = orth_fail(ORTH_ERR_CORRUPT, "%s: %s has %lld bytes; use another checkpoint",
                           orth_h5_path(file), name, (long long)length);
    else if (!(text = orth_calloc(1, (size_t)length + 1)))
        status =
            orth_fail(ORTH_ERR_ENVIRONMENT, "%s: %s: out of memory for %lld bytes; free memory",
                      orth_h5_path(file), name, (long long)length);
    else
        status = orth_checkpoint_reader_units(&reader, 0, orth_checkpoint_units(&reader.array),
                                              (orth_range){0, length}, text);
    orth_checkpoint_reader_close(&reader);
    status = orth_agree(comm, status);
    if (status == ORTH_OK)
        *out = text;
    else
        free(text);
    return status;
}

static orth_status read_fingerprint(orth_h5_file *file, MPI_Comm comm, orth_fingerprint *out)
{
    char *text = NULL;
    ORTH_TRY(read_text(file, "/data_fingerprint", comm, &text));
    int n = sscanf(text, "rows: %" SCNd64 "\nd_model: %" SCNd64 "\nhash: %" SCNx64, &out->rows,
                   &out->d_model, &out->hash);
    free(text);
    if (n != 3)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%s: /data_fingerprint is not understood; use another checkpoint",
                         orth_h5_path(file));
    return ORTH_OK;
}

/* The batches that are left out, where there are any. */
static orth_status read_skipped(orth_h5_file *file, MPI_Comm comm, orth_checkpoint_info *info)
{
    bool there = false;
    orth_checkpoint_table one = {.count = 0};
    orth_checkpoint_reader reader;
    ORTH_TRY(orth_h5_exists(file, "/state/skipped", &there));
    if (!there)
        return ORTH_OK;
    orth_checkpoint_list_whole(&one, "/state/skipped", ORTH_H5_INT64, 8, -1, NULL);
    ORTH_TRY(orth_checkpoint_reader_open(file, &one.items[0], comm, &reader));
    int64_t length = reader.array.extent[0];
    orth_status status = ORTH_OK;
    if (length < 2 || length % 2 || length > 2 * ORTH_CHECKPOINT_MOST_SKIPPED)
        status = orth_fail(ORTH_ERR_CORRUPT,
                           "%s: /state/skipped has %lld values; use another checkpoint",
                           orth_h5_path(file), (long long)length);
    else
        status = ORTH_ALLOCATE(length / 2, "skipped batches", &info->skipped);
    if (status == ORTH_OK) {
        info->n_skipped = length / 2;
        status = orth_checkpoint_reader_units(&reader, 0, orth_checkpoint_units(&reader.array),
                                              (orth_range){0, length}, info->skipped);
    }
    orth_checkpoint_reader_close(&reader);
    return orth_agree(comm, status);
}

static orth_status read_contents(orth_h5_file *file, MPI_Comm comm, orth_checkpoint_info *info,
                                 bool *newer)
{
    int64_t cursor[2] = {0, 0};
    ORTH_TRY(read_format(file, info, newer));
    ORTH_TRY(read_attributes(file, info));
    ORTH_TRY(read_vector(file, "/state/cursor", ORTH_H5_INT64, 8, 2, comm, cursor));
    info->cursor = (orth_cursor){.epoch = cursor[0], .position = cursor[1]};
    if (cursor[0] < 0 || cursor[1] < 0 || info->tokens_seen < 0)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%s: epoch %lld, position %lld, %lld tokens seen are no place in the "
                         "data; use another checkpoint",
                         orth_h5_path(file), (long long)cursor[0], (long long)cursor[1],
                         (long long)info->tokens_seen);
    ORTH_TRY(read_vector(file, "/state/mse_scale", ORTH_H5_DOUBLE, 8, 1, comm, &info->mse_scale));
    ORTH_TRY(
        read_vector(file, "/state/input_scale", ORTH_H5_DOUBLE, 8, 1, comm, &info->input_scale));
    ORTH_TRY(read_fingerprint(file, comm, &info->data));
    ORTH_TRY(read_skipped(file, comm, info));
    return read_text(file, "/config", comm, &info->config);
}

/* A path that does not exist is the caller's mistake, not a damaged checkpoint. */
static orth_status check_exists(const char *path, MPI_Comm comm)
{
    int rank;
    struct stat info;
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    orth_status status = ORTH_OK;
    if (rank == 0 && stat(path, &info) != 0 && (errno == ENOENT || errno == ENOTDIR))
        status = orth_fail(ORTH_ERR_USAGE,
                           "%s: there is no such checkpoint; give the path of a file in a run's "
                           "checkpoints folder",
                           path);
    return orth_agree(comm, status);
}

orth_status orth_checkpoint_probe(const char *path, MPI_Comm comm, orth_checkpoint_info *out,
                                  bool *newer)
{
    orth_h5_file *file = NULL;
    orth_checkpoint_info info;
    memset(&info, 0, sizeof info);
    *newer = false;
    ORTH_TRY(check_exists(path, comm));
    ORTH_TRY(orth_h5_open(path, ORTH_H5_READ, ORTH_ERR_CORRUPT, comm, &file));
    orth_status status = orth_agree(comm, read_contents(file, comm, &info, newer));
    orth_status closed = orth_h5_close(file);
    if (status == ORTH_OK)
        status = closed;
    if (status == ORTH_OK)
        *out = info;
    else
        orth_checkpoint_info_free(&info);
    return status;
}

orth_status orth_checkpoint_read_info(const char *path, MPI_Comm comm, orth_checkpoint_info *out)
{
    bool newer;
    return orth_checkpoint_probe(path, comm, out, &newer);
}

bool orth_checkpoint_step_known(const orth_checkpoint_info *info)
{
    return info->step > 0 || info->has_optimizer;
}

void orth_checkpoint_info_free(orth_checkpoint_info *info)
{
    free(info->config);
    info->config = NULL;
    orth_free(info->skipped);
    info->skipped = NULL;
    info->n_skipped = 0;
}
