#include <orthant/sae/recipe.h>

#include <stddef.h>

const char *const orth_selection_names[] = {"topk", "topafa", "batchtopk", "jumprelu", NULL};
const char *const orth_target_names[] = {"centred", "raw", NULL};
const char *const orth_input_names[] = {"none", "layernorm", "unit", "scale", NULL};
const char *const orth_init_names[] = {"gao", "kaiming", "file", NULL};
const char *const orth_loss_names[] = {"mse_scaled", "mse", "normalised", NULL};
const char *const orth_aux_names[] = {"gao", "topafa", "none", NULL};
const char *const orth_dead_names[] = {"tokens", "batches", NULL};
const char *const orth_decoder_names[] = {"gao", "topafa", "none", NULL};
const char *const orth_encode_names[] = {"auto", "fp32", "bf16", "int8", NULL};

bool orth_selection_uses_k(orth_selection_kind kind)
{
    return kind == ORTH_SELECT_TOPK || kind == ORTH_SELECT_BATCHTOPK;
}

bool orth_selection_trains(orth_selection_kind kind)
{
    return kind != ORTH_SELECT_JUMPRELU;
}
