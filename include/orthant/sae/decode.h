#ifndef ORTHANT_SAE_DECODE_H
#define ORTHANT_SAE_DECODE_H

#include <orthant/sae/code.h>
#include <orthant/sae/model.h>
#include <orthant/sae/tile.h>

/** Latents whose gradient one thread makes, and may use, while they are in its cache. */
enum { ORTH_CHUNK_LATENTS = 64 };

/** Scratch of all threads for products with codes. */
typedef struct orth_product_scratch {
    int threads;
    orth_tile_scratch *decode;   ///< (threads) lists are tokens
    orth_tile_scratch *gradient; ///< (threads) lists are latents; NULL when only decoding
} orth_product_scratch;

/** Allocate; `gradient` false leaves out what only gradients need. Local. */
orth_status orth_product_scratch_create(bool gradient, orth_product_scratch *out);
void orth_product_scratch_free(orth_product_scratch *scratch);

/**
 * out (n_token, d_model) = W_dec^T f of the whole dictionary, for the tokens that this rank works
 * on alone (orth_batch.part): the shards' parts added in rank order. Other tokens' rows are of the
 * own shard. Without b_dec. Collective over the token group; the status is local: a failure here
 * ends the run.
 */
orth_status orth_decode(const orth_sae *sae, const orth_code *code, orth_product_scratch *scratch,
                        float *out);

#endif
