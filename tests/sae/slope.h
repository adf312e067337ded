#ifndef ORTHANT_TESTS_SAE_SLOPE_H
#define ORTHANT_TESTS_SAE_SLOPE_H

#include "plain.h"

#include <orthant/sae/recipe.h>

/** The loss of RECIPES.md with everything held fixed that no gradient flows through: the selected
 * sets, and AuxK's detached target and denominator. */
typedef struct slope {
    const orth_recipe *recipe;
    double mse_scale;
    bool *mask;  ///< (n_token, n) the selection
    bool *multi; ///< (n_token, n) multi-topk's larger set
    bool *aux;   ///< (n_token, n) AuxK's choice of dead latents
    bool *dead;  ///< (n)
    int64_t n_dead;
    double *target;  ///< (n_token, d) x - x_hat + b_dec, what Gao's AuxK explains
    double variance; ///< mean (target - mean_B target)^2
} slope;

/** Terms of the loss, coefficients included. */
typedef struct slope_terms {
    double mse, aux, afa;
} slope_terms;

/** Number of parameters: W_enc, W_dec, b_enc, b_dec one after another. */
int64_t slope_size(const plain *p);

/** Select, then count the dead: latents with `idle[i]` that do not fire now. */
void slope_begin(const plain *p, const orth_recipe *recipe, double mse_scale, const bool *idle,
                 slope *out);
void slope_end(slope *s);

/** The loss at p's weights. */
slope_terms slope_loss(const plain *p, const slope *s);

/** Central differences of the loss, (slope_size) doubles. */
void slope_gradient(const plain *p, const slope *s, double *gradient);

/** Mean number of selected entries of a valid token. */
double slope_l0(const plain *p, const slope *s);

/** sum |r|^2 / sum |x - mean x|^2 over the valid tokens. */
double slope_fvu(const plain *p, const slope *s);

#endif
