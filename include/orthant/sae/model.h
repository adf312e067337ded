#ifndef ORTHANT_SAE_MODEL_H
#define ORTHANT_SAE_MODEL_H

#include <orthant/base/status.h>
#include <orthant/par/grid.h>
#include <orthant/sae/recipe.h>

#include <stdbool.h>
#include <stdint.h>

/** One array for each parameter: the weights themselves, or a moment or average of them. n_own is
 * the number of latents of the own shard; of moments and averages of the matrices only `part` of
 * them is here. b_dec is held whole and equal on every rank. */
typedef struct orth_params {
    float *W_enc; ///< (n_own, d_model), or (part, d_model)
    float *W_dec; ///< the same
    float *b_enc; ///< (n_own)
    float *b_dec; ///< (d_model)
} orth_params;

/** orth_sae.step of a model of which only the weights are known. */
enum { ORTH_STEP_UNKNOWN = -1 };

/** A sparse autoencoder in training: the own shard of everything that a checkpoint holds. */
typedef struct orth_sae {
    const orth_grid *grid; ///< not owned
    orth_recipe recipe;    ///< with n_latent and aux_k resolved
    int64_t d_model;
    orth_range own;             ///< the own shard: global latents [begin, end)
    orth_range part;            ///< the latents of it that this rank updates: its peers the others
    orth_params weights;        ///< W_dec as Adam left it: not exactly unit rows
    orth_params moment1;        ///< Adam's m; NULL pointers in a model that is only evaluated
    orth_params moment2;        ///< Adam's v
    orth_params average;        ///< EMA, uncorrected; NULL pointers when recipe.ema is 0
    float *threshold;           ///< (n_own) of jumprelu, none negative; NULL for the others
    int64_t *steps_since_fired; ///< (n_own)
    int64_t step;               ///< optimizer updates done, or ORTH_STEP_UNKNOWN
    double mse_scale;           ///< factor of the reconstruction term, 1 unless mse_scaled
    orth_encode_kind encode;    ///< how pre-activations are computed; no part of the model
    double input_scale;         ///< factor of the input, 1 unless input.norm is scale
} orth_sae;

/**
 * Allocate the own shard, zeroed; scales 1, step 0. Resolves n_latent = 0 and aux_k = 0. With
 * `trainable` false no moments, averages or counters are allocated. Not collective; the status is
 * local. The caller ends it with orth_sae_free. ORTH_ERR_ENVIRONMENT when memory fails.
 */
orth_status orth_sae_create(const orth_grid *grid, const orth_recipe *recipe, int64_t d_model,
                            bool trainable, orth_sae *out);

/** Free the arrays. A zeroed struct is allowed. */
void orth_sae_free(orth_sae *sae);

#endif
