#ifndef ORTHANT_TESTS_SAE_PLAIN_H
#define ORTHANT_TESTS_SAE_PLAIN_H

#include <stdbool.h>
#include <stdint.h>

/**
 * A whole sparse autoencoder and one global batch, as dense arrays, and the selections of
 * RECIPES.md on them by sorting everything: what the program is compared with. Nothing here calls
 * the program but its counter-based random numbers.
 */
typedef struct plain {
    int64_t n;            ///< latents
    int64_t d;            ///< d_model
    int64_t n_token;      ///< of the global batch
    float *W_enc;         ///< (n, d)
    float *W_dec;         ///< (n, d)
    float *b_enc;         ///< (n)
    float *b_dec;         ///< (d)
    float *threshold;     ///< (n) of jumprelu, not negative
    float *x;             ///< (n_token, d) after input normalisation
    bool *valid;          ///< (n_token) false: weight zero
    float *a;             ///< (n_token, n) pre-activations, set by plain_encode
    double *norm;         ///< (n_token) |x|, set by plain_encode
    double *norm_centred; ///< (n_token) |x - b_dec|, set by plain_encode
} plain;

/** Zeroed arrays, all tokens valid. */
plain plain_create(int64_t n, int64_t d, int64_t n_token);
void plain_free(plain *p);

/** Random weights and tokens; W_dec's rows have norms near one. */
void plain_random(plain *p, int64_t seed);

/** The canonical fp32 pre-activations (one fmaf chain over j, then b_enc) of x - b_dec, and norms.
 */
void plain_encode(plain *p);

/** (n_token, n) false everywhere. Free with free. */
bool *plain_mask(const plain *p);

/** The k largest positive pre-activations of each valid token; ties to the lower latent. `among`
 * (n) limits the choice, NULL: all latents. */
void plain_topk(const plain *p, int64_t k, const bool *among, bool *mask);

/** Top-AFA with exact integer sums; `centred`: t = |x - b_dec|, else |x|. */
void plain_topafa(const plain *p, bool centred, bool *mask);

/** The k * (valid tokens) largest positive pre-activations of the batch; ties to the lower token,
 * then the lower latent. */
void plain_batchtopk(const plain *p, int64_t k, bool *mask);

/** Those above 0 and their threshold. */
void plain_jumprelu(const plain *p, bool *mask);

/** Number of valid tokens. */
int64_t plain_n_valid(const plain *p);

/** Uniform in (-1, 1), a function of (seed, i). */
double plain_uniform(int64_t seed, int64_t i);

#endif
