#include <orthant/io/synth.h>

#include <orthant/base/half.h>
#include <orthant/base/memory.h>
#include <orthant/base/random.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/par/partition.h>

#include <math.h>
#include <string.h>
#include <unistd.h>

/* The counters (i, j) of one random stream: j's bits 48 and up tell the uses apart. */
enum { USE_SHIFT = 48 };
#define USE_CHOICE ((uint64_t)1 << USE_SHIFT)
#define USE_COEFFICIENT ((uint64_t)2 << USE_SHIFT)
#define USE_NOISE ((uint64_t)3 << USE_SHIFT)

/* Rows made and written at a time. */
enum { BLOCK_BYTES = 4 << 20 };

static const struct {
    const char *name, *other;
    orth_h5_type type;
    int64_t size;
} types[] = {{"float16", "f16", ORTH_H5_FLOAT16, 2},
             {"bfloat16", "bf16", ORTH_H5_BFLOAT16, 2},
             {"float32", "f32", ORTH_H5_FLOAT, 4},
             {"float64", "f64", ORTH_H5_DOUBLE, 8}};

static int64_t element_size(orth_h5_type type)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].type == type)
            return types[i].size;
    return 0;
}

orth_status orth_synth_type(const char *name, orth_h5_type *out)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(name, types[i].name) == 0 || strcmp(name, types[i].other) == 0) {
            *out = types[i].type;
            return ORTH_OK;
        }
    return orth_fail(ORTH_ERR_USAGE,
                     "element type '%s': unknown; use float16, bfloat16, float32 or float64", name);
}

static orth_status check_options(const orth_synth_options *o)
{
    if (o->tokens < 1 || o->d_model < 1 || o->latents < 1 || o->tokens > INT64_MAX / o->d_model / 8)
        return orth_fail(ORTH_ERR_USAGE,
                         "synthetic data: tokens %lld, d_model %lld, latents %lld: out of range; "
                         "each must be at least 1",
                         (long long)o->tokens, (long long)o->d_model, (long long)o->latents);
    if (o->active < 0 || o->active > o->latents)
        return orth_fail(ORTH_ERR_USAGE,
                         "synthetic data: active %lld: out of range; use 0 to latents (%lld)",
                         (long long)o->active, (long long)o->latents);
    if (!isfinite(o->noise) || o->noise < 0)
        return orth_fail(ORTH_ERR_USAGE,
                         "synthetic data: noise %g: out of range; use 0 or a positive number",
                         o->noise);
    return ORTH_OK;
}

/* ---- one latent, one token ---- */

static void make_latent(const orth_synth_options *o, int64_t latent, float *out)
{
    double square = 0;
    for (int64_t j = 0; j < o->d_model; j++) {
        double value =
            orth_random_normal((uint64_t)o->seed, ORTH_RANDOM_SYNTH, (uint64_t)latent, (uint64_t)j);
        out[j] = (float)value;
        square += value * value;
    }
    double scale = square > 0 ? 1 / sqrt(square) : 0;
    for (int64_t j = 0; j < o->d_model; j++)
        out[j] = (float)(out[j] * scale);
}

/* `active` different latents out of all (Floyd): step t draws from the first latents - active + t
 * + 1 ones and takes the last of them when the drawn one is taken already. */
static void choose_latents(const orth_synth_options *o, int64_t token, int64_t *chosen)
{
    for (int64_t t = 0; t < o->active; t++) {
        int64_t last = o->latents - o->active + t;
        double uniform = orth_random_uniform((uint64_t)o->seed, ORTH_RANDOM_SYNTH, (uint64_t)token,
                                             USE_CHOICE | (uint64_t)t);
        int64_t drawn = (int64_t)(uniform * (double)(last + 1));
        for (int64_t before = 0; before < t; before++)
            if (chosen[before] == drawn) {
                drawn = last;
                break;
            }
        chosen[t] = drawn;
    }
}

static void make_token(const orth_synth_options *o, const float *dictionary, int64_t token,
                       int64_t *chosen, double *sum)
{
    uint64_t seed = (uint64_t)o->seed, i = (uint64_t)token;
    for (int64_t j = 0; j < o->d_model; j++)
        sum[j] = o->noise == 0 ? 0
                               : o->noise * orth_random_normal(seed, ORTH_RANDOM_SYNTH, i,
                                                               USE_NOISE | (uint64_t)j);
    choose_latents(o, token, chosen);
    for (int64_t t = 0; t < o->active; t++) {
        double uniform =
            orth_random_uniform(seed, ORTH_RANDOM_SYNTH, i, USE_COEFFICIENT | (uint64_t)t);
        double coefficient = 0.5 - 0.5 * log(1 - uniform);
        const float *row = dictionary + chosen[t] * o->d_model;
        for (int64_t j = 0; j < o->d_model; j++)
            sum[j] += coefficient * row[j];
    }
}

static void store_row(orth_h5_type type, const double *row, int64_t count, unsigned char *out)
{
    for (int64_t j = 0; j < count; j++) {
        float value = (float)row[j];
        uint16_t half;
        if (type == ORTH_H5_DOUBLE) {
            memcpy(out + 8 * j, row + j, 8);
        } else if (type == ORTH_H5_FLOAT) {
            memcpy(out + 4 * j, &value, 4);
        } else {
            (type == ORTH_H5_FLOAT16 ? orth_f32_to_f16 : orth_f32_to_bf16)(&value, 1, &half);
            memcpy(out + 2 * j, &half, 2);
        }
    }
}

