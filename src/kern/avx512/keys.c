/* AVX-512: keys eight at a time. */
#include "../sets.h"
#include "lanes.h"

#include <immintrin.h>

static int64_t count(const uint64_t *keys, int64_t n, uint64_t pivot, int64_t *equal)
{
    const __m512i p = _mm512_set1_epi64((long long)pivot);
    int64_t above = 0, same = 0;
    for (int64_t i = 0; i < n; i += 8) {
        __mmask8 here = lanes_8(n - i);
        __m512i key = _mm512_maskz_loadu_epi64(here, keys + i);
        above += __builtin_popcount(_mm512_mask_cmpgt_epu64_mask(here, key, p));
        same += __builtin_popcount(_mm512_mask_cmpeq_epu64_mask(here, key, p));
    }
    *equal = same;
    return above;
}

/* Keep the keys of the mask; a store never reaches past what has been read. */
static inline int64_t compact(uint64_t *to, __m512i key, __mmask8 mask)
{
    int kept = __builtin_popcount(mask);
    _mm512_mask_storeu_epi64(to, (__mmask8)((1u << kept) - 1),
                             _mm512_maskz_compress_epi64(mask, key));
    return kept;
}

static int64_t keep_from(uint64_t *keys, int64_t n, uint64_t cut)
{
    const __m512i c = _mm512_set1_epi64((long long)cut);
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i += 8) {
        __mmask8 here = lanes_8(n - i);
        __m512i key = _mm512_maskz_loadu_epi64(here, keys + i);
        kept += compact(keys + kept, key, _mm512_mask_cmpge_epu64_mask(here, key, c));
    }
    return kept;
}

static int64_t keep_below(uint64_t *keys, int64_t n, uint64_t cut)
{
    const __m512i c = _mm512_set1_epi64((long long)cut);
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i += 8) {
        __mmask8 here = lanes_8(n - i);
        __m512i key = _mm512_maskz_loadu_epi64(here, keys + i);
        kept += compact(keys + kept, key, _mm512_mask_cmplt_epu64_mask(here, key, c));
    }
    return kept;
}

const orth_key_kernels orth_keys_avx512 = {
    .count = count, .keep_from = keep_from, .keep_below = keep_below};
