#include "model.h"

#include <orthant/par/grid.h>
#include <orthant/run/model_source.h>

#include <mpi.h>
#include <string.h>
#include <sys/stat.h>

static orth_grid grid;
static orth_sae reference;

/* Selection topafa, so that no key asks for a k below the five latents. */
static const char *const config = "run:\n  seed: 49\nmodel:\n  n_latent: 5\n  selection: topafa\n";

static orth_status create(orth_sae *sae)
{
    orth_recipe recipe = {
        .seed = 49, .n_latent = MODEL_LATENTS, .ema = 0.999, .selection = ORTH_SELECT_TOPAFA};
    return orth_sae_create(&grid, &recipe, MODEL_WIDTH, true, sae);
}

/* The arrays of a model one after another: `set` gives each value its number. */
typedef struct block {
    float *values;
    int64_t count;
} block;

static int list_blocks(const orth_sae *sae, block *out)
{
    const orth_params *params[] = {&sae->weights, &sae->moment1, &sae->moment2, &sae->average};
    int n = 0;
    for (int i = 0; i < 4; i++) {
        out[n++] = (block){params[i]->W_enc, MODEL_LATENTS * MODEL_WIDTH};
        out[n++] = (block){params[i]->W_dec, MODEL_LATENTS * MODEL_WIDTH};
        out[n++] = (block){params[i]->b_enc, MODEL_LATENTS};
        out[n++] = (block){params[i]->b_dec, MODEL_WIDTH};
    }
    return n;
}

static void fill(orth_sae *sae)
{
    block blocks[16];
    int n = list_blocks(sae, blocks);
    for (int i = 0; i < n; i++)
        for (int64_t j = 0; j < blocks[i].count; j++)
            blocks[i].values[j] = (float)(1 + i) + (float)j / 64;
    for (int64_t i = 0; i < MODEL_LATENTS; i++)
        sae->steps_since_fired[i] = 100 + i;
    sae->step = MODEL_STEP;
    sae->mse_scale = 1.5;
    sae->input_scale = 0.25;
}

static bool equal(const orth_sae *sae)
{
    block mine[16], theirs[16];
    int n = list_blocks(&reference, mine);
    list_blocks(sae, theirs);
    bool same = sae->step == MODEL_STEP && sae->mse_scale == 1.5 && sae->input_scale == 0.25;
    for (int i = 0; i < n; i++)
        same = same && memcmp(mine[i].values, theirs[i].values,
                              (size_t)mine[i].count * sizeof *mine[i].values) == 0;
    return same && memcmp(sae->steps_since_fired, reference.steps_since_fired,
                          MODEL_LATENTS * sizeof *sae->steps_since_fired) == 0;
}

static char *slurp(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    struct stat info;
    fuzz_check(file && fstat(fileno(file), &info) == 0);
    char *bytes = malloc((size_t)info.st_size);
    fuzz_check(bytes && fread(bytes, 1, (size_t)info.st_size, file) == (size_t)info.st_size);
    fclose(file);
    *size = (size_t)info.st_size;
    return bytes;
}

const char *model_checkpoint(size_t *size)
{
    static char *bytes;
    static size_t kept;
    if (!bytes) {
        char path[256];
        snprintf(path, sizeof path, "%s/checkpoints", fuzz_folder());
        fuzz_check(mkdir(path, 0777) == 0);
        fuzz_check(orth_grid_create(MPI_COMM_SELF, 1, 1, &grid) == ORTH_OK);
        fuzz_check(create(&reference) == ORTH_OK);
        fill(&reference);
        orth_checkpoint_info info = {.tokens_seen = 700,
                                     .cursor = {.epoch = 1, .position = 100},
                                     .data = {.rows = 600, .d_model = MODEL_WIDTH, .hash = 0xABC},
                                     .threads = 1,
                                     .isa = "reference",
                                     .libraries = "none",
                                     .program_version = "0"};
        info.config = (char *)(uintptr_t)config;
        fuzz_check(orth_checkpoint_write(fuzz_folder(), &reference, &info, true, 2) == ORTH_OK);
        snprintf(path, sizeof path, "%s/checkpoints/step-%09d.h5", fuzz_folder(), MODEL_STEP);
        bytes = slurp(path, &kept);
    }
    *size = kept;
    return bytes;
}

void model_put(const char *path, const char *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    fuzz_check(file && fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
}

/* As `eval` and the other verbs open it: the configuration inside must be one too. */
static void open_source(const char *path)
{
    orth_model_source source;
    orth_status status = orth_model_open(path, NULL, 0, MPI_COMM_SELF, &source);
    fuzz_outcome(status, ORTH_ERR_CORRUPT, ORTH_ERR_USAGE);
    if (status == ORTH_OK) {
        fuzz_check(source.config.recipe.n_latent == source.info.n_latent);
        orth_model_close(&source);
    }
}

bool model_examine(const char *path, bool *same)
{
    orth_checkpoint_info info;
    orth_status status = orth_checkpoint_read_info(path, MPI_COMM_SELF, &info);
    fuzz_outcome(status, ORTH_ERR_CORRUPT);
    *same = false;
    if (status != ORTH_OK)
        return false;
    fuzz_check(info.step >= 0 && info.n_latent >= 1 && info.d_model >= 1 && info.tokens_seen >= 0);
    fuzz_check(info.cursor.epoch >= 0 && info.cursor.position >= 0 && info.config);
    fuzz_check(memchr(info.isa, '\0', sizeof info.isa) &&
               memchr(info.libraries, '\0', sizeof info.libraries));
    bool sizes = info.n_latent == MODEL_LATENTS && info.d_model == MODEL_WIDTH;
    bool small = info.tokens_seen == 700 && info.cursor.epoch == 1 && info.cursor.position == 100 &&
                 info.data.rows == 600 && info.data.hash == 0xABC && info.has_optimizer &&
                 info.has_average && strcmp(info.config, config) == 0;
    orth_checkpoint_info_free(&info);
    open_source(path);
    status = orth_checkpoint_verify(path, MPI_COMM_SELF);
    fuzz_outcome(status, ORTH_ERR_CORRUPT);
    if (status != ORTH_OK)
        return false;
    orth_sae sae;
    fuzz_check(create(&sae) == ORTH_OK);
    status = orth_checkpoint_read(path, &sae);
    fuzz_outcome(status, ORTH_ERR_CORRUPT);
    fuzz_check(status != ORTH_OK || sizes);
    *same = status == ORTH_OK && small && equal(&sae);
    orth_sae_free(&sae);
    return status == ORTH_OK;
}
