/* dictionary_learning (Marks, Karvonen, Mueller): ae.pt, a dictionary of tensors, and config.json,
 * whose trainer.dict_class tells which autoencoder it is. At inference BatchTopKSAE and its
 * Matryoshka form keep what exceeds one threshold. The encoders of JumpReluAutoEncoder and
 * AutoEncoderNew see x itself, the others x - b_dec. AutoEncoder is loaded with unit decoder rows,
 * whose norms its values are multiplied by. */
#include "sae_format.h"

#include <stdio.h>
#include <string.h>

/* The names of an autoencoder's tensors. */
typedef struct names {
    const char *W_enc, *W_dec, *b_enc, *b_dec;
} names;

static const names layers = {"encoder.weight", "decoder.weight", "encoder.bias", "b_dec"};
static const names own_bias = {"encoder.weight", "decoder.weight", "encoder.bias", "bias"};
static const names late_bias = {"encoder.weight", "decoder.weight", "encoder.bias", "decoder.bias"};
static const names matrices = {"W_enc", "W_dec", "b_enc", "b_dec"};

typedef struct dictionary {
    const char *name;
    const names *names;
    orth_selection_kind selection;
    bool transposed; ///< encoder (d, n) and decoder (n, d); else the other way round
    bool threshold;  ///< one, or one for each latent
    bool uncentred, normed;
} dictionary;

static const dictionary dictionaries[] = {
    {"AutoEncoderTopK", &layers, ORTH_SELECT_TOPK, false, false, false, false},
    {"BatchTopKSAE", &layers, ORTH_SELECT_BATCHTOPK, false, true, false, false},
    {"MatryoshkaBatchTopKSAE", &matrices, ORTH_SELECT_BATCHTOPK, true, true, false, false},
    {"AutoEncoder", &own_bias, ORTH_SELECT_JUMPRELU, false, false, false, true},
    {"AutoEncoderNew", &late_bias, ORTH_SELECT_JUMPRELU, false, false, true, false},
    {"JumpReluAutoEncoder", &matrices, ORTH_SELECT_JUMPRELU, true, true, true, false},
};
enum { N_DICTIONARY = sizeof dictionaries / sizeof *dictionaries };

static const char *const ignored[] = {"k", "threshold", "group_sizes", NULL};

/* The trainer's part of config.json. */
static orth_status find_trainer(const sae_source *source, sae_source *out)
{
    *out = *source;
    out->config = json_object_get(source->config, "trainer");
    if (!json_is_object(out->config))
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%s: the key 'trainer' is missing; add it, or get the whole folder",
                         source->config_path);
    return ORTH_OK;
}

static orth_status find_dictionary(const sae_source *trainer, const dictionary **out)
{
    const char *name;
    ORTH_TRY(sae_config_text(trainer, "dict_class", NULL, &name));
    for (int i = 0; i < N_DICTIONARY; i++)
        if (strcmp(dictionaries[i].name, name) == 0) {
            *out = dictionaries + i;
            return ORTH_OK;
        }
    return sae_refuse(trainer, "trainer.dict_class", name,
                      "only AutoEncoderTopK, BatchTopKSAE, MatryoshkaBatchTopKSAE, AutoEncoder, "
                      "AutoEncoderNew and JumpReluAutoEncoder are known");
}

/* k is a tensor of the file, and a key of the configuration. */
static orth_status read_k(sae_source *source, const sae_source *trainer)
{
    const orth_tensor_entry *entry = orth_tensor_file_find(source->tensors, "k");
    int64_t k = 0;
    if (!entry)
        return sae_config_count(trainer, "k", 0, &source->description.k);
    if (entry->count == 1)
        ORTH_TRY(orth_tensor_read_i64(source->tensors, entry, 0, 1, &k));
    if (k < 1)
        return orth_fail(ORTH_ERR_CORRUPT, "%s: k is no integer from 1 on; get the whole file",
                         orth_tensor_file_path(source->tensors));
    source->description.k = k;
    return ORTH_OK;
}

/* A threshold of at least 0 is what the tool uses at inference; -1 means that it was not set yet.
 */
static orth_status read_threshold(sae_source *source, const dictionary *kind)
{
    const orth_tensor_entry *entry = orth_tensor_file_find(source->tensors, "threshold");
    float first = -1.0f;
    if (kind->selection == ORTH_SELECT_BATCHTOPK) {
        if (entry && entry->count == 1)
            ORTH_TRY(orth_tensor_read_f32(source->tensors, entry, 0, 1, &first));
        if (!(first >= 0.0f))
            return ORTH_OK;
        source->description.selection = ORTH_SELECT_JUMPRELU;
        source->description.k = 0;
    }
    return sae_want(source, SAE_THRESHOLD, "threshold", false, false);
}

