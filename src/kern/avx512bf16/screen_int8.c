/* AVX512-VNNI: 12 tokens x 32 latents in 24 accumulators, four columns at a time; AVX512-BF16 for
 * the second stage. */
#include "../avx512/lanes.h"
#include "../screen_int8_rows.h"
#include "../sets.h"

#include <immintrin.h>

enum { TOKENS = 12, LATENTS = 32 };

/* One level of the transform within a register: lanes whose partner is at the distance that
 * `partner` stands for, the upper of each two subtracted. */
#define LEVEL(v, partner, upper)                                                                   \
    _mm512_fmadd_ps(v, _mm512_mask_blend_ps(upper, one, minus_one), partner)

/* As int8_rotate_block for 128 columns. */
static inline void rotate_128(const float *row, float *out)
{
    const __m512 one = _mm512_set1_ps(1.0f), minus_one = _mm512_set1_ps(-1.0f);
    const __m512 scale = _mm512_set1_ps(0x1.6a09e6p-4f);
    const __m512 sign = _mm512_set1_ps(-0.0f);
    __m512 v[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        __mmask16 turned = (__mmask16)(int8_signs[i / 2] >> 16 * (i % 2));
        __m512 value = _mm512_loadu_ps(row + 16 * i);
        value = _mm512_mask_xor_ps(value, turned, value, sign);
        value = LEVEL(value, _mm512_permute_ps(value, 0xb1), 0xaaaa);
        value = LEVEL(value, _mm512_permute_ps(value, 0x4e), 0xcccc);
        value = LEVEL(value, _mm512_shuffle_f32x4(value, value, 0xb1), 0xf0f0);
        v[i] = LEVEL(value, _mm512_shuffle_f32x4(value, value, 0x4e), 0xff00);
    }
#pragma GCC unroll 3
    for (int stride = 1; stride < 8; stride *= 2)
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++)
            if (!(i & stride)) {
                __m512 a = v[i], b = v[i + stride];
                v[i] = _mm512_add_ps(a, b);
                v[i + stride] = _mm512_sub_ps(a, b);
            }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        _mm512_storeu_ps(out + 16 * i, _mm512_mul_ps(v[i], scale));
}

/* As int8_round. */
static void round_row(const float *row, int64_t d, int64_t r, int8_t *steps,
                      const orth_screen_rows *out)
{
    float turned[INT8_WIDEST];
    int64_t whole = d / INT8_BLOCK * INT8_BLOCK;
    for (int64_t j = 0; j < whole; j += INT8_BLOCK)
        rotate_128(row + j, turned + j);
    int8_rotate(row, whole, d, turned);
    __m512 size = _mm512_setzero_ps(), rest = size, most = size;
    for (int64_t j = 0; j < d; j += 16) {
        __m512 value = _mm512_maskz_loadu_ps(lanes_16(d - j), row + j);
        __m512 rotated = _mm512_maskz_loadu_ps(lanes_16(d - j), turned + j);
        size = _mm512_fmadd_ps(value, value, size);
        most = _mm512_max_ps(_mm512_abs_ps(rotated), most);
    }
    float sum = _mm512_reduce_add_ps(size), largest = _mm512_reduce_max_ps(most);
    bool ordinary = int8_ordinary(sum);
    float unit = ordinary ? int8_unit(largest) : 0.0f;
    __m512 inverse = _mm512_set1_ps(unit > 0.0f ? 127.0f / largest : 0.0f);
    for (int64_t j = 0; j < d; j += 16) {
        __m512 value = _mm512_maskz_loadu_ps(ordinary ? lanes_16(d - j) : 0, turned + j);
        __m512i step = _mm512_cvtps_epi32(_mm512_mul_ps(value, inverse));
        __m512 error = _mm512_fnmadd_ps(_mm512_set1_ps(unit), _mm512_cvtepi32_ps(step), value);
        rest = _mm512_fmadd_ps(error, error, rest);
        _mm_storeu_si128((__m128i *)(steps + j), _mm512_cvtsepi32_epi8(step));
    }
    int8_finish_row(sum, _mm512_reduce_add_ps(rest), unit, d, r, out);
}

static int32_t interleave(const int8_t *steps, int64_t d, int width, uint32_t flip, uint32_t *lane)
{
    __m512i sum = _mm512_setzero_si512();
    const __m512i ones = _mm512_set1_epi8(1);
    for (int64_t j = 0; j < d; j += 64)
        sum = _mm512_dpbusd_epi32(sum, ones, _mm512_loadu_si512(steps + j));
    for (int64_t j = 0; j < d; j += 4) {
        uint32_t word;
        memcpy(&word, steps + j, sizeof word);
        *(lane += width) = word ^ flip;
    }
    return _mm512_reduce_add_epi32(sum);
}

