#ifndef ORTHANT_SAE_ENCODE_H
#define ORTHANT_SAE_ENCODE_H

#include <orthant/par/phase.h>
#include <orthant/sae/batch.h>
#include <orthant/sae/model.h>
#include <orthant/sae/selection.h>

#include <stdint.h>

/** Panels that the encoder packs its operands into; made once. */
typedef struct orth_encoder {
    int64_t block; ///< tokens of the largest block
    int64_t d_model;
    float *x_panels; ///< the tokens of a block
    float *w_panels; ///< the latents of a tile
    float *bias;     ///< b_enc of a tile
    float *tile;     ///< (threads, panel_tokens, ORTH_TILE_LATENTS)
} orth_encoder;

/** Allocate for blocks of at most `block` tokens. Local. */
orth_status orth_encoder_create(int64_t block, int64_t d_model, orth_encoder *out);
void orth_encoder_free(orth_encoder *encoder);

/**
 * Encode and select: a = W_enc (x - b_dec) + b_enc, each value the canonical dot product
 * (kern/table.h `chain`), block of tokens by block, tile of latents by tile; every tile is reduced
 * to candidates while it is in cache, and the selection's code receives what the ranks agree on.
 * Nothing of size tokens x latents is stored beyond one block's candidates.
 *
 * `latents` lists the own latents to encode, ascending (NULL: all n_own; a list of none is allowed,
 * the rank still takes part). The batch is centred. Collective over the token group, for batchtopk
 * over the world. The status is local: a failure here ends the run (the other ranks are waiting).
 */
orth_status orth_encode_select(const orth_sae *sae, const orth_batch *batch,
                               const uint32_t *latents, int64_t n_latents, orth_encoder *encoder,
                               orth_selection *selection, orth_phase_timer *timer);

#endif
