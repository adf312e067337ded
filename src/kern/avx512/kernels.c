/* AVX-512: 12 tokens x 32 latents in 24 accumulators. */
#include "../rows.h"
#include "../screen_int8_rows.h"
#include "../screen_rows.h"
#include "../sets.h"

#include <immintrin.h>

enum { TOKENS = 12, LATENTS = 32 };

static void chain(int64_t d, const float *x, const float *w, const float *bias, float *out,
                  int64_t stride)
{
    __m512 sum[TOKENS][2];
#pragma GCC unroll 12
    for (int t = 0; t < TOKENS; t++)
        sum[t][0] = sum[t][1] = _mm512_setzero_ps();
    for (int64_t j = 0; j < d; j++) {
        __m512 w0 = _mm512_loadu_ps(w + j * LATENTS), w1 = _mm512_loadu_ps(w + j * LATENTS + 16);
#pragma GCC unroll 12
        for (int t = 0; t < TOKENS; t++) {
            __m512 value = _mm512_set1_ps(x[j * TOKENS + t]);
            sum[t][0] = _mm512_fmadd_ps(value, w0, sum[t][0]);
            sum[t][1] = _mm512_fmadd_ps(value, w1, sum[t][1]);
        }
    }
    __m512 b0 = _mm512_loadu_ps(bias), b1 = _mm512_loadu_ps(bias + 16);
#pragma GCC unroll 12
    for (int t = 0; t < TOKENS; t++) {
        _mm512_storeu_ps(out + t * stride, _mm512_add_ps(sum[t][0], b0));
        _mm512_storeu_ps(out + t * stride + 16, _mm512_add_ps(sum[t][1], b1));
    }
}

/* The keys of 8 values whose mask bits are set, stored one after another. */
static inline int64_t store_keys(__m256i bits, __m256i latents, __mmask8 mask, uint64_t *keys)
{
    __m512i high = _mm512_slli_epi64(_mm512_cvtepu32_epi64(bits), 32);
    __m512i key = _mm512_or_si512(high, _mm512_cvtepu32_epi64(latents));
    _mm512_storeu_si512(keys, _mm512_maskz_compress_epi64(mask, key));
    return __builtin_popcount(mask);
}

static int64_t keep(const float *row, int64_t n, float above, uint32_t first, uint64_t *keys)
{
    int64_t count = 0, i = 0;
    const __m512 limit = _mm512_set1_ps(above);
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    const __m512i steps = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    /* A store writes 8 keys whatever their number: there is room for one key for each value. */
    for (; i + 16 <= n; i += 16) {
        __m512 value = _mm512_loadu_ps(row + i);
        __mmask16 mask = _mm512_cmp_ps_mask(value, limit, _CMP_NLE_UQ);
        if (!mask)
            continue;
        __m512i bits = _mm512_and_si512(_mm512_castps_si512(value), magnitude);
        __m512i base = _mm512_set1_epi32((int)(first + (uint32_t)i));
        __m512i latents = _mm512_xor_si512(_mm512_add_epi32(base, steps), _mm512_set1_epi32(-1));
        count += store_keys(_mm512_castsi512_si256(bits), _mm512_castsi512_si256(latents),
                            (__mmask8)mask, keys + count);
        count +=
            store_keys(_mm512_extracti64x4_epi64(bits, 1), _mm512_extracti64x4_epi64(latents, 1),
                       (__mmask8)(mask >> 8), keys + count);
    }
    return count + rows_keep(row, i, n, above, first, keys + count);
}

static const orth_screen screen_bf16 = ORTH_SCREEN_BF16_PORTABLE;
static const orth_screen screen_int8 = ORTH_SCREEN_INT8_PORTABLE;

/* Both sets of this folder: with and without instructions for low-precision products. */
/* clang-format off */
/* NOLINTBEGIN(bugprone-macro-parentheses): designated values, one a line */
#define AVX512_SET(set, bf16, int8)                \
    {                                              \
        .name = set,                               \
        .panel_tokens = TOKENS,                    \
        .panel_latents = LATENTS,                  \
        .pack = orth_avx512_pack,                  \
        .chain = chain,                            \
        .keep = keep,                              \
        .keys = &orth_keys_avx512,                 \
        .sparse = &orth_sparse_avx512,             \
        .adam = orth_adam_avx512,                  \
        .passes = &orth_passes_avx512,             \
        .afa = &orth_afa_avx512,                   \
        .chain_rows = orth_avx512_chain_rows,      \
        .screen_bf16 = bf16,                       \
        .screen_int8 = int8,                       \
        .screen_keep = orth_avx512_screen_keep,    \
        .screen_raise = orth_avx512_screen_raise,  \
    }
/* NOLINTEND(bugprone-macro-parentheses) */
/* clang-format on */

const orth_kernels orth_kernels_avx512 = AVX512_SET("avx512", &screen_bf16, &screen_int8);
const orth_kernels orth_kernels_avx512bf16 =
    AVX512_SET("avx512bf16", &orth_screen_bf16_avx512bf16, &orth_screen_int8_avx512bf16);
