#ifndef ORTHANT_EVAL_DICTIONARY_MATCH_H
#define ORTHANT_EVAL_DICTIONARY_MATCH_H

#include <orthant/eval/quantile.h>
#include <orthant/sae/model.h>

#include <stdbool.h>

/**
 * The latents of one dictionary, each against its nearest of another: the largest cosine
 * max_j cos(w_i, v_j), signed (codes are not negative, so a latent and its opposite are different
 * ones). Rows of zeros match nothing: cosine 0.
 */
typedef struct orth_match {
    int64_t n_latent;
    double mean; ///< mean max cosine similarity (MMCS; Sharkey et al. 2022)
    double min, max;
    double quantiles[5];      ///< at 5, 25, 50, 75 and 95 %
    int64_t above_07;         ///< latents whose largest cosine is above 0.7
    int64_t above_09;         ///< and above 0.9
    orth_histogram histogram; ///< of the largest cosines: bins of 1/64 from -1 to 1
    int64_t *nearest; ///< (n_latent) the other dictionary's; NULL but on rank 0 if asked for
    double *cosines;  ///< (n_latent) with them
} orth_match;

/** Two dictionaries, both ways. */
typedef struct orth_dictionary_match {
    orth_match a_to_b; ///< for each latent of A the nearest of B
    orth_match b_to_a;
} orth_dictionary_match;

/**
 * Match the decoders (the encoders with `encoder`) of two models of one d_model; n_latent may
 * differ. With `each` rank 0 gets the nearest latent of every one. The models are spread over grids
 * of the same ranks. Blocks of B travel, products are made in tiles: n_A n_B d multiplications over
 * all ranks, no n_A x n_B matrix, a block and some numbers for each own latent in memory.
 * Which latent is the nearest is decided in double, of equal ones it is the lowest (kern/match.h):
 * the same on every grid; the sums to rounding. Equal on all ranks. Collective over both grids;
 * agreed (a rank that fails alone in the middle ends the job). End with orth_dictionary_match_free.
 */
orth_status orth_dictionary_match_measure(const orth_sae *a, const orth_sae *b, bool encoder,
                                          bool each, orth_dictionary_match *out);
void orth_dictionary_match_free(orth_dictionary_match *match);

#endif
