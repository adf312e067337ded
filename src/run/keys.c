#include "keys.h"

#include <orthant/base/nearest.h>
#include <orthant/run/checkpoint.h>

#include <limits.h>
#include <math.h>
#include <string.h>

const char *const orth_nonfinite_names[] = {"abort", "skip", NULL};

/* Tokens and steps are counted in 64 bits; indices of latents and of tokens in a batch in 31. */
#define COUNT_MOST 1e15
#define INDEX_MOST 2147483647.0

#define FIELD(name) offsetof(orth_config, name)
#define FROM_TO(low, high)                                                                         \
    {                                                                                              \
        (low), (high), false, false                                                                \
    }
#define FROM(low)                                                                                  \
    {                                                                                              \
        (low), INFINITY, false, true                                                               \
    }
#define ABOVE(low)                                                                                 \
    {                                                                                              \
        (low), INFINITY, true, true                                                                \
    }
#define ANY                                                                                        \
    {                                                                                              \
        -INFINITY, INFINITY, true, true                                                            \
    }
#define SHARE                                                                                      \
    {                                                                                              \
        0, 1, false, true                                                                          \
    } /* 0 <= value < 1 */
#define FREE false
#define BINDS true

const orth_key orth_keys[] = {
    {"run.dir", ORTH_KEY_STRING, FIELD(run_dir), NULL, NULL, ANY, NULL, FREE,
     "Folder of the run: resolved configuration, metrics, log and checkpoints. Required by train."},
    {"run.steps", ORTH_KEY_INTEGER, FIELD(run_steps), "none", "none", FROM_TO(1, COUNT_MOST), NULL,
     FREE, "Length of the run in optimizer steps. Give one of run.steps, run.tokens, run.epochs."},
    {"run.tokens", ORTH_KEY_INTEGER, FIELD(run_tokens), "none", "none", FROM_TO(1, COUNT_MOST),
     NULL, FREE, "Length of the run in tokens, rounded up to whole steps."},
    {"run.epochs", ORTH_KEY_INTEGER, FIELD(run_epochs), "none", "none", FROM_TO(1, COUNT_MOST),
     NULL, FREE,
     "Length of the run in passes over the data, rounded up to whole steps; 1 when no length is "
     "given."},
    {"run.seed", ORTH_KEY_INTEGER, FIELD(recipe.seed), "49", NULL, FROM(0), NULL, BINDS,
     "Seed of the initial weights and of the order of tokens."},
    {"run.max_time", ORTH_KEY_TIME, FIELD(run_max_time), "none", "none", ANY, NULL, FREE,
     "Wall-clock time within which the run writes a checkpoint and stops with exit code 75; the "
     "longest step and checkpoint so far are kept in reserve, each start makes a step at least. "
     "The end of a SLURM job (SLURM_JOB_END_TIME) is respected in the same way; the earlier "
     "counts."},
    {"run.watchdog", ORTH_KEY_TIME, FIELD(run_watchdog), "00:30:00", "none", ANY, NULL, FREE,
     "Time without progress after which the job is ended, naming rank and phase, with exit code 76 "
     "(7 where it was started again three times and has not gone on yet)."},
    {"run.rollback", ORTH_KEY_INTEGER, FIELD(run_rollback), "none", "none",
     FROM_TO(1, ORTH_CHECKPOINT_MOST_SKIPPED), NULL, FREE,
     "How often in the whole run a step whose loss or gradient is not finite may be undone: back "
     "to the newest checkpoint, the same batches again and that one left out, as metrics.jsonl "
     "records. A bad row costs one in each epoch. Then, and with none, such a step ends the run "
     "with exit code 6."},

    {"data.files", ORTH_KEY_STRINGS, FIELD(data_files), NULL, NULL, ANY, NULL, FREE,
     "Activation files (HDF5), paths or globs, read as one table in this order. Required by "
     "train."},
    {"data.dataset", ORTH_KEY_STRING, FIELD(data_dataset), "activations", NULL, ANY, NULL, FREE,
     "Name of the dataset [n_token, d_model] in each file."},
    {"data.eval_files", ORTH_KEY_STRINGS, FIELD(data_eval_files), "none", "none", ANY, NULL, FREE,
     "Held-out activation files for eval.every."},
    {"data.shuffle", ORTH_KEY_BOOLEAN, FIELD(data_shuffle), "true", NULL, ANY, NULL, BINDS,
     "Shuffle the tokens, by seed and epoch, the same on any number of ranks; false: file order."},
    {"data.nonfinite", ORTH_KEY_CHOICE, FIELD(data_nonfinite), "abort", NULL, ANY,
     orth_nonfinite_names, BINDS,
     "Tokens with NaN or Inf: abort the run, or skip them (they get weight zero)."},

    {"input.norm", ORTH_KEY_CHOICE, FIELD(recipe.input), "none", NULL, ANY, orth_input_names, BINDS,
     "Normalisation of each token: layernorm (mean 0, std 1), unit (mean 0, norm 1), scale (one "
     "constant, so that the mean squared norm is d_model)."},

    {"model.n_latent", ORTH_KEY_INTEGER, FIELD(recipe.n_latent), "auto", "auto",
     FROM_TO(1, INDEX_MOST), NULL, BINDS, "Size of the dictionary; auto is 16 x d_model."},
    {"model.selection", ORTH_KEY_CHOICE, FIELD(recipe.selection), "topk", NULL, ANY,
     orth_selection_names, BINDS,
     "Activation function: topk keeps the k largest of each token, topafa as many as match the "
     "norm of the input, batchtopk the k x batch largest of the batch, jumprelu all above a "
     "threshold of their own (imported models; it cannot be trained)."},
    {"model.k", ORTH_KEY_INTEGER, FIELD(recipe.k), "32", NULL, FROM_TO(1, INDEX_MOST), NULL, BINDS,
     "Active latents for each token (topk), or on average (batchtopk); topafa and jumprelu need "
     "none."},
    {"model.b_enc", ORTH_KEY_BOOLEAN, FIELD(recipe.b_enc), "true", NULL, ANY, NULL, BINDS,
     "Train an encoder bias."},

    {"topk.relu_first", ORTH_KEY_BOOLEAN, FIELD(recipe.relu_first), "false", NULL, ANY, NULL, BINDS,
     "ReLU before top-k instead of after it; the codes and gradients are the same."},
    {"topafa.target", ORTH_KEY_CHOICE, FIELD(recipe.target), "centred", NULL, ANY,
     orth_target_names, BINDS,
     "Norm that the code has to match: of x - b_dec (centred, the authors' code) or of x (raw)."},

    {"init.scheme", ORTH_KEY_CHOICE, FIELD(recipe.init), "gao", NULL, ANY, orth_init_names, BINDS,
     "Initial weights: gao (b_dec at the geometric median, encoder rescaled), kaiming (biases 0), "
     "or from init.file."},
    {"init.file", ORTH_KEY_STRING, FIELD(init_file), "none", "none", ANY, NULL, FREE,
     "With init.scheme: file: an HDF5 file with W_enc [n_latent, d_model] and optionally W_dec, "
     "b_enc, b_dec; a checkpoint; a run folder (its newest checkpoint); or a folder of another "
     "tool, exported or published (see orthant import)."},

    {"loss.kind", ORTH_KEY_CHOICE, FIELD(recipe.loss), "mse_scaled", NULL, ANY, orth_loss_names,
     BINDS,
     "Reconstruction term: mse_scaled (mse over the variance of the sample), mse, normalised (by "
     "each token's own norm)."},
    {"loss.multi_k", ORTH_KEY_INTEGER, FIELD(recipe.multi_k), "none", "none", FROM_TO(2, 1e6), NULL,
     BINDS, "Multi-topk: adds an eighth of the loss at this factor times k (4 in the paper)."},
    {"loss.mse_scale", ORTH_KEY_NUMBER, FIELD(recipe.mse_scale), "auto", "auto", ABOVE(0), NULL,
     BINDS, "Factor of mse_scaled; auto measures it on the sample."},

    {"aux.variant", ORTH_KEY_CHOICE, FIELD(recipe.aux), "gao", NULL, ANY, orth_aux_names, BINDS,
     "Auxiliary loss that revives dead latents, in the form of either paper's code, or none."},
    {"aux.coefficient", ORTH_KEY_NUMBER, FIELD(recipe.aux_coefficient), "1/32", NULL, FROM(0), NULL,
     BINDS, "Weight of the auxiliary loss."},
    {"aux.k", ORTH_KEY_INTEGER, FIELD(recipe.aux_k), "auto", "auto", FROM_TO(1, INDEX_MOST), NULL,
     BINDS, "Dead latents that the auxiliary loss uses for each token; auto is d_model / 2."},

    {"dead.variant", ORTH_KEY_CHOICE, FIELD(recipe.dead), "tokens", NULL, ANY, orth_dead_names,
     BINDS, "A latent is dead after dead.tokens tokens, or after dead.batches batches, unfired."},
    {"dead.tokens", ORTH_KEY_INTEGER, FIELD(recipe.dead_tokens), "10000000", NULL,
     FROM_TO(1, COUNT_MOST), NULL, BINDS, "Limit of dead.variant tokens."},
    {"dead.batches", ORTH_KEY_INTEGER, FIELD(recipe.dead_batches), "5", NULL,
     FROM_TO(1, COUNT_MOST), NULL, BINDS, "Limit of dead.variant batches."},

    {"afa.coefficient", ORTH_KEY_NUMBER, FIELD(recipe.afa_coefficient), "0", NULL, FROM(0), NULL,
     BINDS, "Weight of the AFA loss (|f| - |x|)^2; the paper uses 1/128 to 1/16 with topafa."},

    {"train.batch", ORTH_KEY_INTEGER, FIELD(recipe.batch), "4096", NULL, FROM_TO(1, INDEX_MOST),
     NULL, BINDS, "Tokens in the global batch of one step."},
    {"train.lr", ORTH_KEY_NUMBER, FIELD(recipe.lr), "1e-4", NULL, FROM(0), NULL, BINDS,
     "Learning rate of Adam."},
    {"train.beta1", ORTH_KEY_NUMBER, FIELD(recipe.beta1), "0.9", NULL, SHARE, NULL, BINDS,
     "Adam's decay of the first moment."},
    {"train.beta2", ORTH_KEY_NUMBER, FIELD(recipe.beta2), "0.999", NULL, SHARE, NULL, BINDS,
     "Adam's decay of the second moment."},
    {"train.eps", ORTH_KEY_NUMBER, FIELD(recipe.eps), "6.25e-10", NULL, ABOVE(0), NULL, BINDS,
     "Adam's epsilon."},
    {"train.clip", ORTH_KEY_NUMBER, FIELD(recipe.clip), "none", "none", ABOVE(0), NULL, BINDS,
     "Largest norm of the gradient; a longer one is scaled down to it."},
    {"train.warmup", ORTH_KEY_INTEGER, FIELD(recipe.warmup), "0", NULL, FROM_TO(0, COUNT_MOST),
     NULL, BINDS, "Steps over which the learning rate rises from 0."},
    {"train.decay", ORTH_KEY_NUMBER, FIELD(recipe.decay), "0", NULL, FROM_TO(0, 1), NULL, BINDS,
     "Share of the run, at its end, over which the learning rate falls to 0."},
    {"train.decoder_norm", ORTH_KEY_CHOICE, FIELD(recipe.decoder), "gao", NULL, ANY,
     orth_decoder_names, BINDS,
     "Unit decoder rows: gao (normalise, project, clip), topafa (clip, project, normalise), none."},
    {"train.ema",
     ORTH_KEY_NUMBER,
     FIELD(recipe.ema),
     "none",
     "none",
     {0, 1, true, true},
     NULL,
     BINDS,
     "Multiplier of the running average of the weights (0.999 in Gao et al.)."},

    {"grid.n_shard", ORTH_KEY_INTEGER, FIELD(grid_n_shard), "auto", "auto", FROM_TO(1, INDEX_MOST),
     NULL, FREE, "Parts into which the dictionary is cut; n_shard x n_group is the rank count."},
    {"grid.n_group", ORTH_KEY_INTEGER, FIELD(grid_n_group), "auto", "auto", FROM_TO(1, INDEX_MOST),
     NULL, FREE, "Token groups into which the batch is cut."},

    {"compute.encode", ORTH_KEY_CHOICE, FIELD(compute_encode), "auto", NULL, ANY, orth_encode_names,
     FREE,
     "Arithmetic of the encoder; bf16 and int8 are certified screenings, with the same codes bit "
     "for bit, where latents are 16 times as many as are selected; top-AFA, which selects "
     "thousands, is computed in fp32. auto: on processors with AVX512-BF16 and VNNI, int8 for "
     "d_model from 128 to 2048 where a shard's latents are 64 times and d_model / 8 times as many, "
     "else bf16 from d_model 64 on; fp32 on others."},

    {"checkpoint.every", ORTH_KEY_INTERVAL, FIELD(checkpoint_every), "00:30:00", "none",
     FROM_TO(1, COUNT_MOST), NULL, FREE, "Time or steps between checkpoints; one ends every run."},
    {"checkpoint.keep", ORTH_KEY_INTEGER, FIELD(checkpoint_keep), "2", NULL, FROM_TO(1, COUNT_MOST),
     NULL, FREE, "Newest checkpoints that are kept."},
    {"checkpoint.verify", ORTH_KEY_BOOLEAN, FIELD(checkpoint_verify), "true", NULL, ANY, NULL, FREE,
     "Read every checkpoint again and compare before it counts."},

    {"eval.every", ORTH_KEY_INTEGER, FIELD(eval_every), "none", "none", FROM_TO(1, COUNT_MOST),
     NULL, FREE, "Steps between evaluations on data.eval_files."},

    {"log.every", ORTH_KEY_INTEGER, FIELD(log_every), "10", NULL, FROM_TO(1, COUNT_MOST), NULL,
     FREE, "Steps between lines of the metrics."},
    {"log.codes", ORTH_KEY_BOOLEAN, FIELD(log_codes), "false", NULL, ANY, NULL, FREE,
     "Add code_hash to the metrics. For equal weights it is equal on any grid; from the second "
     "step "
     "on weights of different grids differ by rounding, and so may their codes."},
    {NULL, ORTH_KEY_STRING, 0, NULL, NULL, ANY, NULL, FREE, NULL},
};

