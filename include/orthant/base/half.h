#ifndef ORTHANT_BASE_HALF_H
#define ORTHANT_BASE_HALF_H

#include <stdint.h>

/**
 * 16-bit floats in bulk. IEEE binary16 (1 sign, 5 exponent, 10 fraction bits) and bfloat16 (1, 8,
 * 7: the upper half of a float). Values are in host byte order. To float is exact, subnormals and
 * infinities included; a NaN stays one, quiet, with its payload. From float rounds to nearest, ties
 * to even, overflowing to infinity.
 */
void orth_f16_to_f32(const uint16_t *in, int64_t count, float *out);
void orth_bf16_to_f32(const uint16_t *in, int64_t count, float *out);
void orth_f32_to_f16(const float *in, int64_t count, uint16_t *out);
void orth_f32_to_bf16(const float *in, int64_t count, uint16_t *out);

/** The portable form of orth_f16_to_f32, which else uses F16C where the processor has it. */
void orth_f16_to_f32_portable(const uint16_t *in, int64_t count, float *out);

#endif
