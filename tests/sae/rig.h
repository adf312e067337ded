#ifndef ORTHANT_TESTS_SAE_RIG_H
#define ORTHANT_TESTS_SAE_RIG_H

#include "plain.h"

#include <orthant/sae/step.h>

/** The program on a grid, holding what a `plain` holds. Every function is collective. */
typedef struct rig {
    orth_grid grid;
    orth_sae sae;
    orth_workspace workspace;
} rig;

/** A recipe for small problems: topk, mse, no AuxK, no AFA, no clip, decoder_norm none. */
orth_recipe rig_recipe(const plain *p);

/** A grid of all ranks, the model with p's weights on it, and a workspace for training. */
void rig_open(const plain *p, const orth_recipe *recipe, int n_group, int n_shard, rig *out);
void rig_close(rig *r);

/** Give the model p's weights. */
void rig_set_weights(const plain *p, rig *r);

/** Put the own part of p's tokens in place. */
void rig_load(const plain *p, rig *r);

/** Set p's weights to those of the model, gathered from all shards. */
void rig_gather(const rig *r, plain *p);

/** Whether a code holds exactly the own entries of `mask`, in order, with p->a's bits. Local. */
bool rig_code_is(const rig *r, const orth_code *code, const plain *p, const bool *mask);

#endif
