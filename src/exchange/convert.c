#include "convert_parts.h"

#include <orthant/base/log.h>
#include <orthant/base/memory.h>
#include <orthant/base/path.h>
#include <orthant/io/synth.h>
#include <orthant/par/agree.h>
#include <orthant/par/alive.h>
#include <orthant/par/collective.h>
#include <orthant/par/phase.h>
#include <orthant/run/progress.h>

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK_VALUES = 1 << 20 };

/* The smallest absolute value that rounds to Inf (to nearest even: halfway beyond the largest). */
static const double F16_OVERFLOW = 65520, BF16_OVERFLOW = 0x1.FFp127, F32_OVERFLOW = 0x1.ffffffp127;

/* What a rank found in its rows. */
typedef struct findings {
    int64_t nonfinite, overflows;            ///< rows
    int64_t first_nonfinite, first_overflow; ///< INT64_MAX: none
} findings;

typedef struct job {
    const orth_convert_options *options;
    MPI_Comm comm;
    int rank;
    convert_input input;
    convert_output output;
    orth_range rows; ///< of the input
    bool wide;       ///< values are float64
    double limit;
    int64_t block;   ///< rows
    void *values;    ///< (block, width)
    int64_t *tokens; ///< (block)
    findings found;
    double started, spoken;
} job;

/* ---- what is to be done ---- */

static orth_status choose_type(job *j)
{
    static const struct {
        orth_h5_type h5;
        orth_tensor_type type;
        double limit;
    } types[] = {{ORTH_H5_FLOAT16, ORTH_TENSOR_F16, F16_OVERFLOW},
                 {ORTH_H5_BFLOAT16, ORTH_TENSOR_BF16, BF16_OVERFLOW},
                 {ORTH_H5_FLOAT, ORTH_TENSOR_F32, F32_OVERFLOW},
                 {ORTH_H5_DOUBLE, ORTH_TENSOR_F64, INFINITY}};
    orth_h5_type wanted = ORTH_H5_OTHER;
    if (j->options->dtype)
        ORTH_TRY(orth_synth_type(j->options->dtype, &wanted));
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (j->options->dtype ? types[i].h5 == wanted : types[i].type == j->input.type) {
            j->output.type = types[i].type;
            j->limit = types[i].limit;
        }
    j->wide = j->input.type == ORTH_TENSOR_F64;
    return ORTH_OK;
}

static orth_status choose_rows(job *j)
{
    int64_t end = j->options->end < 0 ? j->input.rows : j->options->end;
    if (j->input.rows == 0)
        return orth_fail(ORTH_ERR_DATA, "%s: there are no rows to convert; check the file",
                         j->options->inputs[0]);
    if (j->options->begin < 0 || j->options->begin >= end || end > j->input.rows)
        return orth_fail(
            ORTH_ERR_USAGE,
            "--rows: %lld to %lld are not rows of these files, which have %lld; choose "
            "others",
            (long long)j->options->begin, (long long)end, (long long)j->input.rows);
    j->rows = (orth_range){j->options->begin, end};
    j->output.rows = end - j->options->begin;
    j->output.width = j->input.width;
    j->output.has_tokens = j->input.has_tokens;
    return ORTH_OK;
}

/* What the options say, else what the first file says. */
static orth_status choose_attributes(job *j)
{
    const orth_convert_options *o = j->options;
    const char *const said[CONVERT_ATTRIBUTES] = {o->model, o->hook, o->layer, o->tokenizer,
                                                  o->context};
    for (int i = 0; i < CONVERT_ATTRIBUTES; i++)
        snprintf(j->output.attributes[i], CONVERT_ATTRIBUTE_ROOM, "%s",
                 said[i] ? said[i] : j->input.attributes[i]);
    bool text = j->input.hdf5 && j->output.hdf5 && j->output.has_tokens;
    bool whole = j->output.rows == j->input.rows;
    convert_texts joined = {.vocab = text};
    if (text && o->n_input > 1)
        ORTH_TRY(convert_texts_look(&j->input, whole, j->comm, &joined));
    j->output.text_from = joined.vocab ? o->inputs[0] : NULL;
    j->output.whole = whole && o->n_input == 1;
    j->output.n_document = joined.documents;
    return ORTH_OK;
}

