#ifndef ORTHANT_BASE_RANDOM_H
#define ORTHANT_BASE_RANDOM_H

#include <stdint.h>

/**
 * Counter-based random numbers (Philox 4x32-10, Salmon et al. 2011, through Random123): a value is
 * a pure function of (seed, stream, i, j), so that it is the same on every grid and in any order.
 * `stream` separates the uses; two uses never share one.
 */
typedef enum orth_random_stream {
    ORTH_RANDOM_WEIGHTS = 1, ///< initial W_enc: i = global latent, j = column
    ORTH_RANDOM_PROBES = 2,  ///< random unit vectors: i = vector, j = column
    ORTH_RANDOM_SHUFFLE = 3, ///< order of tokens
    ORTH_RANDOM_SYNTH = 4,   ///< synthetic activations
    ORTH_RANDOM_TEST = 5     ///< tests
} orth_random_stream;

/** 64 random bits. */
uint64_t orth_random_bits(uint64_t seed, orth_random_stream stream, uint64_t i, uint64_t j);

/** Uniform in [0, 1), 53 bits. */
double orth_random_uniform(uint64_t seed, orth_random_stream stream, uint64_t i, uint64_t j);

/** Standard normal (Box-Muller on the two halves of one counter's output). */
double orth_random_normal(uint64_t seed, orth_random_stream stream, uint64_t i, uint64_t j);

#endif
