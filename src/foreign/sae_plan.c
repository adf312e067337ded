/* What a tool's file says is to be written. */
#include "sae_format.h"

#include <orthant/base/memory.h>

#include <stdlib.h>

void sae_add_file(sae_target *target, const char *name, orth_tensor_format format)
{
    target->files[target->n_file++] = (sae_file){.name = name, .format = format};
}

static void add_item(sae_target *target, sae_item item)
{
    sae_file *file = &target->files[target->n_file - 1];
    file->items[file->count++] = item;
}

void sae_add_part(sae_target *target, const orth_sae *sae, const char *name, sae_part part,
                  bool transposed)
{
    int64_t n = sae->recipe.n_latent, d = sae->d_model;
    bool matrix = part == SAE_W_ENC || part == SAE_W_DEC;
    sae_item item = {.entry = {.name = name,
                               .kind = ORTH_ENTRY_TENSOR,
                               .type = ORTH_TENSOR_F32,
                               .rank = matrix ? 2 : 1},
                     .value = SAE_VALUE_PART,
                     .part = part,
                     .transposed = transposed};
    item.entry.shape[0] = part == SAE_B_DEC || transposed ? d : n;
    item.entry.shape[1] = transposed ? n : d;
    add_item(target, item);
}

void sae_add_uncentred_bias(sae_target *target, const orth_sae *sae, const char *name)
{
    sae_add_part(target, sae, name, SAE_B_ENC, false);
    sae_file *file = &target->files[target->n_file - 1];
    file->items[file->count - 1].uncentred = true;
}

void sae_add_value(sae_target *target, const orth_tensor_entry *entry, sae_value value)
{
    add_item(target, (sae_item){.entry = *entry, .value = value});
}

void sae_add_vector(sae_target *target, const orth_sae *sae, const char *name,
                    orth_tensor_type type, sae_value value)
{
    add_item(target, (sae_item){.entry = {.name = name,
                                          .kind = ORTH_ENTRY_TENSOR,
                                          .type = type,
                                          .rank = 1,
                                          .shape = {sae->recipe.n_latent}},
                                .value = value});
}

static orth_status add_text(sae_target *target, const char *name, char *text)
{
    if (!text)
        return orth_fail(ORTH_ERR_ENVIRONMENT, "%s: out of memory for its text; free some", name);
    target->texts[target->n_text].name = name;
    target->texts[target->n_text++].text = text;
    return ORTH_OK;
}

orth_status sae_add_json(sae_target *target, const char *name, json_t *object)
{
    char *text = object ? json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(object);
    return add_text(target, name, text);
}

orth_status sae_add_text(sae_target *target, const char *name, const char *text)
{
    return add_text(target, name, orth_strdup(text));
}

orth_status sae_cannot_select(const char *tool, const orth_sae *sae, const char *what)
{
    return orth_fail(ORTH_ERR_USAGE,
                     "--format %s: model.selection is %s, and this tool %s; export to saelens",
                     tool, orth_selection_names[sae->recipe.selection], what);
}

orth_status sae_cannot_normalise(const char *tool, const orth_sae *sae, const char *what,
                                 const char *known)
{
    bool elsewhere = sae->recipe.input != ORTH_INPUT_UNIT;
    return orth_fail(ORTH_ERR_USAGE,
                     "--format %s: input.norm is %s, and this tool %s; %strain with input.norm %s",
                     tool, orth_input_names[sae->recipe.input], what,
                     elsewhere ? "export to saelens, or " : "", known);
}
