#ifndef ORTHANT_IO_SYNTH_H
#define ORTHANT_IO_SYNTH_H

#include <orthant/io/h5.h>

/**
 * Activations with a known dictionary: `latents` random directions g_l of unit length; token i is
 *
 *     x_i = sum over `active` different latents l of c_il g_l, + noise e_i,
 *
 * c_il = 1/2 + an exponential variable of mean 1/2 (so positive, mean 1), e_i standard normal in
 * each coordinate. Row i depends on (seed, i) alone.
 */
typedef struct orth_synth_options {
    int64_t tokens;
    int64_t d_model;
    int64_t latents;
    int64_t active;
    double noise;
    int64_t seed;
    orth_h5_type type; ///< ORTH_H5_FLOAT16, BFLOAT16, FLOAT or DOUBLE
} orth_synth_options;

/** The type of that name ("float16" or "f16", "bfloat16" or "bf16", "float32", "float64", ...).
 * ORTH_ERR_USAGE lists the names. Local. */
orth_status orth_synth_type(const char *name, orth_h5_type *out);

/**
 * Write `/activations [tokens, d_model]`, contiguous, and the truth: `/dictionary [latents,
 * d_model]` fp32, and as attributes what made it. Every rank writes its part of the rows; the
 * file's datasets are the same on any number of ranks. Collective over `comm`; agreed.
 * ORTH_ERR_USAGE for sizes out of range, ORTH_ERR_STORAGE.
 */
orth_status orth_synth_write(const char *path, const orth_synth_options *options, MPI_Comm comm);

#endif
