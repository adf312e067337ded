/* The configuration in a folder of another tool, beside small tensors: what is accepted can be read
 * into a model of the sizes and the selection that it says. */
#include "fuzz.h"

#include <orthant/base/path.h>
#include <orthant/foreign/sae_folder.h>
#include <orthant/foreign/tensor_writer.h>

#include <string.h>
#include <sys/stat.h>

enum { LATENTS = 6, WIDTH = 4, TOOLS = 3, NAMES = 8, LENGTH_MOST = 1 << 16 };

/* A tool's files, and its tensors: rows and columns, columns 0 for a vector, rows 0 for a scalar.
 */
typedef struct tool {
    const char *name, *config, *tensors;
    orth_tensor_format format;
    struct {
        const char *name;
        int64_t rows, columns;
    } items[NAMES];
} tool;

static const tool tools[TOOLS] = {
    {"saelens",
     "cfg.json",
     "sae_weights.safetensors",
     ORTH_FORMAT_SAFETENSORS,
     {{"W_enc", WIDTH, LATENTS},
      {"W_dec", LATENTS, WIDTH},
      {"b_enc", LATENTS, 0},
      {"b_dec", WIDTH, 0},
      {"threshold", LATENTS, 0}}},
    {"sparsify",
     "cfg.json",
     "sae.safetensors",
     ORTH_FORMAT_SAFETENSORS,
     {{"encoder.weight", LATENTS, WIDTH},
      {"W_dec", LATENTS, WIDTH},
      {"encoder.bias", LATENTS, 0},
      {"b_dec", WIDTH, 0}}},
    {"dictionary_learning",
     "config.json",
     "ae.pt",
     ORTH_FORMAT_TORCH,
     {{"encoder.weight", LATENTS, WIDTH},
      {"decoder.weight", WIDTH, LATENTS},
      {"encoder.bias", LATENTS, 0},
      {"b_dec", WIDTH, 0},
      {"k", 0, 0},
      {"threshold", 0, 0}}},
};

static char *folders[TOOLS], *configs[TOOLS]; /* paths */

static void write_tensors(const tool *t, const char *folder)
{
    orth_tensor_entry entries[NAMES];
    orth_tensor_writer *writer = NULL;
    char *path = NULL;
    int count = 0;
    for (; count < NAMES && t->items[count].name; count++) {
        int64_t rows = t->items[count].rows, columns = t->items[count].columns;
        entries[count] = (orth_tensor_entry){
            .name = t->items[count].name,
            .kind = ORTH_ENTRY_TENSOR,
            .type = rows ? ORTH_TENSOR_F32 : ORTH_TENSOR_I32,
            .rank = rows == 0      ? 0
                    : columns == 0 ? 1
                                   : 2,
            .shape = {rows ? rows : 1, columns ? columns : 1, 1, 1, 1, 1, 1, 1}};
    }
    fuzz_check(orth_path_format(&path, "%s/%s", folder, t->tensors) == ORTH_OK);
    fuzz_check(orth_tensor_writer_open(path, t->format, entries, count, MPI_COMM_SELF, &writer) ==
               ORTH_OK);
    for (int i = 0; i < count; i++)
        for (int64_t e = 0; e < entries[i].shape[0] * entries[i].shape[1]; e++) {
            double value = (double)(1 + e % 3);
            int64_t integer = 2;
            fuzz_check((t->items[i].rows
                            ? orth_tensor_write_f64(writer, i, e, e + 1, &value)
                            : orth_tensor_write_i64(writer, i, e, e + 1, &integer)) == ORTH_OK);
        }
    fuzz_check(orth_tensor_writer_commit(writer) == ORTH_OK);
    orth_tensor_writer_close(writer);
    free(path);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    fuzz_start_mpi();
    for (int i = 0; i < TOOLS; i++) {
        fuzz_check(orth_path_format(folders + i, "%s/%s", fuzz_folder(), tools[i].name) == ORTH_OK);
        fuzz_check(orth_path_format(configs + i, "%s/%s", folders[i], tools[i].config) == ORTH_OK);
        fuzz_check(mkdir(folders[i], 0700) == 0);
        write_tensors(tools + i, folders[i]);
    }
    return 0;
}

static void check_model(orth_sae_folder *folder, const orth_sae_description *d)
{
    orth_grid grid;
    orth_sae sae;
    orth_recipe recipe = {
        .n_latent = d->n_latent, .selection = d->selection, .k = d->k, .input = d->input};
    fuzz_check(d->n_latent == LATENTS && d->d_model == WIDTH);
    fuzz_check(!orth_selection_uses_k(d->selection) || (d->k >= 1 && d->k <= LATENTS));
    fuzz_check(orth_grid_create(MPI_COMM_SELF, 1, 1, &grid) == ORTH_OK);
    fuzz_check(orth_sae_create(&grid, &recipe, d->d_model, false, &sae) == ORTH_OK);
    fuzz_check(orth_sae_folder_read(folder, &sae) == ORTH_OK);
    fuzz_check(sae.weights.W_dec[0] > 0.0f && sae.input_scale > 0.0);
    fuzz_check((sae.threshold != NULL) == (d->selection == ORTH_SELECT_JUMPRELU));
    orth_sae_free(&sae);
    orth_grid_free(&grid);
}

/* The first byte chooses the tool. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    int i = fuzz_byte(&input) % TOOLS;
    orth_sae_folder *folder = NULL;
    if (input.size > LENGTH_MOST)
        return 0;
    FILE *file = fopen(configs[i], "wb");
    fuzz_check(file && (input.size == 0 || fwrite(input.data, 1, input.size, file) == input.size));
    fclose(file);
    orth_status status = orth_sae_folder_open(folders[i], MPI_COMM_SELF, &folder);
    if (status == ORTH_OK)
        check_model(folder, orth_sae_folder_description(folder));
    fuzz_outcome(status, ORTH_ERR_CORRUPT);
    orth_sae_folder_close(folder);
    return 0;
}