_Static_assert(sizeof orth_keys / sizeof *orth_keys <= ORTH_KEYS_MOST, "raise ORTH_KEYS_MOST");
_Static_assert(sizeof(orth_selection_kind) == sizeof(int), "choices are stored as int");

int orth_key_find(const char *path)
{
    for (int i = 0; orth_keys[i].path; i++)
        if (strcmp(orth_keys[i].path, path) == 0)
            return i;
    return -1;
}

/* The last part of a path: "k" of "model.k". */
static const char *leaf(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot ? dot + 1 : path;
}

size_t orth_key_section(const orth_key *key)
{
    return (size_t)(strchr(key->path, '.') - key->path);
}

char *orth_key_nearest(const char *path, char out[ORTH_PATH_ROOM])
{
    int best = INT_MAX;
    for (const orth_key *key = orth_keys; key->path; key++) {
        int distance = 2 * orth_edit_distance(path, key->path);
        /* The right name in the wrong section, or without one, beats all but a single slip. */
        if (distance > 3 && strcmp(leaf(path), leaf(key->path)) == 0)
            distance = 3;
        if (distance < best) {
            best = distance;
            snprintf(out, ORTH_PATH_ROOM, "%s", key->path);
        }
        char section[ORTH_PATH_ROOM];
        snprintf(section, sizeof section, "%.*s", (int)orth_key_section(key), key->path);
        distance = 2 * orth_edit_distance(path, section);
        if (!strchr(path, '.') && distance < best) {
            best = distance;
            snprintf(out, ORTH_PATH_ROOM, "%s", section);
        }
    }
    return out;
}
