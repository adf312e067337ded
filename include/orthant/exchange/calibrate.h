#ifndef ORTHANT_EXCHANGE_CALIBRATE_H
#define ORTHANT_EXCHANGE_CALIBRATE_H

#include <orthant/io/dataset.h>
#include <orthant/sae/model.h>

#include <stdbool.h>

/** Consecutive rows of a batch, and whether rows with NaN or Inf are left out. */
typedef struct orth_calibrate_options {
    int64_t batch;
    bool skip;
} orth_calibrate_options;

/** What a model's codes on a table are like. */
typedef struct orth_firing {
    int64_t tokens;     ///< of weight one
    int64_t *fired;     ///< (n_own) tokens on which each own latent fired
    double *square_sum; ///< (n_own) sum of f^2 over them
} orth_firing;

/** Measure it on all rows. Equal on the ranks that own the same shard. Collective over the grid;
 * agreed. End with orth_firing_free. */
orth_status orth_firing_measure(const orth_sae *sae, orth_dataset *dataset,
                                const orth_calibrate_options *options, orth_firing *out);
void orth_firing_free(orth_firing *firing);

/**
 * Thresholds of a JumpReLU that fires as often as the model's own selection does on a table: for
 * each latent, with c = firing->fired, between the c-th and the (c + 1)-th largest of its
 * pre-activations on all rows (half-way, so that rounding in another program decides nothing). A
 * latent that never fires gets the largest float, one that fires wherever it is positive gets 0.
 * With `together` one threshold for all latents, between the values at the sum of the counts.
 * Values that tie at the cut stay out.
 *
 * Exact order statistics in bounded memory: the bits of the values are found digit by digit, with
 * five passes over the table and 2 KiB a latent. threshold (n_own). Collective over the grid;
 * agreed.
 */
orth_status orth_calibrate(const orth_sae *sae, orth_dataset *dataset, const orth_firing *firing,
                           bool together, const orth_calibrate_options *options, float *threshold);

#endif
