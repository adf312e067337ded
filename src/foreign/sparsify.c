/* sparsify (EleutherAI): sae.safetensors with encoder.weight [n, d], encoder.bias, W_dec [n, d],
 * b_dec; cfg.json; the k largest of relu(encoder(x - b_dec)). */
#include "sae_format.h"

#include <stdio.h>
#include <string.h>

static orth_status refuse_kinds(const sae_source *source)
{
    static const char *const flags[] = {"transcode", "skip_connection", "signed"};
    static const char *const reasons[] = {"a transcoder predicts another layer than it reads",
                                          "a skip connection is no part of an autoencoder",
                                          "negative latents are not known to Orthant"};
    const char *activation;
    for (int i = 0; i < 3; i++) {
        bool set;
        ORTH_TRY(sae_config_flag(source, flags[i], false, &set));
        if (set)
            return sae_refuse(source, flags[i], "true", reasons[i]);
    }
    ORTH_TRY(sae_config_text(source, "activation", "topk", &activation));
    if (strcmp(activation, "topk") != 0)
        return sae_refuse(source, "activation", activation, "only topk is known");
    return ORTH_OK;
}

static orth_status describe(sae_source *source)
{
    orth_sae_description *d = &source->description;
    int64_t d_in, factor, n_latent = 0;
    snprintf(d->architecture, sizeof d->architecture, "topk");
    d->selection = ORTH_SELECT_TOPK;
    ORTH_TRY(refuse_kinds(source));
    ORTH_TRY(sae_config_count(source, "d_in", 0, &d_in));
    ORTH_TRY(sae_config_count(source, "k", 0, &d->k));
    const json_t *count = json_object_get(source->config, "num_latents");
    if (count && !json_is_null(count) &&
        !(json_is_integer(count) && json_integer_value(count) == 0)) {
        ORTH_TRY(sae_config_count(source, "num_latents", 0, &n_latent));
    } else {
        ORTH_TRY(sae_config_count(source, "expansion_factor", 0, &factor));
        if (__builtin_mul_overflow(factor, d_in, &n_latent))
            return sae_refuse(source, "expansion_factor", "too large",
                              "no file holds so many latents");
    }
    ORTH_TRY(sae_want(source, SAE_W_ENC, "encoder.weight", false, false));
    ORTH_TRY(sae_want(source, SAE_W_DEC, "W_dec", false, false));
    ORTH_TRY(sae_want(source, SAE_B_ENC, "encoder.bias", false, false));
    ORTH_TRY(sae_want(source, SAE_B_DEC, "b_dec", false, false));
    return sae_check_tensors(source, d_in, n_latent, NULL);
}

static orth_status check(const orth_sae *sae, bool *calibrate)
{
    *calibrate = false;
    if (sae->recipe.selection != ORTH_SELECT_TOPK)
        return sae_cannot_select("sparsify", sae, "knows topk alone");
    if (sae->recipe.input != ORTH_INPUT_NONE && sae->recipe.input != ORTH_INPUT_SCALE)
        return sae_cannot_normalise("sparsify", sae, "does not normalise its input",
                                    "none or scale");
    return ORTH_OK;
}

static orth_status plan(const orth_sae_export *what, sae_target *target)
{
    const orth_sae *sae = what->sae;
    sae_add_file(target, "sae.safetensors", ORTH_FORMAT_SAFETENSORS);
    sae_add_part(target, sae, "W_dec", SAE_W_DEC, false);
    sae_add_part(target, sae, "b_dec", SAE_B_DEC, false);
    sae_add_part(target, sae, "encoder.bias", SAE_B_ENC, false);
    sae_add_part(target, sae, "encoder.weight", SAE_W_ENC, false);
    return sae_add_json(target, "cfg.json",
                        json_pack("{sssisIsbsIsbsbsbsI}", "activation", "topk", "expansion_factor",
                                  0, "num_latents", (json_int_t)sae->recipe.n_latent,
                                  "normalize_decoder", 1, "k", (json_int_t)sae->recipe.k,
                                  "multi_topk", 0, "skip_connection", 0, "transcode", 0, "d_in",
                                  (json_int_t)sae->d_model));
}

const sae_format sae_format_sparsify = {.name = "sparsify",
                                        .config_name = "cfg.json",
                                        .tensors_name = "sae.safetensors",
                                        .describe = describe,
                                        .check = check,
                                        .plan = plan};
