#include "convert_parts.h"

#include <orthant/base/half.h>
#include <orthant/base/memory.h>
#include <orthant/base/number.h>
#include <orthant/base/path.h>
#include <orthant/io/h5_copy.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- which format ---- */

static const struct {
    const char *name;
    const char *suffixes[3];
    bool hdf5;
    orth_tensor_format format;
} formats[] = {
    {"hdf5", {".h5", ".hdf5", NULL}, true, ORTH_FORMAT_RAW},
    {"npy", {".npy", NULL, NULL}, false, ORTH_FORMAT_NPY},
    {"safetensors", {".safetensors", NULL, NULL}, false, ORTH_FORMAT_SAFETENSORS},
    {"pt", {".pt", ".pth", NULL}, false, ORTH_FORMAT_TORCH},
    {"raw", {".raw", ".bin", NULL}, false, ORTH_FORMAT_RAW},
};

static bool fits(size_t i, const orth_convert_options *options)
{
    size_t length = strlen(options->out);
    if (options->format)
        return strcmp(options->format, formats[i].name) == 0;
    for (const char *const *suffix = formats[i].suffixes; *suffix; suffix++)
        if (length > strlen(*suffix) &&
            strcmp(options->out + length - strlen(*suffix), *suffix) == 0)
            return true;
    return false;
}

orth_status convert_output_format(const orth_convert_options *options, convert_output *out)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (fits(i, options)) {
            out->hdf5 = formats[i].hdf5;
            out->format = formats[i].format;
            return ORTH_OK;
        }
    if (options->format)
        return orth_fail(ORTH_ERR_USAGE,
                         "--format %s: unknown; use hdf5, npy, safetensors, pt or raw",
                         options->format);
    return orth_fail(ORTH_ERR_USAGE,
                     "--out %s: its ending does not tell the format; end it in .h5, .npy, "
                     ".safetensors, .pt, .raw or .bin, or give --format",
                     options->out);
}

/* ---- attributes ---- */

/* A number as a number, else as text. */
static orth_status write_attributes(const convert_output *output)
{
    for (int i = 0; i < CONVERT_ATTRIBUTES; i++) {
        const char *name = convert_attribute_names[i], *value = output->attributes[i];
        int64_t number;
        if (!value[0])
            continue;
        if (i != 0 && !orth_number_integer(value, &number))
            ORTH_TRY(orth_h5_attribute_write_int64(output->h5, "/", name, number));
        else
            ORTH_TRY(orth_h5_attribute_write_text(output->h5, "/", name, value));
    }
    return ORTH_OK;
}

/* ---- HDF5 ---- */

static orth_h5_type h5_type(orth_tensor_type type)
{
    return type == ORTH_TENSOR_F16    ? ORTH_H5_FLOAT16
           : type == ORTH_TENSOR_BF16 ? ORTH_H5_BFLOAT16
           : type == ORTH_TENSOR_F64  ? ORTH_H5_DOUBLE
                                      : ORTH_H5_FLOAT;
}

/* Local. */
static orth_status name_partial(convert_output *output)
{
    struct stat info;
    if (stat(output->options->out, &info) == 0 && !S_ISREG(info.st_mode))
        return orth_fail(ORTH_ERR_STORAGE, "%s: is no plain file; give the name of a file",
                         output->options->out);
    return orth_path_format(&output->partial, "%s.partial", output->options->out);
}

static orth_status open_h5(convert_output *output)
{
    const char *name = output->options->dataset;
    int64_t extent[2] = {output->rows, output->width}, size = orth_tensor_type_size(output->type);
    ORTH_TRY(orth_agree(output->comm, name_partial(output)));
    ORTH_TRY(orth_h5_create(output->partial, output->comm, &output->h5));
    ORTH_TRY(orth_h5_reserve(output->h5, output->rows * output->width * size +
                                             (output->has_tokens ? 4 * output->rows : 0) +
                                             8 * output->n_document + (1 << 20)));
    ORTH_TRY(
        orth_h5_dataset_create(output->h5, name, h5_type(output->type), 2, extent, &output->set));
    if (output->has_tokens)
        ORTH_TRY(orth_h5_dataset_create(output->h5, "tokens", ORTH_H5_INT32, 1, extent,
                                        &output->tokens));
    if (output->n_document > 0)
        ORTH_TRY(orth_h5_dataset_create(output->h5, "documents", ORTH_H5_INT64, 1,
                                        &output->n_document, &output->documents));
    return write_attributes(output);
}

/* 16-bit floats are encoded here: HDF5's own conversion is slow. */
static orth_status write_h5(convert_output *output, int64_t begin, int64_t end, bool wide,
                            const void *values)
{
    int64_t count = (end - begin) * output->width;
    if (output->type == ORTH_TENSOR_F64 || output->type == ORTH_TENSOR_F32)
        return orth_h5_write(output->set, begin, end, wide ? ORTH_H5_DOUBLE : ORTH_H5_FLOAT,
                             values);
    float rounded[512];
    for (int64_t at = 0; at < count; at += 512) {
        int64_t some = count - at < 512 ? count - at : 512;
        const float *from = (const float *)values + at;
        uint16_t *to = (uint16_t *)output->encoded + at;
        for (int64_t i = 0; wide && i < some; i++)
            rounded[i] = (float)((const double *)values)[at + i];
        (output->type == ORTH_TENSOR_F16 ? orth_f32_to_f16
                                         : orth_f32_to_bf16)(wide ? rounded : from, some, to);
    }
    return orth_h5_write_raw(output->set, begin, end, output->encoded);
}

