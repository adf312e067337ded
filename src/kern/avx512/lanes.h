#ifndef ORTHANT_SRC_KERN_AVX512_LANES_H
#define ORTHANT_SRC_KERN_AVX512_LANES_H

#include <immintrin.h>
#include <stdint.h>

/* The first `left` lanes of a vector, all when there are more, none when there are none. */
static inline __mmask16 lanes_16(int64_t left)
{
    return (__mmask16)(left >= 16 ? 0xffffu : left > 0 ? (1u << left) - 1 : 0u);
}

static inline __mmask8 lanes_8(int64_t left)
{
    return (__mmask8)(left >= 8 ? 0xffu : left > 0 ? (1u << left) - 1 : 0u);
}

#endif
