#ifndef ORTHANT_EVAL_ACTIVE_OVERLAP_H
#define ORTHANT_EVAL_ACTIVE_OVERLAP_H

#include <orthant/io/dataset.h>
#include <orthant/sae/model.h>

#include <stdbool.h>
#include <stdint.h>

/**
 * How far two models are active alike. On a token with the active latents S_A and S_B, and with the
 * match m(i) in B of each latent i of A,
 *
 *     share   = |{i in S_A : m(i) in S_B}| / |S_A|
 *     jaccard = |m(S_A) & S_B| / |m(S_A) | S_B|,   m(S_A) = {m(i) : i in S_A}
 *
 * averaged over the tokens on which a latent of A is active, and of A or of B.
 */
typedef struct orth_overlap_way {
    double share;
    double jaccard;
} orth_overlap_way;

/** Both ways: with the matches of A's latents in B, and of B's in A. */
typedef struct orth_overlap {
    int64_t tokens; ///< of weight one for both models
    orth_overlap_way a_to_b, b_to_a;
} orth_overlap;

/** A model, its table and its latents' matches among the other's: (n_latent), the same on all
 * ranks. */
typedef struct orth_overlap_side {
    const orth_sae *sae;
    orth_dataset *dataset;
    const int64_t *match;
} orth_overlap_side;

/**
 * Measure on all rows of a table, which both sides have open, in batches of `batch` rows; a batch
 * is what memory grows with. Rows with NaN or Inf are left out with `skip`, else an error. The
 * models are on grids of one shape. Equal on all ranks; on different grids to rounding.
 * ORTH_ERR_DATA: another width than a model's. Collective; agreed (a rank that fails alone in the
 * middle ends the job).
 */
orth_status orth_active_overlap(const orth_overlap_side *a, const orth_overlap_side *b,
                                int64_t batch, bool skip, orth_overlap *out);

#endif
