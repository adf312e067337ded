#ifndef ORTHANT_SAE_UPDATE_H
#define ORTHANT_SAE_UPDATE_H

#include <orthant/par/phase.h>
#include <orthant/sae/gradient.h>

/** Buffers of the update. */
typedef struct orth_learner {
    orth_block_gradient block; ///< the whole shard with a clip norm, else a block: (rows, ...)
    float *values;             ///< (threads, n_token)
    double *b_dec;             ///< (d_model) gradient of b_dec
    double *square;            ///< (rows) of the gradient norm
} orth_learner;

/** Allocate for `n_token` tokens a group. With a clip norm the whole shard's gradient is held,
 * because its norm comes before the first update; otherwise a block's. Local. */
orth_status orth_learner_create(const orth_sae *sae, int64_t n_token, orth_learner *out);
void orth_learner_free(orth_learner *learner);

/**
 * Gradient, its sum over the token groups, and the update of every parameter in the recipe's order
 * (RECIPES, the update): for `gao` W_dec rows are normalised, the gradient projected off them, then
 * clip, EMA, Adam; for `topafa` clip, projection off the normalised rows, Adam; for `none` clip,
 * Adam. learner->b_dec holds the sum of the upstream gradients of this token group for the decoder
 * bias. `rate` is the learning rate of this step. Sets *grad_norm: the global norm at the place of
 * the clip. Increments sae->step. Collective over the grid; the status is local: a failure ends the
 * run.
 */
orth_status orth_gradient_update(orth_sae *sae, const orth_batch *batch,
                                 const orth_branch *branches, int n_branch, double rate,
                                 orth_dense_scratch *scratch, orth_learner *learner,
                                 double *grad_norm, orth_phase_timer *timer);

/** The learning rate of update `step` (from 1) of a run of `steps`: linear warm-up over
 * recipe.warmup steps, linear decay to 0 over the last recipe.decay share. */
double orth_learning_rate(const orth_recipe *recipe, int64_t step, int64_t steps);

#endif
