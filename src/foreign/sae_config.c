/* What a tool's file asks of a folder that is being read: keys of its configuration, tensors. */
#include "sae_format.h"

#include <stdio.h>
#include <string.h>

static const json_t *value_of(const sae_source *source, const char *key)
{
    const json_t *value = json_object_get(source->config, key);
    return json_is_null(value) ? NULL : value;
}

static orth_status missing(const sae_source *source, const char *key)
{
    return orth_fail(ORTH_ERR_CORRUPT,
                     "%s: the key '%s' is missing; add it, or get the whole folder",
                     source->config_path, key);
}

static orth_status of_other_type(const sae_source *source, const char *key, const char *wanted)
{
    return orth_fail(ORTH_ERR_CORRUPT,
                     "%s: the key '%s' is not %s; correct it, or get the folder "
                     "again",
                     source->config_path, key, wanted);
}

orth_status sae_config_count(const sae_source *source, const char *key, int64_t fallback,
                             int64_t *out)
{
    const json_t *value = value_of(source, key);
    if (!value && fallback > 0) {
        *out = fallback;
        return ORTH_OK;
    }
    if (!value)
        return missing(source, key);
    if (!json_is_integer(value) || json_integer_value(value) < 1)
        return of_other_type(source, key, "an integer from 1 on");
    *out = json_integer_value(value);
    return ORTH_OK;
}

orth_status sae_config_text(const sae_source *source, const char *key, const char *fallback,
                            const char **out)
{
    const json_t *value = value_of(source, key);
    if (!value && fallback) {
        *out = fallback;
        return ORTH_OK;
    }
    if (!value)
        return missing(source, key);
    if (!json_is_string(value))
        return of_other_type(source, key, "a text");
    *out = json_string_value(value);
    return ORTH_OK;
}

orth_status sae_config_flag(const sae_source *source, const char *key, bool fallback, bool *out)
{
    const json_t *value = value_of(source, key);
    *out = fallback;
    if (!value)
        return ORTH_OK;
    if (!json_is_boolean(value))
        return of_other_type(source, key, "true or false");
    *out = json_is_true(value);
    return ORTH_OK;
}

orth_status sae_refuse(const sae_source *source, const char *key, const char *value,
                       const char *why)
{
    return orth_fail(ORTH_ERR_CORRUPT, "%s: %s: %.100s: %s; give a folder without it",
                     source->config_path ? source->config_path : source->path, key, value, why);
}

orth_status sae_want(sae_source *source, sae_part part, const char *name, bool transposed,
                     bool optional)
{
    const orth_tensor_entry *entry = orth_tensor_file_find(source->tensors, name);
    if (!entry && optional)
        return ORTH_OK;
    if (!entry || entry->kind != ORTH_ENTRY_TENSOR)
        return orth_fail(ORTH_ERR_CORRUPT, "%s: the tensor '%s' is missing; get the whole file",
                         orth_tensor_file_path(source->tensors), name);
    source->parts[part] = (sae_tensor){entry, transposed};
    return ORTH_OK;
}

static orth_status check_shape(const sae_source *source, const sae_tensor *tensor, int rank,
                               int64_t rows, int64_t columns)
{
    char text[192];
    const orth_tensor_entry *e = tensor->entry;
    if (!e)
        return ORTH_OK;
    int64_t first = tensor->transposed ? columns : rows;
    int64_t second = tensor->transposed ? rows : columns;
    if (e->rank == rank && e->shape[0] == first && (rank == 1 || e->shape[1] == second))
        return ORTH_OK;
    if (rank == 1)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%s: the tensor '%s' is %s, not [%lld]; get the file again",
                         orth_tensor_file_path(source->tensors), e->name,
                         orth_tensor_shape_text(e, text), (long long)first);
    return orth_fail(ORTH_ERR_CORRUPT,
                     "%s: the tensor '%s' is %s, not [%lld, %lld]; get the file again",
                     orth_tensor_file_path(source->tensors), e->name,
                     orth_tensor_shape_text(e, text), (long long)first, (long long)second);
}

