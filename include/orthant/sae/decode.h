#ifndef ORTHANT_SAE_DECODE_H
#define ORTHANT_SAE_DECODE_H

#include <orthant/sae/code.h>
#include <orthant/sae/model.h>

/** Scratch of one thread for products that are done densely. */
typedef struct orth_dense_scratch {
    float *code;     ///< (threads, ORTH_DENSE_TOKENS, ORTH_DENSE_LATENTS)
    float *gradient; ///< the same; NULL when only decoding
} orth_dense_scratch;

/**
 * Products with a sparse code cost a row of memory traffic for each entry, dense ones use the
 * processor fully but multiply the zeros too. Above this share of non-zero entries a tile of
 * ORTH_DENSE_TOKENS x ORTH_DENSE_LATENTS is cheaper dense. A constant, so that the choice depends
 * on the data alone.
 */
#define ORTH_DENSE_SHARE 0.06
enum { ORTH_DENSE_TOKENS = 256, ORTH_DENSE_LATENTS = 128 };

/** Allocate; `gradient` false leaves that array out. Local. */
orth_status orth_dense_scratch_create(bool gradient, orth_dense_scratch *out);
void orth_dense_scratch_free(orth_dense_scratch *scratch);

/**
 * out (n_token, d_model) = W_dec^T f of the whole dictionary: the own shard's part, then summed
 * over the token group in rank order. Without b_dec. Collective over the token group; the status is
 * local: a failure here ends the run.
 */
orth_status orth_decode(const orth_sae *sae, const orth_code *code, orth_dense_scratch *scratch,
                        float *out);

#endif
