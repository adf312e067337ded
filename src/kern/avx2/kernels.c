/* AVX2 and FMA: 6 tokens x 16 latents in 12 accumulators. */
#include "../keys_plain.h"
#include "../rows.h"
#include "../screen_int8_rows.h"
#include "../screen_rows.h"
#include "../sets.h"

#include <immintrin.h>

enum { TOKENS = 6, LATENTS = 16 };

static void chain(int64_t d, const float *x, const float *w, const float *bias, float *out,
                  int64_t stride)
{
    __m256 sum[TOKENS][2];
#pragma GCC unroll 6
    for (int t = 0; t < TOKENS; t++)
        sum[t][0] = sum[t][1] = _mm256_setzero_ps();
    for (int64_t j = 0; j < d; j++) {
        __m256 w0 = _mm256_loadu_ps(w + j * LATENTS), w1 = _mm256_loadu_ps(w + j * LATENTS + 8);
#pragma GCC unroll 6
        for (int t = 0; t < TOKENS; t++) {
            __m256 value = _mm256_broadcast_ss(x + j * TOKENS + t);
            sum[t][0] = _mm256_fmadd_ps(value, w0, sum[t][0]);
            sum[t][1] = _mm256_fmadd_ps(value, w1, sum[t][1]);
        }
    }
    __m256 b0 = _mm256_loadu_ps(bias), b1 = _mm256_loadu_ps(bias + 8);
#pragma GCC unroll 6
    for (int t = 0; t < TOKENS; t++) {
        _mm256_storeu_ps(out + t * stride, _mm256_add_ps(sum[t][0], b0));
        _mm256_storeu_ps(out + t * stride + 8, _mm256_add_ps(sum[t][1], b1));
    }
}

static int64_t keep(const float *row, int64_t n, float above, uint32_t first, uint64_t *keys)
{
    int64_t count = 0, i = 0;
    const __m256 limit = _mm256_set1_ps(above);
    for (; i + 8 <= n; i += 8) {
        __m256 value = _mm256_loadu_ps(row + i);
        /* Few pass: what is left of eight goes one by one. */
        if (_mm256_movemask_ps(_mm256_cmp_ps(value, limit, _CMP_NLE_UQ)))
            count += rows_keep(row, i, i + 8, above, first, keys + count);
    }
    return count + rows_keep(row, i, n, above, first, keys + count);
}

static float raise_cut(int64_t k, float cut, orth_screened *screened)
{
    cut = screen_cut(screened, k, cut);
    screen_filter(screened, cut);
    return cut;
}

static const orth_screen screen_bf16 = ORTH_SCREEN_BF16_PORTABLE;
static const orth_screen screen_int8 = ORTH_SCREEN_INT8_PORTABLE;

static const orth_key_kernels keys = ORTH_KEYS_PLAIN;

const orth_kernels orth_kernels_avx2 = {.name = "avx2",
                                        .panel_tokens = TOKENS,
                                        .panel_latents = LATENTS,
                                        .pack = rows_pack,
                                        .chain = chain,
                                        .keep = keep,
                                        .keys = &keys,
                                        .sparse = &orth_sparse_avx2,
                                        .adam = orth_adam_avx2,
                                        .passes = &orth_passes_avx2,
                                        .afa = &orth_afa_avx2,
                                        .chain_rows = screen_chain_rows,
                                        .screen_bf16 = &screen_bf16,
                                        .screen_int8 = &screen_int8,
                                        .screen_keep = screen_keep,
                                        .screen_raise = raise_cut};
