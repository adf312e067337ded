/* SAELens (jbloomAus/SAELens), versions 6 and, as published folders have them, before: cfg.json,
 * sae_weights.safetensors with W_enc [d, n], W_dec [n, d], b_enc, b_dec, threshold. Architectures
 * topk, jumprelu, standard (a plain ReLU) and batchtopk, which only a training checkpoint names: at
 * inference it is a jumprelu with one threshold. Its layer_norm is
 * Orthant's layernorm: (x - mean) / (std + 1e-5), std with divisor d - 1. */
#include "sae_format.h"

#include "top_afa.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Versions before 6 name the activation function apart from the architecture. */
static orth_status old_activation(const sae_source *source, const char **architecture)
{
    const char *activation;
    ORTH_TRY(sae_config_text(source, "activation_fn", "", &activation));
    if (!activation[0])
        ORTH_TRY(sae_config_text(source, "activation_fn_str", "relu", &activation));
    if (strcmp(activation, "topk") == 0 && strcmp(*architecture, "standard") == 0)
        *architecture = "topk";
    else if (strcmp(activation, "relu") != 0 && strcmp(activation, "topk") != 0)
        return sae_refuse(source, "activation_fn", activation, "only relu and topk are known");
    return ORTH_OK;
}

static orth_status read_k(sae_source *source)
{
    sae_source inner = *source;
    json_t *arguments = json_object_get(source->config, "activation_fn_kwargs");
    if (!json_object_get(source->config, "k") && json_is_object(arguments))
        inner.config = arguments;
    return sae_config_count(&inner, "k", 0, &source->description.k);
}

static bool is_batchtopk(const char *architecture)
{
    return strcmp(architecture, "batchtopk") == 0 ||
           strcmp(architecture, "matryoshka_batchtopk") == 0;
}

static orth_status read_architecture(sae_source *source)
{
    orth_sae_description *d = &source->description;
    const char *name;
    ORTH_TRY(sae_config_text(source, "architecture", "standard", &name));
    ORTH_TRY(old_activation(source, &name));
    snprintf(d->architecture, sizeof d->architecture, "%s", name);
    d->selection = ORTH_SELECT_JUMPRELU;
    if (strcmp(name, "topk") == 0) {
        d->selection = ORTH_SELECT_TOPK;
        ORTH_TRY(read_k(source));
        return sae_config_flag(source, "rescale_acts_by_decoder_norm", false, &source->normed);
    }
    if (is_batchtopk(name)) {
        source->judged_normed = true;
        return sae_config_flag(source, "rescale_acts_by_decoder_norm", true, &source->normed);
    }
    if (strcmp(name, "jumprelu") != 0 && strcmp(name, "standard") != 0)
        return sae_refuse(source, "architecture", name,
                          "only topk, batchtopk, jumprelu and standard are known");
    return ORTH_OK;
}

/* The factor of the input that the tool keeps beside the folder while it trains. */
static orth_status read_scale(sae_source *source, const char *kind)
{
    char name[4096];
    snprintf(name, sizeof name, "%s/activation_scaler.json", source->path);
    json_t *scaler = json_load_file(name, 0, NULL);
    double factor = json_number_value(json_object_get(scaler, "scaling_factor"));
    json_decref(scaler);
    if (!(factor > 0.0) || !isfinite(factor))
        return sae_refuse(source, "normalize_activations", kind,
                          "its factor is not in the folder (activation_scaler.json)");
    source->description.input = ORTH_INPUT_SCALE;
    source->description.input_scale = factor;
    return ORTH_OK;
}

static orth_status read_normalisation(sae_source *source)
{
    const char *kind;
    const json_t *value = json_object_get(source->config, "normalize_activations");
    if (json_is_false(value)) /* before version 3 */
        return ORTH_OK;
    ORTH_TRY(sae_config_text(source, "normalize_activations", "none", &kind));
    if (strcmp(kind, "layer_norm") == 0)
        source->description.input = ORTH_INPUT_LAYERNORM;
    else if (strcmp(kind, "expected_average_only_in") == 0)
        return read_scale(source, kind);
    else if (strcmp(kind, "none") != 0)
        return sae_refuse(source, "normalize_activations", kind,
                          "only none, layer_norm and a constant factor are known");
    return ORTH_OK;
}

