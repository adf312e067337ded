#ifndef ORTHANT_SAE_GRADIENT_H
#define ORTHANT_SAE_GRADIENT_H

#include <orthant/sae/batch.h>
#include <orthant/sae/code.h>
#include <orthant/sae/decode.h>
#include <orthant/sae/model.h>

/** The gradient of a block of own latents. */
typedef struct orth_block_gradient {
    float *W_enc; ///< (rows, d_model)
    float *W_dec; ///< (rows, d_model)
    float *b_enc; ///< (rows) the sum over tokens of the gradient to the pre-activation
} orth_block_gradient;

/** A branch's gradient that was made before; of all latents that are not listed it is 0. */
typedef struct orth_ready_gradient {
    int64_t n_row;
    const uint32_t *index; ///< (n_row) own latents, ascending
    orth_block_gradient rows;
} orth_ready_gradient;

/** A code whose reconstruction enters the loss: the selection's, AuxK's, multi-topk's. */
typedef struct orth_branch {
    const orth_code_transposed *code;
    const float *upstream; ///< (n_token, d_model) gradient of the loss to the reconstruction
    const float *pull;     ///< (n_token) the gradient to f_i gets pull[t] f_i more; NULL: nothing
    const orth_ready_gradient *ready; ///< only of the first branch, in place of the rest; or NULL
} orth_branch;

/**
 * The gradient of at most ORTH_CHUNK_LATENTS own latents [rows.begin, rows.end), from this token
 * group's tokens, all branches added, by the calling thread alone, which may be in a parallel
 * region: with g_i(t) = upstream(t) . W_dec,i + pull(t) f_i(t) on the entries of the code,
 *   W_dec,i: sum_t f_i(t) upstream(t);  W_enc,i: sum_t g_i(t) (x - b_dec)(t);
 *   b_enc,i: sum_t g_i(t).
 * Branch after branch, each token after token in ascending order: no result depends on what else is
 * in the chunk, nor on whether the first branch was ready. Not collective.
 */
void orth_gradient_chunk(const orth_sae *sae, const orth_batch *batch, const orth_branch *branches,
                         int n_branch, orth_range rows, orth_product_scratch *scratch,
                         orth_block_gradient *out);

#endif