/* ---- the file ---- */

typedef struct synth_buffers {
    float *dictionary;    ///< (latents, d_model)
    int64_t *chosen;      ///< (active)
    double *row;          ///< (d_model)
    unsigned char *block; ///< (block_rows, d_model) as on disk
    int64_t block_rows;
} synth_buffers;

static void free_buffers(synth_buffers *b)
{
    orth_free(b->dictionary);
    orth_free(b->chosen);
    orth_free(b->row);
    orth_free(b->block);
}

static orth_status make_buffers(const orth_synth_options *o, int64_t element, synth_buffers *b)
{
    b->block_rows = BLOCK_BYTES / (o->d_model * element) + 1;
    ORTH_TRY(orth_allocate(o->latents, o->d_model * (int64_t)sizeof *b->dictionary,
                           "synthetic dictionary", (void **)&b->dictionary));
    ORTH_TRY(ORTH_ALLOCATE(o->active, "chosen latents", &b->chosen));
    ORTH_TRY(ORTH_ALLOCATE(o->d_model, "synthetic token", &b->row));
    ORTH_TRY(
        orth_allocate(b->block_rows, o->d_model * element, "synthetic tokens", (void **)&b->block));
    for (int64_t l = 0; l < o->latents; l++)
        make_latent(o, l, b->dictionary + l * o->d_model);
    return ORTH_OK;
}

static orth_status write_tokens(const orth_synth_options *o, orth_range own, synth_buffers *b,
                                orth_h5_dataset *tokens)
{
    int64_t row_bytes = o->d_model * orth_h5_dataset_layout(tokens)->element_size;
    for (int64_t begin = own.begin; begin < own.end; begin += b->block_rows) {
        int64_t end = begin + b->block_rows < own.end ? begin + b->block_rows : own.end;
        for (int64_t i = begin; i < end; i++) {
            make_token(o, b->dictionary, i, b->chosen, b->row);
            store_row(o->type, b->row, o->d_model, b->block + (i - begin) * row_bytes);
        }
        ORTH_TRY(orth_h5_write_raw(tokens, begin, end, b->block));
    }
    return ORTH_OK;
}

static orth_status write_attributes(const orth_synth_options *o, orth_h5_file *file)
{
    ORTH_TRY(orth_h5_attribute_write_text(file, "/", "model", "synthetic"));
    ORTH_TRY(orth_h5_attribute_write_int64(file, "/", "active", o->active));
    ORTH_TRY(orth_h5_attribute_write_int64(file, "/", "seed", o->seed));
    return orth_h5_attribute_write_double(file, "/", "noise", o->noise);
}

/* The whole of the file but its closing. Each rank's failure is agreed before the next collective.
 */
static orth_status fill_file(const orth_synth_options *o, orth_h5_file *file, MPI_Comm comm)
{
    int rank, size;
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    ORTH_MPI(MPI_Comm_size(comm, &size));
    orth_h5_dataset *tokens = NULL, *truth = NULL;
    synth_buffers buffers = {0};
    int64_t extent[2] = {o->tokens, o->d_model}, truth_extent[2] = {o->latents, o->d_model};
    orth_status status = orth_h5_reserve(file, o->tokens * o->d_model * element_size(o->type) +
                                                   o->latents * o->d_model * 4 + (1 << 20));
    if (status == ORTH_OK)
        status = orth_h5_dataset_create(file, "activations", o->type, 2, extent, &tokens);
    if (status == ORTH_OK)
        status = orth_h5_dataset_create(file, "dictionary", ORTH_H5_FLOAT, 2, truth_extent, &truth);
    if (status == ORTH_OK)
        status = write_attributes(o, file);
    if (status == ORTH_OK) {
        orth_range rows = orth_partition(o->tokens, size, rank);
        orth_range own = orth_partition(o->latents, size, rank);
        status = make_buffers(o, orth_h5_dataset_layout(tokens)->element_size, &buffers);
        if (status == ORTH_OK)
            status = orth_h5_write(truth, own.begin, own.end, ORTH_H5_FLOAT,
                                   buffers.dictionary + own.begin * o->d_model);
        if (status == ORTH_OK)
            status = write_tokens(o, rows, &buffers, tokens);
        status = orth_agree(comm, status);
    }
    free_buffers(&buffers);
    orth_h5_dataset_close(truth);
    orth_h5_dataset_close(tokens);
    return status;
}

orth_status orth_synth_write(const char *path, const orth_synth_options *options, MPI_Comm comm)
{
    ORTH_TRY(orth_agree(comm, check_options(options)));
    orth_h5_file *file = NULL;
    ORTH_TRY(orth_h5_create(path, comm, &file));
    orth_status status = fill_file(options, file, comm);
    orth_status closed = orth_h5_close(file);
    if (status == ORTH_OK)
        status = closed;
    int rank;
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    if (status != ORTH_OK && rank == 0)
        unlink(path); /* a part of the tokens would look like all of them */
    return status;
}
