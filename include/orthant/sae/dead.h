#ifndef ORTHANT_SAE_DEAD_H
#define ORTHANT_SAE_DEAD_H

#include <orthant/sae/code.h>
#include <orthant/sae/model.h>

/** The own latents that are dead after the step's selection. */
typedef struct orth_dead {
    int parts; ///< that threads share the code in
    uint8_t
        *fired; ///< (parts, n_own) scratch; the first: fired in this step, over all token groups
    uint32_t *index; ///< (n_dead_own) own latents that are dead, ascending
    int64_t n_own;   ///< dead ones of the own shard
    int64_t n_dead;  ///< dead ones of the whole dictionary
} orth_dead;

orth_status orth_dead_create(int64_t n_own, orth_dead *out);
void orth_dead_free(orth_dead *dead);

/**
 * Count the steps since each latent fired, then list the dead (RECIPES, dead latents). `tokens`:
 * fired means f > 1e-3 for some token of the global batch, count = fired ? 1 : count + 1, dead iff
 * count > dead_tokens / batch (Gao). `batches`: f > 0, count = fired ? 0 : count + 1, dead iff
 * count >= dead_batches (top-AFA). Collective over the grid; a failure ends the run.
 */
orth_status orth_dead_update(orth_sae *sae, const orth_code *code, orth_dead *dead);

#endif