/* Name what the format has no place for. */
static void warn_left_out(const job *j)
{
    bool named = j->output.hdf5 || j->output.format == ORTH_FORMAT_SAFETENSORS ||
                 j->output.format == ORTH_FORMAT_TORCH;
    bool attributes = false;
    for (int i = 0; i < CONVERT_ATTRIBUTES; i++)
        attributes = attributes || j->output.attributes[i][0];
    const struct {
        const char *name;
        bool lost;
    } parts[] = {{"documents", j->input.has_documents && !j->output.hdf5},
                 {"vocab", j->input.has_vocab && !j->output.hdf5},
                 {"tokens", j->input.has_tokens && !named},
                 {"attributes", attributes && !named}};
    char text[64] = "";
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i].lost)
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", text[0] ? ", " : "",
                     parts[i].name);
    if (text[0])
        orth_log_warning("convert: %s: this format has no place for %s, which HDF5 has",
                         j->options->out, text);
}

static orth_status check_not_input(const orth_convert_options *options)
{
    for (int64_t i = 0; i < options->n_input; i++)
        if (orth_same_file(options->out, options->inputs[i]))
            return orth_fail(ORTH_ERR_USAGE,
                             "--out %s: is a file that this command reads and would be lost; name "
                             "another file",
                             options->out);
    return ORTH_OK;
}

static orth_status allocate(job *j)
{
    j->block = BLOCK_VALUES / j->input.width + 1;
    if (j->block > j->output.rows)
        j->block = j->output.rows;
    ORTH_TRY(orth_allocate(j->block * j->input.width, j->wide ? 8 : 4, "rows", &j->values));
    return ORTH_ALLOCATE(j->output.has_tokens ? j->block : 0, "tokens", &j->tokens);
}

static orth_status prepare(job *j)
{
    ORTH_TRY(orth_agree(j->comm, convert_output_format(j->options, &j->output)));
    ORTH_TRY(orth_agree(j->comm, check_not_input(j->options)));
    ORTH_TRY(convert_input_open(j->options, j->comm, &j->input));
    orth_status status = choose_type(j);
    if (status == ORTH_OK)
        status = choose_rows(j);
    if (status == ORTH_OK)
        status = allocate(j);
    ORTH_TRY(orth_agree(j->comm, status));
    ORTH_TRY(choose_attributes(j));
    warn_left_out(j);
    return convert_output_open(&j->output, j->block * j->input.width);
}

/* ---- a block ---- */

/* How many of `count` values are NaN, Inf or beyond the range of the type written. */
static int64_t count_unusual(const job *j, int64_t first, int64_t count)
{
    const float *narrow = (const float *)j->values + (j->wide ? 0 : first);
    const double *wide = (const double *)j->values + (j->wide ? first : 0);
    float limit = (float)j->limit; /* Inf where no float32 is beyond */
    int64_t found = 0;
    if (j->wide)
        for (int64_t k = 0; k < count; k++)
            found += !(fabs(wide[k]) < j->limit);
    else
        for (int64_t k = 0; k < count; k++)
            found += !(fabsf(narrow[k]) < limit);
    return found;
}

/* Count the rows that are not finite, and those that the type written does not hold. */
static void look_at(job *j, int64_t first, int64_t count)
{
    int64_t d = j->input.width;
    for (int64_t i = 0; i < count; i++) {
        bool finite = true, fits = true;
        if (!count_unusual(j, i * d, d))
            continue;
        for (int64_t k = i * d; k < (i + 1) * d; k++) {
            double value = j->wide ? ((double *)j->values)[k] : (double)((float *)j->values)[k];
            finite = finite && isfinite(value);
            fits = fits && (!isfinite(value) || fabs(value) < j->limit);
        }
        if (!finite && j->found.nonfinite++ == 0)
            j->found.first_nonfinite = first + i;
        if (!fits && j->found.overflows++ == 0)
            j->found.first_overflow = first + i;
    }
}

static orth_status refuse_overflow(const job *j, int64_t row)
{
    int64_t in_file;
    const char *path = convert_input_locate(&j->input, row, &in_file);
    return orth_fail(
        ORTH_ERR_DATA,
        "%s: row %lld holds a value beyond the range of --dtype %s; choose bfloat16 or "
        "float32, or --allow-overflow, which writes Inf",
        path, (long long)in_file, j->options->dtype ? j->options->dtype : "of the other files");
}