static void pack(const float *rows, const uint32_t *index, int64_t count, int width, int64_t d,
                 uint32_t flip, uint32_t *panel, const orth_screen_rows *out)
{
    int8_t steps[INT8_WIDEST + 64];
    memset(steps + d / 64 * 64, 0, 64);
    if (count < width)
        memset(panel, 0, (size_t)(int8_row_bytes(d) * width));
    for (int64_t r = 0; r < width; r++) {
        if (r >= count) {
            out->size[r] = out->rest[r] = out->unit[r] = 0.0f;
            continue;
        }
        round_row(rows + (index ? (int64_t)index[r] : r) * d, d, r, steps, out);
        panel[r] = (uint32_t)(-128 * interleave(steps, d, width, flip, panel + r));
    }
}

static void pack_tokens(const float *rows, const uint32_t *index, int64_t count, int64_t d,
                        void *panel, const orth_screen_rows *out)
{
    pack(rows, index, count, TOKENS, d, 0x80808080u, panel, out);
}

static void pack_latents(const float *rows, const uint32_t *index, int64_t count, int64_t d,
                         void *panel, const orth_screen_rows *out)
{
    pack(rows, index, count, LATENTS, d, 0, panel, out);
}

static inline __attribute__((always_inline)) __mmask16
finish(__m512i sum, const uint32_t *offset, const orth_screen_tokens *tokens, int t,
       const orth_screen_latents *latents, int i, float *upper)
{
    sum = _mm512_add_epi32(sum, _mm512_loadu_si512(offset + i));
    __m512 product = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(tokens->unit[t]));
    __m512 bound = _mm512_fmadd_ps(product, _mm512_loadu_ps(latents->unit + i),
                                   _mm512_loadu_ps(latents->base + i));
    bound =
        _mm512_fmadd_ps(_mm512_set1_ps(tokens->alpha[t]), _mm512_loadu_ps(latents->p + i), bound);
    bound =
        _mm512_fmadd_ps(_mm512_set1_ps(tokens->beta[t]), _mm512_loadu_ps(latents->q + i), bound);
    _mm512_storeu_ps(upper + i, bound);
    return _mm512_cmp_ps_mask(bound, _mm512_set1_ps(tokens->cut[t]), _CMP_NLT_UQ);
}

/* Assembly, because compilers copy the accumulators of the intrinsic back and forth. */
static inline __attribute__((always_inline)) void add_products(__m512i *sum, __m512i four,
                                                               __m512i latents)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(four), "v"(latents));
}

static void product(int64_t d, const void *x, const void *w, const orth_screen_tokens *tokens,
                    const orth_screen_latents *latents, float *upper, int64_t stride,
                    uint32_t *mask)
{
    const uint32_t *token = x, *latent = w;
    __m512i sum[TOKENS][2];
#pragma GCC unroll 12
    for (int t = 0; t < TOKENS; t++)
        sum[t][0] = sum[t][1] = _mm512_setzero_si512();
    for (int64_t j = 1; j <= (d + 3) / 4; j++) {
        __m512i w0 = _mm512_loadu_si512(latent + j * LATENTS);
        __m512i w1 = _mm512_loadu_si512(latent + j * LATENTS + 16);
#pragma GCC unroll 12
        for (int t = 0; t < TOKENS; t++) {
            __m512i four = _mm512_set1_epi32((int)token[j * TOKENS + t]);
            add_products(&sum[t][0], four, w0);
            add_products(&sum[t][1], four, w1);
        }
    }
#pragma GCC unroll 12
    for (int t = 0; t < TOKENS; t++) {
        __mmask16 low = finish(sum[t][0], latent, tokens, t, latents, 0, upper + t * stride);
        __mmask16 high = finish(sum[t][1], latent, tokens, t, latents, 16, upper + t * stride);
        mask[t] = (uint32_t)high << 16 | low;
    }
}

/* --- The second stage. */

static void fine_pack_rows(const float *rows, const uint32_t *index, int64_t count, int64_t d,
                           void *fine, const orth_screen_rows *out)
{
    int64_t width = fine_row_bytes(d) / 2;
    for (int64_t r = 0; r < count; r++) {
        const float *row = rows + (index ? (int64_t)index[r] : r) * d;
        uint16_t *words = (uint16_t *)fine + r * width;
        __m512 size = _mm512_setzero_ps(), rest = size;
        for (int64_t j = 0; j < width; j += 16) {
            __mmask16 here = lanes_16(d - j);
            __m512 value = _mm512_maskz_loadu_ps(here, row + j);
            __m256i half = (__m256i)_mm512_cvtneps_pbh(value);
            __m512i bits = _mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16);
            __m512 error = _mm512_sub_ps(value, _mm512_castsi512_ps(bits));
            size = _mm512_fmadd_ps(value, value, size);
            rest = _mm512_fmadd_ps(error, error, rest);
            _mm256_storeu_si256((__m256i *)(words + j), half);
        }
        out->size[r] = screen_norm(_mm512_reduce_add_ps(size), d);
        out->rest[r] = screen_norm(_mm512_reduce_add_ps(rest), d);
    }
}