static orth_status describe(sae_source *source)
{
    sae_source trainer;
    const dictionary *kind = NULL;
    orth_sae_description *d = &source->description;
    ORTH_TRY(find_trainer(source, &trainer));
    ORTH_TRY(find_dictionary(&trainer, &kind));
    snprintf(d->architecture, sizeof d->architecture, "%s", kind->name);
    d->selection = kind->selection;
    source->uncentred = kind->uncentred;
    source->normed = kind->normed;
    if (orth_selection_uses_k(d->selection))
        ORTH_TRY(read_k(source, &trainer));
    if (kind->threshold)
        ORTH_TRY(read_threshold(source, kind));
    ORTH_TRY(sae_want(source, SAE_W_ENC, kind->names->W_enc, kind->transposed, false));
    ORTH_TRY(sae_want(source, SAE_W_DEC, kind->names->W_dec, !kind->transposed, false));
    ORTH_TRY(sae_want(source, SAE_B_ENC, kind->names->b_enc, false, false));
    ORTH_TRY(sae_want(source, SAE_B_DEC, kind->names->b_dec, false, false));
    return sae_check_tensors(source, 0, 0, ignored);
}

static orth_status check(const orth_sae *sae, bool *calibrate)
{
    *calibrate = sae->recipe.selection == ORTH_SELECT_TOPAFA ||
                 sae->recipe.selection == ORTH_SELECT_BATCHTOPK;
    if (sae->recipe.input != ORTH_INPUT_NONE && sae->recipe.input != ORTH_INPUT_SCALE)
        return sae_cannot_normalise("dictionary_learning", sae, "does not normalise its input",
                                    "none or scale");
    return ORTH_OK;
}

static orth_status add_config(const orth_sae *sae, const char *trainer, const char *class,
                              sae_target *target)
{
    json_t *config = json_pack("{s{sssssIsI}s{}}", "trainer", "trainer_class", trainer,
                               "dict_class", class, "activation_dim", (json_int_t)sae->d_model,
                               "dict_size", (json_int_t)sae->recipe.n_latent, "buffer");
    if (orth_selection_uses_k(sae->recipe.selection))
        json_object_set_new(json_object_get(config, "trainer"), "k", json_integer(sae->recipe.k));
    return sae_add_json(target, "config.json", config);
}

static orth_status plan_jumprelu(const orth_sae *sae, sae_target *target)
{
    sae_add_file(target, "ae.pt", ORTH_FORMAT_TORCH);
    sae_add_part(target, sae, matrices.W_enc, SAE_W_ENC, true);
    sae_add_uncentred_bias(target, sae, matrices.b_enc);
    sae_add_part(target, sae, matrices.W_dec, SAE_W_DEC, false);
    sae_add_part(target, sae, matrices.b_dec, SAE_B_DEC, false);
    sae_add_part(target, sae, "threshold", SAE_THRESHOLD, false);
    return add_config(sae, "JumpReluTrainer", "JumpReluAutoEncoder", target);
}

static orth_status plan(const orth_sae_export *what, sae_target *target)
{
    const orth_sae *sae = what->sae;
    if (!orth_selection_uses_k(sae->recipe.selection))
        return plan_jumprelu(sae, target);
    bool topk = sae->recipe.selection == ORTH_SELECT_TOPK;
    const orth_tensor_entry k = {
        .name = "k", .kind = ORTH_ENTRY_TENSOR, .type = ORTH_TENSOR_I32, .integer = sae->recipe.k};
    const orth_tensor_entry threshold = {
        .name = "threshold", .kind = ORTH_ENTRY_TENSOR, .type = ORTH_TENSOR_F32, .real = -1.0};
    sae_add_file(target, "ae.pt", ORTH_FORMAT_TORCH);
    sae_add_part(target, sae, layers.b_dec, SAE_B_DEC, false);
    sae_add_value(target, &k, SAE_VALUE_INTEGER);
    sae_add_value(target, &threshold, topk ? SAE_VALUE_REAL : SAE_VALUE_ONE_THRESHOLD);
    sae_add_part(target, sae, layers.W_dec, SAE_W_DEC, true);
    sae_add_part(target, sae, layers.W_enc, SAE_W_ENC, false);
    sae_add_part(target, sae, layers.b_enc, SAE_B_ENC, false);
    return add_config(sae, topk ? "TopKTrainer" : "BatchTopKTrainer",
                      topk ? "AutoEncoderTopK" : "BatchTopKSAE", target);
}

const sae_format sae_format_dictionary_learning = {.name = "dictionary_learning",
                                                   .config_name = "config.json",
                                                   .tensors_name = "ae.pt",
                                                   .describe = describe,
                                                   .check = check,
                                                   .plan = plan};