static orth_status describe(sae_source *source)
{
    int64_t d_in, d_sae;
    bool centred, finetuned;
    const char *reshape;
    ORTH_TRY(read_architecture(source));
    ORTH_TRY(read_normalisation(source));
    ORTH_TRY(sae_config_flag(source, "finetuning_scaling_factor", false, &finetuned));
    if (finetuned)
        return sae_refuse(source, "finetuning_scaling_factor", "true",
                          "factors of a fine-tuning are not known");
    ORTH_TRY(sae_config_text(source, "reshape_activations", "none", &reshape));
    if (strcmp(reshape, "none") != 0 && strcmp(reshape, "hook_z") != 0)
        return sae_refuse(source, "reshape_activations", reshape, "only none and hook_z are known");
    ORTH_TRY(sae_config_flag(source, "apply_b_dec_to_input", true, &centred));
    source->uncentred = !centred;
    ORTH_TRY(sae_config_count(source, "d_in", 0, &d_in));
    ORTH_TRY(sae_config_count(source, "d_sae", 0, &d_sae));
    ORTH_TRY(sae_want(source, SAE_W_ENC, "W_enc", true, false));
    ORTH_TRY(sae_want(source, SAE_W_DEC, "W_dec", false, false));
    ORTH_TRY(sae_want(source, SAE_B_ENC, "b_enc", false, false));
    ORTH_TRY(sae_want(source, SAE_B_DEC, "b_dec", false, false));
    if (strcmp(source->description.architecture, "jumprelu") == 0)
        ORTH_TRY(sae_want(source, SAE_THRESHOLD, "threshold", false, false));
    if (is_batchtopk(source->description.architecture))
        ORTH_TRY(sae_want(source, SAE_THRESHOLD, "topk_threshold", false, false));
    return sae_check_tensors(source, d_in, d_sae, NULL);
}

static orth_status check(const orth_sae *sae, bool *calibrate)
{
    *calibrate = sae->recipe.selection == ORTH_SELECT_TOPAFA ||
                 sae->recipe.selection == ORTH_SELECT_BATCHTOPK;
    if (sae->recipe.input == ORTH_INPUT_UNIT)
        return sae_cannot_normalise("saelens", sae, "has layernorm and constant factors alone",
                                    "none, layernorm or scale");
    return ORTH_OK;
}

static orth_status add_config(const orth_sae *sae, bool topk, sae_target *target)
{
    bool layernorm = sae->recipe.input == ORTH_INPUT_LAYERNORM;
    json_t *config =
        json_pack("{sssIsIsssssbsssss{ss}}", "architecture", topk ? "topk" : "jumprelu", "d_in",
                  (json_int_t)sae->d_model, "d_sae", (json_int_t)sae->recipe.n_latent, "dtype",
                  "float32", "device", "cpu", "apply_b_dec_to_input", 1, "normalize_activations",
                  layernorm ? "layer_norm" : "none", "reshape_activations", "none", "metadata",
                  "sae_lens_version", "6.0.0");
    if (topk) {
        json_object_set_new(config, "k", json_integer(sae->recipe.k));
        json_object_set_new(config, "rescale_acts_by_decoder_norm", json_false());
    }
    return sae_add_json(target, "cfg.json", config);
}

static orth_status plan(const orth_sae_export *what, sae_target *target)
{
    const orth_sae *sae = what->sae;
    bool topk = sae->recipe.selection == ORTH_SELECT_TOPK;
    sae_add_file(target, "sae_weights.safetensors", ORTH_FORMAT_SAFETENSORS);
    sae_add_part(target, sae, "W_enc", SAE_W_ENC, true);
    sae_add_part(target, sae, "W_dec", SAE_W_DEC, false);
    sae_add_part(target, sae, "b_enc", SAE_B_ENC, false);
    sae_add_part(target, sae, "b_dec", SAE_B_DEC, false);
    if (!topk)
        sae_add_part(target, sae, "threshold", SAE_THRESHOLD, false);
    if (what->fired) {
        sae_add_file(target, "sparsity.safetensors", ORTH_FORMAT_SAFETENSORS);
        sae_add_vector(target, sae, "sparsity", ORTH_TENSOR_F32, SAE_VALUE_LOG_FREQUENCY);
    }
    ORTH_TRY(add_config(sae, topk, target));
    if (sae->recipe.selection == ORTH_SELECT_TOPAFA)
        ORTH_TRY(sae_add_text(target, "top_afa.py", orth_python_files[0].begin));
    return ORTH_OK;
}

const sae_format sae_format_saelens = {.name = "saelens",
                                       .config_name = "cfg.json",
                                       .tensors_name = "sae_weights.safetensors",
                                       .describe = describe,
                                       .check = check,
                                       .plan = plan};
