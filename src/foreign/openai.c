/* OpenAI's sparse_autoencoder (Gao et al. 2024): autoencoder.pt with pre_bias [d], latent_bias [n],
 * encoder.weight [n, d], decoder.weight [d, n], statistics, and "activation", whose "TopK" also
 * means that the input is normalised: (x - mean) / (std + 1e-5), as Orthant's layernorm.
 * stats_last_nonzero counts batches of training: 1 when a latent was active in the last one. */
#include "sae_format.h"

#include <stdio.h>
#include <string.h>

static const char *const statistics[] = {"stats_last_nonzero", "latents_activation_frequency",
                                         "latents_mean_square", NULL};

static const char *text_of(const sae_source *source, const char *name)
{
    const orth_tensor_entry *entry = orth_tensor_file_find(source->tensors, name);
    return entry && entry->kind == ORTH_ENTRY_TEXT ? entry->text : NULL;
}

static orth_status describe_topk(sae_source *source)
{
    orth_sae_description *d = &source->description;
    const orth_tensor_entry *k = orth_tensor_file_find(source->tensors, "activation_state_dict/k");
    const char *after = text_of(source, "activation_state_dict/postact_fn");
    if (!k || k->kind != ORTH_ENTRY_INTEGER || k->integer < 1)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%s: activation_state_dict holds no k; get the whole file",
                         orth_tensor_file_path(source->tensors));
    if (!after || strcmp(after, "ReLU") != 0)
        return sae_refuse(source, "activation_state_dict/postact_fn", after ? after : "missing",
                          "only ReLU is known");
    d->selection = ORTH_SELECT_TOPK;
    d->k = k->integer;
    d->input = ORTH_INPUT_LAYERNORM;
    return ORTH_OK;
}

static orth_status describe(sae_source *source)
{
    orth_sae_description *d = &source->description;
    const char *activation = text_of(source, "activation");
    if (!activation)
        activation = "ReLU"; /* as the tool takes it */
    snprintf(d->architecture, sizeof d->architecture, "%s", activation);
    if (strcmp(activation, "TopK") == 0)
        ORTH_TRY(describe_topk(source));
    else if (strcmp(activation, "ReLU") == 0)
        d->selection = ORTH_SELECT_JUMPRELU;
    else
        return sae_refuse(source, "activation", activation, "only TopK and ReLU are known");
    ORTH_TRY(sae_want(source, SAE_W_ENC, "encoder.weight", false, false));
    ORTH_TRY(sae_want(source, SAE_W_DEC, "decoder.weight", true, false));
    ORTH_TRY(sae_want(source, SAE_B_ENC, "latent_bias", false, false));
    ORTH_TRY(sae_want(source, SAE_B_DEC, "pre_bias", false, false));
    return sae_check_tensors(source, 0, 0, statistics);
}

static orth_status check(const orth_sae *sae, bool *calibrate)
{
    *calibrate = false;
    if (sae->recipe.selection != ORTH_SELECT_TOPK)
        return sae_cannot_select("openai", sae, "knows topk alone");
    if (sae->recipe.input != ORTH_INPUT_LAYERNORM)
        return sae_cannot_normalise("openai", sae, "always normalises as layernorm does",
                                    "layernorm");
    return ORTH_OK;
}

static orth_status plan(const orth_sae_export *what, sae_target *target)
{
    const orth_sae *sae = what->sae;
    sae_add_file(target, "autoencoder.pt", ORTH_FORMAT_TORCH);
    sae_add_part(target, sae, "pre_bias", SAE_B_DEC, false);
    sae_add_part(target, sae, "latent_bias", SAE_B_ENC, false);
    sae_add_vector(target, sae, statistics[0], ORTH_TENSOR_I64, SAE_VALUE_LAST_ACTIVE);
    sae_add_vector(target, sae, statistics[1], ORTH_TENSOR_F32, SAE_VALUE_FREQUENCY);
    sae_add_vector(target, sae, statistics[2], ORTH_TENSOR_F32, SAE_VALUE_MEAN_SQUARE);
    sae_add_part(target, sae, "encoder.weight", SAE_W_ENC, false);
    sae_add_part(target, sae, "decoder.weight", SAE_W_DEC, true);
    const orth_tensor_entry plain[] = {
        {.name = "activation", .kind = ORTH_ENTRY_TEXT, .text = "TopK"},
        {.name = "activation_state_dict/k", .kind = ORTH_ENTRY_INTEGER, .integer = sae->recipe.k},
        {.name = "activation_state_dict/postact_fn", .kind = ORTH_ENTRY_TEXT, .text = "ReLU"}};
    for (int i = 0; i < 3; i++)
        sae_add_value(target, plain + i, SAE_VALUE_PLAIN);
    return ORTH_OK;
}

const sae_format sae_format_openai = {.name = "openai",
                                      .tensors_name = "autoencoder.pt",
                                      .suffix = ".pt",
                                      .describe = describe,
                                      .check = check,
                                      .plan = plan};