/* The texts of the tokens, which parallel HDF5 cannot write: rank 0, when the file is closed. */
static orth_status copy_text(const convert_output *output)
{
    static const char *const names[] = {"vocab", "documents"};
    if (!output->text_from)
        return ORTH_OK;
    return orth_h5_copy(output->text_from, output->partial, names, output->whole ? 2 : 1);
}

/* Every rank brings what it wrote to the disk. */
static orth_status sync_own(const char *path)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    bool failed = file < 0 || fsync(file) != 0;
    orth_status status =
        failed ? orth_fail(ORTH_ERR_STORAGE, "%s: cannot bring to the disk: %s; check the storage",
                           path, strerror(errno))
               : ORTH_OK;
    if (file >= 0)
        close(file);
    return status;
}

static orth_status close_h5(convert_output *output, orth_status status)
{
    int rank;
    bool created = output->partial != NULL; /* HDF5 may fail after it has made the file */
    orth_h5_dataset_close(output->set);
    orth_h5_dataset_close(output->tokens);
    orth_h5_dataset_close(output->documents);
    orth_status closed = orth_h5_close(output->h5);
    if (status == ORTH_OK)
        status = closed;
    ORTH_MPI(MPI_Comm_rank(output->comm, &rank));
    if (status == ORTH_OK)
        status = orth_agree(output->comm, rank == 0 ? copy_text(output) : ORTH_OK);
    if (status == ORTH_OK)
        status = orth_agree(output->comm, sync_own(output->partial));
    if (status == ORTH_OK)
        status = orth_agree(output->comm,
                            rank == 0 ? orth_file_publish(output->partial, output->options->out)
                                      : ORTH_OK);
    if (status != ORTH_OK && created && rank == 0)
        unlink(output->partial);
    return status;
}

/* ---- the others ---- */

static orth_status open_writer(convert_output *output)
{
    orth_tensor_entry entries[2 + CONVERT_ATTRIBUTES] = {{.name = output->options->dataset,
                                                          .kind = ORTH_ENTRY_TENSOR,
                                                          .type = output->type,
                                                          .rank = 2,
                                                          .shape = {output->rows, output->width}},
                                                         {.name = "tokens",
                                                          .kind = ORTH_ENTRY_TENSOR,
                                                          .type = ORTH_TENSOR_I64,
                                                          .rank = 1,
                                                          .shape = {output->rows}}};
    char names[CONVERT_ATTRIBUTES][64];
    bool named = output->format == ORTH_FORMAT_SAFETENSORS || output->format == ORTH_FORMAT_TORCH;
    output->has_tokens = output->has_tokens && named;
    int64_t count = 1 + output->has_tokens;
    for (int i = 0; named && i < CONVERT_ATTRIBUTES; i++) {
        if (!output->attributes[i][0])
            continue;
        snprintf(names[i], sizeof names[i], "%s%s",
                 output->format == ORTH_FORMAT_SAFETENSORS ? "__metadata__/" : "",
                 convert_attribute_names[i]);
        entries[count++] = (orth_tensor_entry){
            .name = names[i], .kind = ORTH_ENTRY_TEXT, .text = output->attributes[i]};
    }
    return orth_tensor_writer_open(output->options->out, output->format, entries, count,
                                   output->comm, &output->writer);
}

/* ---- both ---- */

orth_status convert_output_open(convert_output *output, int64_t block)
{
    orth_status status = ORTH_OK;
    if (!output->hdf5)
        return open_writer(output);
    if (orth_tensor_type_size(output->type) == 2)
        status = orth_allocate(block, 2, "16-bit values", &output->encoded);
    ORTH_TRY(orth_agree(output->comm, status));
    return open_h5(output);
}

orth_status convert_output_write(convert_output *output, int64_t begin, int64_t end, bool wide,
                                 const void *values, const int64_t *tokens)
{
    int64_t d = output->width;
    if (output->hdf5) {
        ORTH_TRY(write_h5(output, begin, end, wide, values));
        return tokens ? orth_h5_write(output->tokens, begin, end, ORTH_H5_INT64, tokens) : ORTH_OK;
    }
    ORTH_TRY(wide ? orth_tensor_write_f64(output->writer, 0, begin * d, end * d, values)
                  : orth_tensor_write_f32(output->writer, 0, begin * d, end * d, values));
    return tokens ? orth_tensor_write_i64(output->writer, 1, begin, end, tokens) : ORTH_OK;
}

orth_status convert_output_close(convert_output *output, orth_status status)
{
    if (output->hdf5) {
        status = close_h5(output, status);
    } else if (output->writer) {
        if (status == ORTH_OK)
            status = orth_tensor_writer_commit(output->writer);
        orth_tensor_writer_close(output->writer);
    }
    orth_free(output->encoded);
    free(output->partial);
    *output = (convert_output){0};
    return status;
}
