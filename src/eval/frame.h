#ifndef ORTHANT_SRC_EVAL_FRAME_H
#define ORTHANT_SRC_EVAL_FRAME_H

#include "outer_sum.h"

#include <orthant/eval/spectrum.h>

/** The latents whose rows this rank adds: every latent is one rank's. Their rows of W_dec. */
const float *orth_frame_rows(const orth_sae *sae, int64_t *n_row);

/** That all weights of the decoder, and of the encoder with `encoder`, are finite. Collective;
 * agreed. ORTH_ERR_CORRUPT names a latent. */
orth_status orth_frame_check(const orth_sae *sae, bool encoder);

/** W_dec^T W_dec, rows i times factor[i] (n_row; NULL: 1) first. Collective; agreed. End with
 * orth_outer_sum_free. */
orth_status orth_frame_create(const orth_sae *sae, const orth_block_grid *grid,
                              const double *factor, orth_outer_sum *out);

/** Eigenvalues of a finished sum, which is used up, descending into `out`; with `vectors` (a share)
 * its eigenvectors, in ascending order. Collective; agreed. */
orth_status orth_spectrum_of(orth_outer_sum *sum, double *vectors, orth_spectrum *out);

#endif
