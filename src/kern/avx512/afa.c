/* AVX-512: top-AFA's sums eight candidates at a time.
 *
 * Strengths need a gather each, so candidates that the bounds of the norms already decide are left
 * out first, by their values alone; the others are packed together and then worked on. */
#include "../sets.h"

#include <orthant/kern/afa.h>

#include <immintrin.h>
#include <stdbool.h>

/* Keys come from far away; the processor does not fetch ahead beyond a page. */
enum { LANES = 8, CHUNK = 512, AHEAD = 256, COPIES = 4 };

/* Candidates in [least, most) by their keys: the others are outside whatever their norm is. */
typedef struct key_range {
    uint64_t least, most;
} key_range;

/* The token's constants, as vectors need them. */
typedef struct constants {
    const double *norm;
    __m512i first;    /* latent of norm[0] */
    __m512d square;   /* t^2 */
    __m512d limit;    /* largest quantum */
    __m512i low_half; /* mask of a key's lower half */
} constants;

static constants constants_of(const orth_afa_token *token)
{
    double square = token->target_square;
    return (constants){.norm = token->norm,
                       .first = _mm512_set1_epi64((int64_t)token->first),
                       .square = _mm512_set1_pd(square),
                       .limit = _mm512_set1_pd(square == 0.0 ? 0x1p38 : 0x1p39),
                       .low_half = _mm512_set1_epi64(0xffffffff)};
}

/* A value a as the upper half of a key, `steps` values away: a margin of 2^-20 covers the rounding
 * of s and of the bound itself, the steps what rounding does to subnormal values. */
static uint64_t key_at(double value, int64_t steps)
{
    float single = (float)value;
    uint32_t bits;
    memcpy(&bits, &single, sizeof bits);
    int64_t moved = (int64_t)bits + steps;
    return (uint64_t)(moved < 0 ? 0 : moved) << 32;
}

/* Keys below are of candidates weaker than `strength`, which is that of a positive double. */
static uint64_t key_below(const orth_afa_token *token, uint64_t strength)
{
    double value = sqrt(orth_afa_value(strength)) / token->norm_most * (1.0 - 0x1p-20);
    return value > 0.0 ? key_at(value, -2) : 0;
}

/* Keys from here on are of candidates stronger than `strength`. */
static uint64_t key_above(const orth_afa_token *token, uint64_t strength)
{
    double value = sqrt(orth_afa_value(strength)) / token->norm_least * (1.0 + 0x1p-20);
    return value >= 0.0 ? key_at(value, 2) : UINT64_MAX;
}

/* The keys that may have strengths in [low, high). */
static key_range keys_for(const orth_afa_token *token, uint64_t low, uint64_t high)
{
    return (key_range){key_below(token, low),
                       high >= ORTH_AFA_END ? UINT64_MAX : key_above(token, high)};
}

static inline __mmask8 lanes_left(int64_t n)
{
    unsigned lanes = n >= LANES ? 0xffu : (1u << n) - 1u;
    return (__mmask8)lanes;
}

/* Pack the keys that are in range; up to LANES more are written. */
static inline int64_t pack_range(const uint64_t *keys, int64_t n, key_range range, uint64_t *out)
{
    const __m512i least = _mm512_set1_epi64((int64_t)range.least);
    const __m512i width = _mm512_set1_epi64((int64_t)(range.most - range.least));
    int64_t count = 0;
    for (int64_t i = 0; i < n; i += LANES) {
        _mm_prefetch((const char *)(keys + i + AHEAD), _MM_HINT_T0);
        __m512i key = _mm512_maskz_loadu_epi64(lanes_left(n - i), keys + i);
        __mmask8 mask =
            _mm512_mask_cmplt_epu64_mask(lanes_left(n - i), _mm512_sub_epi64(key, least), width);
        _mm512_storeu_si512(out + count, _mm512_maskz_compress_epi64(mask, key));
        count += __builtin_popcount(mask);
    }
    return count;
}

static inline __m512i latents_of(const constants *c, __m512i key)
{
    return _mm512_andnot_si512(key, c->low_half);
}

/* The norms of eight latents. Single loads are faster than a gather where it is microcode. */
static inline __m512d norms_at(const double *norm, __mmask8 mask, __m512i place)
{
    int64_t at[LANES];
    _mm512_storeu_si512(at, _mm512_maskz_mov_epi64(mask, place));
    __m128d p0 = _mm_loadh_pd(_mm_load_sd(norm + at[0]), norm + at[1]);
    __m128d p1 = _mm_loadh_pd(_mm_load_sd(norm + at[2]), norm + at[3]);
    __m128d p2 = _mm_loadh_pd(_mm_load_sd(norm + at[4]), norm + at[5]);
    __m128d p3 = _mm_loadh_pd(_mm_load_sd(norm + at[6]), norm + at[7]);
    __m256d low = _mm256_insertf128_pd(_mm256_castpd128_pd256(p0), p1, 1);
    __m256d high = _mm256_insertf128_pd(_mm256_castpd128_pd256(p2), p3, 1);
    return _mm512_insertf64x4(_mm512_castpd256_pd512(low), high, 1);
}

