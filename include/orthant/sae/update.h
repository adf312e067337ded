#ifndef ORTHANT_SAE_UPDATE_H
#define ORTHANT_SAE_UPDATE_H

#include <orthant/par/phase.h>
#include <orthant/sae/bucket.h>
#include <orthant/sae/gradient.h>

/** Latents between two foldings of the partial sums for b_dec. */
enum { ORTH_BAND_CHUNKS = 128 };

/** Buffers of the update. No gradient is stored beyond the chunks that threads work on or the
 * buckets that are under way, unless the clip may bind. */
typedef struct orth_learner {
    float *chunks; ///< (threads, 2, ORTH_CHUNK_LATENTS, d_model) W_enc and W_dec; one token group
    orth_buckets buckets;     ///< several token groups
    orth_block_gradient held; ///< the own part, untouched unless the clip may bind; else NULL
    float *bias;              ///< (n_own) gradient of b_enc
    double *b_dec;            ///< (d_model) gradient of b_dec
    double *partial;          ///< (at least ORTH_BAND_CHUNKS, d_model) parts of it
    double *square;           ///< (n_own) of the gradient norm
    double *tokens;           ///< (2, n_token) scratch of orth_gradient_bound; NULL without clip
} orth_learner;

/** Allocate for `n_token` tokens a group. Local. */
orth_status orth_learner_create(const orth_sae *sae, int64_t n_token, orth_learner *out);
void orth_learner_free(orth_learner *learner);

/**
 * Gradient, its sum over the token groups, and the update of every parameter in the recipe's order
 * (RECIPES, the update): for `gao` W_dec rows are normalised, the gradient projected off them, then
 * clip, EMA, Adam; for `topafa` clip, projection off the normalised rows, Adam; for `none` clip,
 * Adam. learner->b_dec holds the sum of the upstream gradients of the own tokens (orth_batch.part)
 * for the decoder bias. `rate` is the learning rate of this step.
 *
 * `bound` is not below the gradient's norm, and the same on all ranks (orth_gradient_bound;
 * INFINITY: nothing known). Where it shows that the clip does not bind, a chunk of latents is
 * updated at once while its gradient is in cache; otherwise the own part's gradient is held until
 * the norm is known. With several token groups each rank updates its part of the shard and sends
 * the rows to its peers (sae/bucket.h), so that the shard is the same on all of them. Both give the
 * same bits, and neither depends on the number of threads.
 *
 * Sets *grad_norm: the global norm at the place of the clip. Increments sae->step. Collective over
 * the grid; the status is local: a failure ends the run.
 */
orth_status orth_gradient_update(orth_sae *sae, const orth_batch *batch,
                                 const orth_branch *branches, int n_branch, double rate,
                                 double bound, orth_product_scratch *scratch, orth_learner *learner,
                                 double *grad_norm, orth_phase_timer *timer);

/** The learning rate of update `step` (from 1) of a run of `steps`: linear warm-up over
 * recipe.warmup steps, linear decay to 0 over the last recipe.decay share. */
double orth_learning_rate(const orth_recipe *recipe, int64_t step, int64_t steps);

#endif
