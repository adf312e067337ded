#ifndef ORTHANT_SAE_ENCODE_H
#define ORTHANT_SAE_ENCODE_H

#include <orthant/kern/screen.h>
#include <orthant/par/phase.h>
#include <orthant/sae/batch.h>
#include <orthant/sae/model.h>
#include <orthant/sae/selection.h>

#include <stdbool.h>
#include <stdint.h>

/** What a certified screening has kept of the tokens of a block (kern/screen.h). */
typedef struct orth_screened_block {
    int64_t capacity;              ///< entries that there is room for, per token
    int64_t room;                  ///< of it used in the block under way
    float *upper, *lower;          ///< (block, capacity)
    uint32_t *position;            ///< (block, capacity) among the encoded latents
    int64_t *count;                ///< (block)
    float *cut;                    ///< (block) what stays below cannot be selected
    int64_t *next;                 ///< (block) the count from which the cut is raised again
    bool *guessed;                 ///< (block) the cut is a guess, to be confirmed at the end
    bool guess;                    ///< whether cuts are guessed
    int64_t n_latent;              ///< encoded latents in the block under way
    float *alpha, *beta;           ///< (block) see kern/screen.h
    float *unit;                   ///< (block) int8
    float *fine_alpha, *fine_beta; ///< (block) of the second stage
    bool *lost;                    ///< (block) too many entries: the token is encoded in fp32
    uint32_t *slots;               ///< (block) scratch
} orth_screened_block;

/** Panels that the encoder packs its operands into; made once. */
typedef struct orth_encoder {
    const orth_screen *screen; ///< of the main selection; NULL: fp32
    int64_t block;             ///< tokens of the largest block
    int64_t d_model;
    char *x_panels;        ///< the tokens of a block
    char *w_panels;        ///< the latents of a tile
    char *held;            ///< the fp32 panels of all own latents; NULL: packed for every block
    float *held_bias;      ///< their b_enc
    char *x_fine, *w_fine; ///< their rows for a second stage
    int64_t w_bytes;
    float *rows; ///< of the packed latents: b_enc; for screening p, q, base, unit, fine q
    float *tile; ///< (threads, panel_tokens, ORTH_TILE_LATENTS)
    orth_screened_block screened; ///< only with a screen
} orth_encoder;

/**
 * The screening for a selection of `k` of `n_latent` latents per token by sae->encode, NULL for
 * fp32: a function of the configuration, the sizes and the instruction set, never of a timing.
 * fp32: never. bf16, int8: where latents are 16 times as many as are selected, the selection has a
 * k and a row is no longer than the precision allows (int8 gives way to bf16, that to fp32). auto:
 * int8 where the instruction set multiplies bytes (orth_screen.faster), 128 <= d_model <= 2048 and
 * latents are 64 times and d_model / 8 times as many as are selected, so that few are left to its
 * second stage; else bf16 where the set has it and d_model >= 64; else fp32.
 */
const orth_screen *orth_encode_screen(const orth_sae *sae, orth_selection_kind kind, int64_t k,
                                      int64_t n_latent);

/** Allocate for blocks of at most `block` tokens; with a screen, of `capacity` entries each.
 * Local. */
orth_status orth_encoder_create(const orth_screen *screen, int64_t block, int64_t capacity,
                                int64_t d_model, orth_encoder *out);

/** Pack all own latents once, for many batches with weights that do not change: as much memory
 * again as W_enc takes. Codes keep their bits. An encoder with a screen goes on as before. Local;
 * with new weights call it again. */
orth_status orth_encoder_hold(const orth_sae *sae, orth_encoder *encoder);

void orth_encoder_free(orth_encoder *encoder);

/**
 * Encode and select: a = W_enc (x - b_dec) + b_enc, each value that enters the code the canonical
 * dot product (kern/table.h `chain`), block of tokens by block, tile of latents by tile; every tile
 * is reduced to candidates while it is in cache, and the selection's code receives what the ranks
 * agree on. Nothing of size tokens x latents is stored beyond one block's candidates.
 *
 * With a screen (and many times more latents than are selected) the tiles are products in low
 * precision; what a rigorous bound of their error leaves gets its canonical value, so that the code
 * has the same bits.
 *
 * `latents` lists the own latents to encode, ascending (NULL: all n_own; a list of none is allowed,
 * the rank still takes part). The batch is centred. Collective over the token group, for batchtopk
 * over the world. The status is local: a failure here ends the run (the other ranks are waiting).
 */
orth_status orth_encode_select(const orth_sae *sae, const orth_batch *batch,
                               const uint32_t *latents, int64_t n_latents, orth_encoder *encoder,
                               orth_selection *selection, orth_phase_timer *timer);

#endif