/* Rank 0's share stands for all. */
static void show_progress(job *j, int64_t done, int64_t of)
{
    char left[32];
    double now = orth_now(), between = isatty(STDERR_FILENO) ? 0.1 : 10;
    if (j->rank != 0 || j->options->quiet || (now - j->spoken < between && done < of))
        return;
    double share = of > 0 ? (double)done / (double)of : 1;
    orth_progress_duration(share > 0 ? (now - j->started) * (1 - share) / share : 0, left,
                           sizeof left);
    j->spoken = now;
    if (!isatty(STDERR_FILENO)) {
        if (done < of)
            orth_log_info("convert: %.1f%%, %s left", 100 * share, left);
        return;
    }
    fprintf(stderr, "\r\033[Kconvert: %.1f%%  %s left", 100 * share, left);
    if (done == of)
        fputs("\r\033[K", stderr);
    fflush(stderr);
}

/* This rank's rows. Local. */
static orth_status convert_part(job *j, orth_range part)
{
    for (int64_t at = part.begin; at < part.end; at += j->block) {
        int64_t end = at + j->block < part.end ? at + j->block : part.end;
        int64_t first = j->rows.begin + at, last = j->rows.begin + end;
        ORTH_TRY(convert_input_read(&j->input, first, last, j->values));
        if (j->output.has_tokens)
            ORTH_TRY(convert_input_tokens(&j->input, first, last, j->tokens));
        look_at(j, first, end - at);
        if (j->found.overflows && !j->options->allow_overflow)
            return refuse_overflow(j, j->found.first_overflow);
        ORTH_TRY(convert_output_write(&j->output, at, end, j->wide, j->values,
                                      j->output.has_tokens ? j->tokens : NULL));
        show_progress(j, end - part.begin, orth_range_size(part));
        orth_alive();
    }
    return ORTH_OK;
}

/* ---- the whole ---- */

static orth_status convert_rows(job *j)
{
    int size;
    ORTH_MPI(MPI_Comm_size(j->comm, &size));
    j->found = (findings){.first_nonfinite = INT64_MAX, .first_overflow = INT64_MAX};
    j->started = j->spoken = orth_now();
    orth_range part = orth_partition(j->output.rows, size, j->rank);
    orth_status status = convert_part(j, part);
    if (status == ORTH_OK && j->rank == 0 && j->output.documents)
        status = convert_texts_write(&j->input, j->output.documents);
    return orth_agree(j->comm, status);
}

static void warn(const job *j, int64_t rows, int64_t first, const char *what)
{
    int64_t in_file;
    if (!rows)
        return;
    const char *path = convert_input_locate(&j->input, first, &in_file);
    orth_log_warning("%lld rows %s, the first is row %lld of %s", (long long)rows, what,
                     (long long)in_file, path);
}

/* What was done, once the file has its name. */
static orth_status tell(job *j, const char *type, bool tokens, double seconds)
{
    findings *f = &j->found;
    const char *with = tokens                ? ", with tokens"
                       : j->input.has_tokens ? ", without the tokens, which this format cannot hold"
                                             : "";
    ORTH_TRY(orth_allreduce(&f->nonfinite, 2, MPI_INT64_T, MPI_SUM, j->comm));
    ORTH_TRY(orth_allreduce(&f->first_nonfinite, 2, MPI_INT64_T, MPI_MIN, j->comm));
    warn(j, f->nonfinite, f->first_nonfinite,
         "hold NaN or Inf (data.nonfinite says what training "
         "does with them)");
    warn(j, f->overflows, f->first_overflow, "hold values that became Inf");
    orth_log_info("%s: %lld rows of %lld values, %s%s, from %lld file%s in %.1f s", j->options->out,
                  (long long)(j->rows.end - j->rows.begin), (long long)j->input.width, type, with,
                  (long long)j->options->n_input, j->options->n_input == 1 ? "" : "s", seconds);
    return ORTH_OK;
}

static const char *type_name(orth_tensor_type type)
{
    return type == ORTH_TENSOR_F16    ? "float16"
           : type == ORTH_TENSOR_BF16 ? "bfloat16"
           : type == ORTH_TENSOR_F64  ? "float64"
                                      : "float32";
}

orth_status orth_convert(const orth_convert_options *options, MPI_Comm comm)
{
    job j = {.options = options, .comm = comm, .output = {.options = options, .comm = comm}};
    ORTH_MPI(MPI_Comm_rank(comm, &j.rank));
    orth_status status = prepare(&j);
    if (status == ORTH_OK)
        status = convert_rows(&j);
    const char *type = type_name(j.output.type);
    double started = j.started;
    bool tokens = j.output.has_tokens;
    status = convert_output_close(&j.output, status);
    if (status == ORTH_OK)
        status = tell(&j, type, tokens, orth_now() - started);
    convert_input_close(&j.input);
    orth_free(j.values);
    orth_free(j.tokens);
    return status;
}
