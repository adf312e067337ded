#ifndef ORTHANT_SAE_COMPACT_H
#define ORTHANT_SAE_COMPACT_H

#include <orthant/sae/batch.h>
#include <orthant/sae/code.h>
#include <orthant/sae/dead.h>
#include <orthant/sae/decode.h>
#include <orthant/sae/gradient.h>
#include <orthant/sae/model.h>

/** Dead latents are taken out of the dictionary while they are at most that part of it. */
enum { ORTH_COMPACT_SHARE = 8 };

/**
 * AuxK's few dead latents as a dictionary of their own. Scattered over the shard they are so few in
 * each tile of its rows, and in each chunk of its latents, that a product with their code costs the
 * way over all tokens rather than its entries. In a dictionary of their own they are dense.
 * No result depends on which way is taken, so each rank takes its own.
 */
typedef struct orth_compact {
    int64_t capacity;             ///< latents that there is room for
    bool used;                    ///< this step's dead latents are taken out
    uint32_t *place;              ///< (n_own) where in the list a dead latent is; else anything
    float *W_dec;                 ///< (capacity, d_model) their rows
    orth_block_gradient gradient; ///< (capacity) their gradient
    orth_ready_gradient ready;    ///< the same, for a branch
} orth_compact;

/** Allocate for the shard of `sae`. Local. */
orth_status orth_compact_create(const orth_sae *sae, orth_compact *out);
void orth_compact_free(orth_compact *compact);

/** Take out the step's dead latents, unless they are too many. The list must stay while it is used.
 * Local. */
void orth_compact_begin(const orth_sae *sae, const orth_dead *dead, orth_compact *compact);

/**
 * orth_decode of a code whose latents are all dead ones. Where they are taken out, the code names
 * places in their list instead of own latents afterwards. Collective over the token group.
 */
orth_status orth_compact_decode(const orth_sae *sae, const orth_compact *compact, orth_code *code,
                                orth_product_scratch *scratch, float *out);

/** Latents of the dictionary that the code's entries name after orth_compact_decode. */
int64_t orth_compact_latents(const orth_sae *sae, const orth_compact *compact);

/** Where they are taken out, the gradient of the branch, which is ready for orth_gradient_chunk
 * afterwards. The threads share the latents; the same bits however they do. Local. */
void orth_compact_gradient(const orth_sae *sae, const orth_batch *batch,
                           orth_product_scratch *scratch, orth_compact *compact,
                           orth_branch *branch);

#endif