/* The bits of s; zero where the mask is not set. */
static inline __m512i strengths(const constants *c, __mmask8 mask, __m512i key)
{
    __m512d value =
        _mm512_cvtps_pd(_mm256_castsi256_ps(_mm512_cvtepi64_epi32(_mm512_srli_epi64(key, 32))));
    __m512i place = _mm512_sub_epi64(latents_of(c, key), c->first);
    __m512d norm = norms_at(c->norm, mask, place);
    __m512d part = _mm512_mul_pd(value, norm);
    return _mm512_castpd_si512(_mm512_maskz_mul_pd(mask, part, part));
}

static inline __m512i quanta(const constants *c, __m512i strength)
{
    __m512d scaled = _mm512_mul_pd(_mm512_castsi512_pd(strength), _mm512_set1_pd(0x1p38));
    /* The minimum is its second operand when the first is no number. */
    __m512d units = _mm512_min_pd(_mm512_div_pd(scaled, c->square), c->limit);
    __m512d rounded = _mm512_roundscale_pd(units, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return _mm512_cvttpd_epi64(_mm512_max_pd(rounded, _mm512_set1_pd(1.0)));
}

static inline __mmask8 within(__mmask8 mask, __m512i strength, uint64_t low, uint64_t end)
{
    __m512i offset = _mm512_sub_epi64(strength, _mm512_set1_epi64((int64_t)low));
    return _mm512_mask_cmplt_epu64_mask(mask, offset, _mm512_set1_epi64((int64_t)(end - low)));
}

/* What is inside the window is packed, and added to the bins one by one. */
static inline int64_t put_inside(const orth_afa_window *window, __mmask8 mask, __m512i strength,
                                 __m512i quantum, uint64_t *bins, uint64_t *quanta_of)
{
    __m512i offset = _mm512_sub_epi64(strength, _mm512_set1_epi64((int64_t)window->low));
    __m512i bin = _mm512_srl_epi64(offset, _mm_cvtsi32_si128(window->shift));
    _mm512_storeu_si512(bins, _mm512_maskz_compress_epi64(mask, bin));
    _mm512_storeu_si512(quanta_of, _mm512_maskz_compress_epi64(mask, quantum));
    return __builtin_popcount(mask);
}

/* An entry whose bin was written just before would wait for that: neighbours use different copies.
 */
static void add_to_bins(const uint64_t *bins, const uint64_t *quanta_of, int64_t n,
                        orth_afa_bin (*copies)[ORTH_AFA_BINS])
{
    for (int64_t i = 0; i < n; i++) {
        orth_afa_bin *bin = copies[i % COPIES] + bins[i];
        __m128i entry = _mm_set_epi64x(1, (int64_t)quanta_of[i]);
        _mm_storeu_si128((__m128i *)bin, _mm_add_epi64(_mm_loadu_si128((__m128i *)bin), entry));
    }
}

static void add_copies(orth_afa_bin (*copies)[ORTH_AFA_BINS], orth_afa_tally *tally)
{
    for (int bin = 0; bin < ORTH_AFA_BINS; bin++) {
        orth_afa_bin all = {0, 0};
        for (int copy = 0; copy < COPIES; copy++) {
            all.sum += copies[copy][bin].sum;
            all.count += copies[copy][bin].count;
        }
        tally->bins[bin] = all;
    }
}

static void tally_candidates(const orth_afa_token *token, const orth_afa_window *given,
                             orth_afa_tally *tally)
{
    const constants c = constants_of(token);
    const orth_afa_window window = *given;
    const key_range range = keys_for(token, window.low, window.top);
    uint64_t keys[CHUNK + LANES], bins[CHUNK + LANES], quanta_of[CHUNK + LANES], n_above = 0;
    __m512i sum = _mm512_setzero_si512();
    orth_afa_bin copies[COPIES][ORTH_AFA_BINS];
    memset(copies, 0, sizeof copies);
    for (int64_t first = 0; first < token->n; first += CHUNK) {
        int64_t left = token->n - first, inside = 0;
        int64_t n = pack_range(token->keys + first, left < CHUNK ? left : CHUNK, range, keys);
        for (int64_t i = 0; i < n; i += LANES) {
            __mmask8 lanes = lanes_left(n - i);
            __m512i strength = strengths(&c, lanes, _mm512_loadu_si512(keys + i));
            __m512i quantum = quanta(&c, strength);
            __mmask8 above = within(lanes, strength, window.high, window.top);
            sum = _mm512_mask_add_epi64(sum, above, sum, quantum);
            n_above += (uint64_t)__builtin_popcount(above);
            inside += put_inside(&window, within(lanes, strength, window.low, window.high),
                                 strength, quantum, bins + inside, quanta_of + inside);
        }
        add_to_bins(bins, quanta_of, inside, copies);
    }
    add_copies(copies, tally);
    tally->above = (orth_afa_bin){(uint64_t)_mm512_reduce_add_epi64(sum), n_above};
}

static int64_t collect(const orth_afa_token *token, uint64_t low, uint64_t high,
                       orth_afa_entry *entries)
{
    const constants c = constants_of(token);
    const key_range range = keys_for(token, low, high);
    uint64_t keys[CHUNK + LANES], strength_of[LANES], latent_of[LANES];
    int64_t count = 0;
    for (int64_t first = 0; first < token->n; first += CHUNK) {
        int64_t left = token->n - first;
        int64_t n = pack_range(token->keys + first, left < CHUNK ? left : CHUNK, range, keys);
        for (int64_t i = 0; i < n; i += LANES) {
            __mmask8 lanes = lanes_left(n - i);
            __m512i key = _mm512_loadu_si512(keys + i), strength = strengths(&c, lanes, key);
            _mm512_storeu_si512(strength_of, strength);
            _mm512_storeu_si512(latent_of, latents_of(&c, key));
            for (unsigned in = within(lanes, strength, low, high); in; in &= in - 1) {
                int lane = __builtin_ctz(in);
                entries[count++] = (orth_afa_entry){strength_of[lane], latent_of[lane]};
            }
        }
    }
    return count;
}

/* Which of eight candidates are selected, where the bounds do not tell. */
static __mmask8 judge_exactly(const constants *c, const orth_afa_cut *cut, __mmask8 mask,
                              __m512i key)
{
    const __m512i limit = _mm512_set1_epi64((int64_t)cut->strength);
    const __m512i last = _mm512_set1_epi64((int64_t)cut->latent);
    __m512i strength = strengths(c, mask, key);
    __mmask8 equal = _mm512_mask_cmpeq_epu64_mask(mask, strength, limit);
    return (__mmask8)(_mm512_mask_cmpgt_epu64_mask(mask, strength, limit) |
                      _mm512_mask_cmple_epu64_mask(equal, latents_of(c, key), last));
}

static inline void put_selected(const constants *c, __mmask8 mask, __m512i key, int64_t room,
                                uint32_t *latents, float *values)
{
    __m512i packed = _mm512_maskz_compress_epi64(mask, key);
    __m256i latent = _mm512_cvtepi64_epi32(_mm512_sub_epi64(latents_of(c, packed), c->first));
    __m256i value = _mm512_cvtepi64_epi32(_mm512_srli_epi64(packed, 32));
    if (room >= LANES) {
        _mm256_storeu_si256((__m256i *)latents, latent);
        _mm256_storeu_si256((__m256i *)values, value);
    } else if (room > 0) {
        _mm256_mask_storeu_epi32(latents, lanes_left(room), latent);
        _mm256_mask_storeu_epi32(values, lanes_left(room), value);
    }
}

static int64_t select_candidates(const orth_afa_token *token, const orth_afa_cut *cut, int64_t room,
                                 uint32_t *latents, float *values)
{
    const constants c = constants_of(token);
    const key_range range = keys_for(token, cut->strength, cut->strength);
    const __m512i least = _mm512_set1_epi64((int64_t)range.least);
    const __m512i most = _mm512_set1_epi64((int64_t)range.most);
    int64_t count = 0;
    for (int64_t i = 0; i < token->n; i += LANES) {
        __mmask8 lanes = lanes_left(token->n - i);
        _mm_prefetch((const char *)(token->keys + i + AHEAD), _MM_HINT_T0);
        __m512i key = _mm512_maskz_loadu_epi64(lanes, token->keys + i);
        __mmask8 sure = _mm512_mask_cmpge_epu64_mask(lanes, key, most);
        __mmask8 open = (__mmask8)(_mm512_mask_cmpge_epu64_mask(lanes, key, least) & ~sure);
        if (open)
            sure = (__mmask8)(sure | judge_exactly(&c, cut, open, key));
        if (count < room && sure)
            put_selected(&c, sure, key, room - count, latents + count, values + count);
        count += __builtin_popcount(sure);
    }
    return count;
}

const orth_afa_kernels orth_afa_avx512 = {
    .tally = tally_candidates, .collect = collect, .select = select_candidates};