/* `n` products with one token, 8 chains of additions at a time. */
static inline __attribute__((always_inline)) void dots(int n, int64_t words, const uint32_t *x,
                                                       const uint32_t *const row[4], float *out)
{
    __m512 sum[4][2];
    for (int r = 0; r < n; r++)
        sum[r][0] = sum[r][1] = _mm512_setzero_ps();
    int64_t j = 0;
    for (; j + 32 <= words; j += 32) {
        __m512bh x0 = (__m512bh)_mm512_loadu_si512(x + j);
        __m512bh x1 = (__m512bh)_mm512_loadu_si512(x + j + 16);
#pragma GCC unroll 4
        for (int r = 0; r < n; r++) {
            sum[r][0] = _mm512_dpbf16_ps(sum[r][0], x0, (__m512bh)_mm512_loadu_si512(row[r] + j));
            sum[r][1] =
                _mm512_dpbf16_ps(sum[r][1], x1, (__m512bh)_mm512_loadu_si512(row[r] + j + 16));
        }
    }
    for (int r = 0; r < n; r++) {
        if (j < words)
            sum[r][0] = _mm512_dpbf16_ps(sum[r][0], (__m512bh)_mm512_loadu_si512(x + j),
                                         (__m512bh)_mm512_loadu_si512(row[r] + j));
        out[r] = _mm512_reduce_add_ps(_mm512_add_ps(sum[r][0], sum[r][1]));
    }
}

/* Bounds of up to 16 products and their latents. */
static void keep_16(const float *product, __mmask16 here, const uint32_t *index, uint32_t first,
                    float alpha, float beta, float cut, const orth_screen_latents *latents,
                    orth_screened *out)
{
    const __m512 zero = _mm512_setzero_ps();
    __m512i at = _mm512_maskz_loadu_epi32(here, index);
    __m512 p = _mm512_mask_i32gather_ps(zero, here, at, latents->p, 4);
    __m512 q = _mm512_mask_i32gather_ps(zero, here, at, latents->q, 4);
    __m512 base = _mm512_mask_i32gather_ps(zero, here, at, latents->base, 4);
    __m512 bias = _mm512_mask_i32gather_ps(zero, here, at, latents->bias, 4);
    __m512 high = _mm512_add_ps(_mm512_maskz_loadu_ps(here, product), base);
    high = _mm512_fmadd_ps(_mm512_set1_ps(alpha), p, high);
    high = _mm512_fmadd_ps(_mm512_set1_ps(beta), q, high);
    __m512 margin =
        _mm512_fmadd_ps(_mm512_abs_ps(bias), _mm512_set1_ps(0x1p-20f), _mm512_set1_ps(0x1p-100f));
    margin = _mm512_fmadd_ps(_mm512_set1_ps(alpha), p, margin);
    margin = _mm512_fmadd_ps(_mm512_set1_ps(beta), q, margin);
    __m512 low = _mm512_fmadd_ps(_mm512_set1_ps(-2.0f), margin, high);
    __mmask16 kept = _mm512_mask_cmp_ps_mask(here, high, _mm512_set1_ps(cut), _CMP_NLT_UQ);
    __m512i position = _mm512_add_epi32(at, _mm512_set1_epi32((int)first));
    _mm512_storeu_ps(out->upper + out->count, _mm512_maskz_compress_ps(kept, high));
    _mm512_storeu_ps(out->lower + out->count, _mm512_maskz_compress_ps(kept, low));
    _mm512_storeu_si512(out->position + out->count, _mm512_maskz_compress_epi32(kept, position));
    out->count += __builtin_popcount(kept);
}

static void fine_keep_rows(int64_t d, const void *x, const void *rows, int64_t n,
                           const uint32_t *index, uint32_t first, float alpha, float beta,
                           float cut, const orth_screen_latents *latents, orth_screened *out)
{
    int64_t words = fine_row_bytes(d) / 4;
    for (int64_t e = 0; e < n; e += 16) {
        int64_t count = n - e < 16 ? n - e : 16;
        float product[16];
        for (int64_t g = 0; g < count; g += 4) {
            const uint32_t *row[4];
            for (int64_t r = 0; r < 4; r++)
                row[r] = (const uint32_t *)rows + index[e + (g + r < count ? g + r : g)] * words;
            if (count - g > 2)
                dots(4, words, x, row, product + g);
            else if (count - g == 2)
                dots(2, words, x, row, product + g);
            else
                dots(1, words, x, row, product + g);
        }
        keep_16(product, lanes_16(count), index + e, first, alpha, beta, cut, latents, out);
    }
}

static const orth_screen_fine fine = {
    .row_bytes = fine_row_bytes, .pack = fine_pack_rows, .keep = fine_keep_rows};

const orth_screen orth_screen_int8_avx512bf16 = {.name = "int8",
                                                 .faster = true,
                                                 .widest = INT8_WIDEST,
                                                 .fine = &fine,
                                                 .panel_tokens = TOKENS,
                                                 .panel_latents = LATENTS,
                                                 .row_bytes = int8_row_bytes,
                                                 .pack_tokens = pack_tokens,
                                                 .pack_latents = pack_latents,
                                                 .product = product};