static orth_status set_sizes(sae_source *source, int64_t d_model, int64_t n_latent)
{
    char text[192];
    const sae_tensor *W = &source->parts[SAE_W_ENC];
    orth_sae_description *d = &source->description;
    d->n_latent = W->entry->shape[W->transposed];
    d->d_model = W->entry->shape[!W->transposed];
    bool right = W->entry->rank == 2 && d->n_latent > 0 && d->d_model > 0 &&
                 d->n_latent <= INT32_MAX && d->d_model <= INT32_MAX / 2;
    if (right && (d_model == 0 || d_model == d->d_model) &&
        (n_latent == 0 || n_latent == d->n_latent))
        return ORTH_OK;
    if (!right)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%s: the tensor '%s' is %s, no matrix of weights; get the "
                         "file again",
                         orth_tensor_file_path(source->tensors), W->entry->name,
                         orth_tensor_shape_text(W->entry, text));
    return orth_fail(ORTH_ERR_CORRUPT,
                     "%s: the tensor '%s' is %s, but %s says %lld latents of %lld values; get both "
                     "files again",
                     orth_tensor_file_path(source->tensors), W->entry->name,
                     orth_tensor_shape_text(W->entry, text), source->config_path,
                     (long long)(n_latent ? n_latent : d->n_latent),
                     (long long)(d_model ? d_model : d->d_model));
}

static bool is_listed(const char *name, const char *const *list)
{
    for (; list && *list; list++)
        if (strcmp(name, *list) == 0)
            return true;
    return false;
}

static orth_status refuse_unknown(const sae_source *source, const char *const *ignored)
{
    for (int64_t i = 0; i < orth_tensor_file_count(source->tensors); i++) {
        const orth_tensor_entry *entry = orth_tensor_file_entry(source->tensors, i);
        bool known = entry->kind != ORTH_ENTRY_TENSOR || is_listed(entry->name, ignored);
        for (int part = 0; part < SAE_PARTS && !known; part++)
            known = source->parts[part].entry == entry;
        if (!known)
            return orth_fail(ORTH_ERR_CORRUPT,
                             "%s: the tensor '%s' is of no autoencoder that Orthant knows, and "
                             "leaving it out would change the result; give another folder",
                             orth_tensor_file_path(source->tensors), entry->name);
    }
    return ORTH_OK;
}

/* Integers are quantised weights, whose scale is somewhere else, or no weights. */
static orth_status check_types(const sae_source *source)
{
    for (int part = 0; part < SAE_PARTS; part++) {
        const orth_tensor_entry *e = source->parts[part].entry;
        if (!e || e->type == ORTH_TENSOR_F16 || e->type == ORTH_TENSOR_BF16 ||
            e->type == ORTH_TENSOR_F32 || e->type == ORTH_TENSOR_F64)
            continue;
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%s: the tensor '%s' is of type %s, not of floats; save it as F32, F16, "
                         "BF16 or F64",
                         orth_tensor_file_path(source->tensors), e->name,
                         orth_tensor_type_name(e->type));
    }
    return ORTH_OK;
}

orth_status sae_check_tensors(sae_source *source, int64_t d_model, int64_t n_latent,
                              const char *const *ignored)
{
    orth_sae_description *d = &source->description;
    const sae_tensor *parts = source->parts, *threshold = parts + SAE_THRESHOLD;
    ORTH_TRY(set_sizes(source, d_model, n_latent));
    ORTH_TRY(check_types(source));
    ORTH_TRY(check_shape(source, parts + SAE_W_DEC, 2, d->n_latent, d->d_model));
    ORTH_TRY(check_shape(source, parts + SAE_B_ENC, 1, d->n_latent, 1));
    ORTH_TRY(check_shape(source, parts + SAE_B_DEC, 1, d->d_model, 1));
    /* One threshold may stand for all. */
    if (threshold->entry && threshold->entry->count != 1)
        ORTH_TRY(check_shape(source, threshold, 1, d->n_latent, 1));
    if (orth_selection_uses_k(d->selection) && d->k > d->n_latent)
        return orth_fail(ORTH_ERR_CORRUPT, "%s: k is %lld, more than the %lld latents; correct it",
                         source->config_path ? source->config_path : source->path, (long long)d->k,
                         (long long)d->n_latent);
    return refuse_unknown(source, ignored);
}
