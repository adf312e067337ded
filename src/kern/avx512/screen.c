/* AVX-512: what screening needs besides the low-precision products. */
#include "../screen_rows.h"
#include "../sets.h"
#include "lanes.h"
#include "transpose.h"

#include <immintrin.h>

void orth_avx512_screen_keep(const float *upper, uint32_t mask, uint32_t first, float alpha,
                             float beta, const orth_screen_latents *latents, orth_screened *out)
{
    const __m512i steps = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (int i = 0; i < 32; i += 16) {
        __mmask16 here = (__mmask16)(mask >> i);
        if (!here)
            continue;
        __m512 bias = _mm512_abs_ps(_mm512_maskz_loadu_ps(here, latents->bias + i));
        __m512 least = _mm512_set1_ps(0x1p-100f);
        __m512 margin = _mm512_fmadd_ps(bias, _mm512_set1_ps(0x1p-20f), least);
        __m512 p = _mm512_maskz_loadu_ps(here, latents->p + i);
        __m512 q = _mm512_maskz_loadu_ps(here, latents->q + i);
        margin = _mm512_fmadd_ps(_mm512_set1_ps(alpha), p, margin);
        margin = _mm512_fmadd_ps(_mm512_set1_ps(beta), q, margin);
        __m512 high = _mm512_maskz_loadu_ps(here, upper + i);
        __m512 low = _mm512_fmadd_ps(_mm512_set1_ps(-2.0f), margin, high);
        __m512i position = _mm512_add_epi32(_mm512_set1_epi32((int)first + i), steps);
        int64_t at = out->count;
        _mm512_storeu_ps(out->upper + at, _mm512_maskz_compress_ps(here, high));
        _mm512_storeu_ps(out->lower + at, _mm512_maskz_compress_ps(here, low));
        _mm512_storeu_si512(out->position + at, _mm512_maskz_compress_epi32(here, position));
        out->count += __builtin_popcount(here);
    }
}

static void filter(orth_screened *s, float cut)
{
    const __m512 limit = _mm512_set1_ps(cut);
    int64_t kept = 0;
    for (int64_t i = 0; i < s->count; i += 16) {
        __mmask16 here = lanes_16(s->count - i);
        __m512 upper = _mm512_maskz_loadu_ps(here, s->upper + i);
        __m512 lower = _mm512_maskz_loadu_ps(here, s->lower + i);
        __m512i position = _mm512_maskz_loadu_epi32(here, s->position + i);
        __mmask16 mask = _mm512_mask_cmp_ps_mask(here, upper, limit, _CMP_NLT_UQ);
        int count = __builtin_popcount(mask);
        __mmask16 head = (__mmask16)((1u << count) - 1);
        _mm512_mask_storeu_ps(s->upper + kept, head, _mm512_maskz_compress_ps(mask, upper));
        _mm512_mask_storeu_ps(s->lower + kept, head, _mm512_maskz_compress_ps(mask, lower));
        _mm512_mask_storeu_epi32(s->position + kept, head,
                                 _mm512_maskz_compress_epi32(mask, position));
        kept += count;
    }
    s->count = kept;
}

static inline __attribute__((always_inline)) int64_t count_from(const float *lower, int64_t n,
                                                                float cut)
{
    const __m512 limit = _mm512_set1_ps(cut);
    int64_t count = 0;
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 here = lanes_16(n - i);
        __m512 value = _mm512_maskz_loadu_ps(here, lower + i);
        count += __builtin_popcount(_mm512_mask_cmp_ps_mask(here, value, limit, _CMP_GE_OQ));
    }
    return count;
}

/* As screen_cut, between the cut and the largest of the lower bounds. */
static float higher_cut(const orth_screened *s, int64_t k, float cut)
{
    const uint32_t close_enough = 256;
    if (s->count < k || count_from(s->lower, s->count, cut) < k)
        return cut;
    __m512 most = _mm512_set1_ps(cut);
    for (int64_t i = 0; i < s->count; i += 16) {
        __mmask16 here = lanes_16(s->count - i);
        most = _mm512_max_ps(_mm512_maskz_loadu_ps(here, s->lower + i), most);
    }
    float largest = _mm512_reduce_max_ps(most);
    uint32_t low, high;
    memcpy(&low, &cut, sizeof low);
    memcpy(&high, &largest, sizeof high);
    for (high++; high - low > close_enough;) {
        uint32_t middle = low + (high - low) / 2;
        float value;
        memcpy(&value, &middle, sizeof value);
        if (count_from(s->lower, s->count, value) >= k)
            low = middle;
        else
            high = middle;
    }
    memcpy(&cut, &low, sizeof cut);
    return cut;
}

float orth_avx512_screen_raise(int64_t k, float cut, orth_screened *screened)
{
    cut = higher_cut(screened, k, cut);
    filter(screened, cut);
    return cut;
}

/* 16 latents at a time, a lane each: their rows are transposed 16 columns at a time. */
static void chain_group(int64_t count, const uint32_t *index, const uint32_t *next,
                        const float *rows, const float *x, int64_t d, float *out)
{
    const float *row[16], *ahead[16];
    for (int l = 0; l < 16; l++) {
        row[l] = rows + (int64_t)index[l < count ? l : count - 1] * d;
        ahead[l] = next ? rows + (int64_t)next[l] * d : row[l];
    }
    __m512 sum = _mm512_setzero_ps();
    for (int64_t j = 0; j < d; j += 16) {
        int width = d - j < 16 ? (int)(d - j) : 16;
        __mmask16 columns = (__mmask16)((1u << width) - 1);
        __m512i w[16];
#pragma GCC unroll 16
        for (int l = 0; l < 16; l++) {
            _mm_prefetch((const char *)(ahead[l] + j), _MM_HINT_T1);
            w[l] = _mm512_maskz_loadu_epi32(columns, row[l] + j);
        }
        transpose_16(w);
        if (width == 16) {
#pragma GCC unroll 16
            for (int c = 0; c < 16; c++)
                sum = _mm512_fmadd_ps(_mm512_set1_ps(x[j + c]), _mm512_castsi512_ps(w[c]), sum);
        } else {
            __m512i rest[16];
            memcpy(rest, w, sizeof rest);
            for (int c = 0; c < width; c++)
                sum = _mm512_fmadd_ps(_mm512_set1_ps(x[j + c]), _mm512_castsi512_ps(rest[c]), sum);
        }
    }
    _mm512_mask_storeu_ps(out, (__mmask16)((1u << count) - 1), sum);
}

void orth_avx512_chain_rows(int64_t n_entry, const uint32_t *index, const float *rows,
                            const float *bias, const float *x, int64_t d, float *out)
{
    for (int64_t e = 0; e < n_entry; e += 16) {
        int64_t count = n_entry - e < 16 ? n_entry - e : 16;
        const uint32_t *next = e + 32 <= n_entry ? index + e + 16 : NULL;
        chain_group(count, index + e, next, rows, x, d, out + e);
    }
    for (int64_t e = 0; e < n_entry; e++)
        out[e] += bias[index[e]];
}
