/* AVX512-BF16: 12 tokens x 32 latents in 24 accumulators, two columns at a time. */
#include "../avx512/lanes.h"
#include "../avx512/transpose.h"
#include "../screen_rows.h"
#include "../sets.h"

#include <immintrin.h>

enum { TOKENS = 12, LATENTS = 32 };

/* Round 32 values of a row to the words of a panel, and add the squares of the values and of what
 * rounding takes away. */
static inline __m512i round_32(const float *row, int64_t left, __m512 *size, __m512 *rest)
{
    __mmask16 low = lanes_16(left), high = lanes_16(left - 16);
    __m512 a = _mm512_maskz_loadu_ps(low, row), b = _mm512_maskz_loadu_ps(high, row + 16);
    __m512i words = (__m512i)_mm512_cvtne2ps_pbh(b, a);
    __m512i half_a = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(words));
    __m512i half_b = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(words, 1));
    __m512 error_a = _mm512_sub_ps(a, _mm512_castsi512_ps(_mm512_slli_epi32(half_a, 16)));
    __m512 error_b = _mm512_sub_ps(b, _mm512_castsi512_ps(_mm512_slli_epi32(half_b, 16)));
    *size = _mm512_fmadd_ps(b, b, _mm512_fmadd_ps(a, a, *size));
    *rest = _mm512_fmadd_ps(error_b, error_b, _mm512_fmadd_ps(error_a, error_a, *rest));
    return words;
}

/* 16 rows of a panel from lane `at` on. */
static void pack_16(const float *const row[16], int64_t count, int width, int64_t d,
                    uint32_t *panel, float *size, float *rest)
{
    __m512 sizes[16], rests[16];
    __mmask16 lanes = lanes_16(width);
    for (int r = 0; r < 16; r++)
        sizes[r] = rests[r] = _mm512_setzero_ps();
    for (int64_t j = 0; j < d; j += 32) {
        __m512i w[16];
        for (int r = 0; r < 16; r++)
            w[r] = r < count ? round_32(row[r] + j, d - j, sizes + r, rests + r)
                             : _mm512_setzero_si512();
        transpose_16(w);
        int64_t pairs = (d - j + 1) / 2 < 16 ? (d - j + 1) / 2 : 16;
        for (int64_t p = 0; p < pairs; p++)
            _mm512_mask_storeu_epi32(panel + (j / 2 + p) * width, lanes, w[p]);
    }
    for (int r = 0; r < 16 && r < width; r++) {
        size[r] = r < count ? screen_norm(_mm512_reduce_add_ps(sizes[r]), d) : 0.0f;
        rest[r] = r < count ? screen_norm(_mm512_reduce_add_ps(rests[r]), d) : 0.0f;
    }
}

static void pack_tokens(const float *rows, const uint32_t *index, int64_t count, int64_t d,
                        void *panel, const orth_screen_rows *out)
{
    const float *row[16];
    for (int64_t r = 0; r < 16; r++)
        row[r] = rows + (r < count ? (index ? (int64_t)index[r] : r) : 0) * d;
    pack_16(row, count, TOKENS, d, panel, out->size, out->rest);
}

static void pack_latents(const float *rows, const uint32_t *index, int64_t count, int64_t d,
                         void *panel, const orth_screen_rows *out)
{
    for (int64_t half = 0; half < LATENTS; half += 16) {
        const float *row[16];
        int64_t here = count - half < 0 ? 0 : count - half < 16 ? count - half : 16;
        for (int64_t r = 0; r < 16; r++)
            row[r] = rows + (r < here ? (index ? (int64_t)index[half + r] : half + r) : 0) * d;
        pack_16(row, here, LATENTS, d, (uint32_t *)panel + half, out->size + half,
                out->rest + half);
    }
}

static inline __attribute__((always_inline)) __mmask16
finish(__m512 sum, const orth_screen_tokens *tokens, int t, const orth_screen_latents *latents,
       int i, float *upper)
{
    __m512 bound = _mm512_add_ps(sum, _mm512_loadu_ps(latents->base + i));
    bound =
        _mm512_fmadd_ps(_mm512_set1_ps(tokens->alpha[t]), _mm512_loadu_ps(latents->p + i), bound);
    bound =
        _mm512_fmadd_ps(_mm512_set1_ps(tokens->beta[t]), _mm512_loadu_ps(latents->q + i), bound);
    _mm512_storeu_ps(upper + i, bound);
    return _mm512_cmp_ps_mask(bound, _mm512_set1_ps(tokens->cut[t]), _CMP_NLT_UQ);
}

static void product(int64_t d, const void *x, const void *w, const orth_screen_tokens *tokens,
                    const orth_screen_latents *latents, float *upper, int64_t stride,
                    uint32_t *mask)
{
    const uint32_t *token = x, *latent = w;
    __m512 sum[TOKENS][2];
#pragma GCC unroll 12
    for (int t = 0; t < TOKENS; t++)
        sum[t][0] = sum[t][1] = _mm512_setzero_ps();
    for (int64_t j = 0; j < (d + 1) / 2; j++) {
        __m512bh w0 = (__m512bh)_mm512_loadu_si512(latent + j * LATENTS);
        __m512bh w1 = (__m512bh)_mm512_loadu_si512(latent + j * LATENTS + 16);
#pragma GCC unroll 12
        for (int t = 0; t < TOKENS; t++) {
            __m512bh pair = (__m512bh)_mm512_set1_epi32((int)token[j * TOKENS + t]);
            sum[t][0] = _mm512_dpbf16_ps(sum[t][0], pair, w0);
            sum[t][1] = _mm512_dpbf16_ps(sum[t][1], pair, w1);
        }
    }
#pragma GCC unroll 12
    for (int t = 0; t < TOKENS; t++) {
        __mmask16 low = finish(sum[t][0], tokens, t, latents, 0, upper + t * stride);
        __mmask16 high = finish(sum[t][1], tokens, t, latents, 16, upper + t * stride);
        mask[t] = (uint32_t)high << 16 | low;
    }
}

const orth_screen orth_screen_bf16_avx512bf16 = {.name = "bf16",
                                                 .faster = true,
                                                 .widest = SCREEN_WIDEST,
                                                 .panel_tokens = TOKENS,
                                                 .panel_latents = LATENTS,
                                                 .row_bytes = bf16_row_bytes,
                                                 .pack_tokens = pack_tokens,
                                                 .pack_latents = pack_latents,
                                                 .product = product};
