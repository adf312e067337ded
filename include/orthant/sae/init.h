#ifndef ORTHANT_SAE_INIT_H
#define ORTHANT_SAE_INIT_H

#include <orthant/sae/model.h>
#include <orthant/sae/sample.h>

/**
 * Random initial weights by recipe.init (RECIPES, initialisation), the same model on any grid: row
 * i depends on (seed, i) alone. `gao`: W_enc uniform in +-1/sqrt(d), W_dec its unit rows, b_dec the
 * geometric median of the sample, then W_enc divided by the mean norm of the reconstructions of 256
 * random unit vectors. `kaiming`: W_enc uniform in +-sqrt(6/n), W_dec its unit rows, biases 0. To
 * add a scheme: a function and its line in the table of init.c. Collective over the grid; agreed.
 */
orth_status orth_init_random(orth_sae *sae, const orth_sample *sample);

/** W_dec = the rows of W_enc with unit norm; a zero row stays zero. Not collective. */
void orth_init_decoder(orth_sae *sae);

/**
 * Set the scales that the sample gives: input_scale (input.norm scale: mean |x|^2 becomes d; the
 * sample's rows are multiplied) and mse_scale (loss.kind mse_scaled: recipe.mse_scale, or when that
 * is auto 1 / mean (x - mean x)^2). Collective; agreed.
 */
orth_status orth_init_scales(orth_sae *sae, orth_sample *sample);

#endif
