/* AVX-512: products of sparse lists with rows. The accumulators of 64 or 128 columns stay in
 * registers over a list; an entry's multiplications all have their row in the first-level cache,
 * packed there by the caller or fetched there ahead. */
#include "../sets.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

/* Columns that a list passes at a time: vectors of a near tile and of far rows, whose longer pieces
 * suit the memory better. */
enum { LANES = ORTH_DOT_LANES, NEAR = ORTH_TILE_COLUMNS / LANES, FAR = 8 };

/* The entries of one list, and the rows that are wanted after them: entry e of `ahead` for entry
 * e of the list. */
typedef struct entries {
    int64_t n;
    const uint32_t *index;
    const float *value;
    const uint32_t *ahead;
    const float *ahead_rows;
} entries;

/* The rows of one group of columns. */
typedef struct group {
    const float *rows;
    int64_t stride;
    __mmask16 last; ///< columns of its last vector
} group;

INLINE __mmask16 mask_of(const group *g, int v, int vectors, bool whole)
{
    return whole || v + 1 < vectors ? (__mmask16)0xffff : g->last;
}

INLINE __m512 load(const float *from, __mmask16 mask)
{
    return mask == 0xffff ? _mm512_loadu_ps(from) : _mm512_maskz_loadu_ps(mask, from);
}

INLINE void fetch_ahead(const entries *list, int64_t e, int64_t stride, int vectors)
{
    const float *row = list->ahead_rows + (int64_t)list->ahead[e] * stride;
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++)
        _mm_prefetch((const char *)(row + v * LANES), _MM_HINT_T0);
}

/* sum += value times the row's columns of one group. */
INLINE void add_row(const float *row, __m512 value, const group *g, int vectors, bool whole,
                    __m512 *sum)
{
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++)
        sum[v] =
            _mm512_fmadd_ps(value, load(row + v * LANES, mask_of(g, v, vectors, whole)), sum[v]);
}

/* Four entries at a time: their values come by one load, for the load unit is the bottleneck. */
INLINE int64_t add_fours(const entries *list, const group *g, int vectors, __m512 *sum)
{
    int64_t e = 0;
    for (; e + 4 <= list->n; e += 4) {
        __m512 values = _mm512_broadcast_f32x4(_mm_loadu_ps(list->value + e));
        const uint32_t *index = list->index + e;
        add_row(g->rows + (int64_t)index[0] * g->stride, _mm512_permute_ps(values, 0x00), g,
                vectors, true, sum);
        add_row(g->rows + (int64_t)index[1] * g->stride, _mm512_permute_ps(values, 0x55), g,
                vectors, true, sum);
        add_row(g->rows + (int64_t)index[2] * g->stride, _mm512_permute_ps(values, 0xaa), g,
                vectors, true, sum);
        add_row(g->rows + (int64_t)index[3] * g->stride, _mm512_permute_ps(values, 0xff), g,
                vectors, true, sum);
    }
    return e;
}

/* combine for one list and group of `vectors` x 16 columns, the last cut short unless `whole`. */
INLINE void combine_group(const entries *list, const group *g, int vectors, bool whole, bool far,
                          float *out)
{
    __m512 sum[FAR];
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++)
        sum[v] = load(out + v * LANES, mask_of(g, v, vectors, whole));
    int64_t e = whole && !far ? add_fours(list, g, vectors, sum) : 0;
    for (; e < list->n; e++) {
        if (far)
            fetch_ahead(list, e, g->stride, vectors);
        add_row(g->rows + (int64_t)list->index[e] * g->stride, _mm512_set1_ps(list->value[e]), g,
                vectors, whole, sum);
    }
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++)
        _mm512_mask_storeu_ps(out + v * LANES, mask_of(g, v, vectors, whole), sum[v]);
}

/* The same for project. A lane whose column is missing keeps its sum, sign of zero included. */
INLINE void project_group(const entries *list, const group *g, int vectors, bool whole, bool far,
                          const float *w, float *out, bool fresh, float *lanes)
{
    __m512 sum[FAR], factor[FAR];
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++) {
        sum[v] = load(out + v * LANES, mask_of(g, v, vectors, whole));
        factor[v] = load(w + v * LANES, mask_of(g, v, vectors, whole));
    }
    for (int64_t e = 0; e < list->n; e++) {
        const float *row = g->rows + (int64_t)list->index[e] * g->stride;
        __m512 value = _mm512_set1_ps(list->value[e]);
        __m512 lane = fresh ? _mm512_setzero_ps() : _mm512_loadu_ps(lanes + e * LANES);
        if (far)
            fetch_ahead(list, e, g->stride, vectors);
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) {
            __mmask16 mask = mask_of(g, v, vectors, whole);
            __m512 x = load(row + v * LANES, mask);
            /* Loaded once: the load unit is as busy as the multiplier. */
            __asm__("" : "+v"(x));
            sum[v] = _mm512_fmadd_ps(value, x, sum[v]);
            lane = mask == 0xffff ? _mm512_fmadd_ps(x, factor[v], lane)
                                  : _mm512_mask3_fmadd_ps(x, factor[v], lane, mask);
        }
        _mm512_storeu_ps(lanes + e * LANES, lane);
    }
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++)
        _mm512_mask_storeu_ps(out + v * LANES, mask_of(g, v, vectors, whole), sum[v]);
}

/* The last columns: fewer than a group of 64. */
static __attribute__((noinline)) void combine_rest(const entries *list, const group *g,
                                                   int64_t width, float *out)
{
    if (width <= LANES)
        combine_group(list, g, 1, false, false, out);
    else if (width <= 2 * LANES)
        combine_group(list, g, 2, false, false, out);
    else if (width <= 3 * LANES)
        combine_group(list, g, 3, false, false, out);
    else
        combine_group(list, g, 4, false, false, out);
}

static __attribute__((noinline)) void project_rest(const entries *list, const group *g,
                                                   int64_t width, const float *w, float *out,
                                                   bool fresh, float *lanes)
{
    if (width <= LANES)
        project_group(list, g, 1, false, false, w, out, fresh, lanes);
    else if (width <= 2 * LANES)
        project_group(list, g, 2, false, false, w, out, fresh, lanes);
    else if (width <= 3 * LANES)
        project_group(list, g, 3, false, false, w, out, fresh, lanes);
    else
        project_group(list, g, 4, false, false, w, out, fresh, lanes);
}

INLINE entries entries_of(const orth_lists *lists, int64_t s)
{
    int64_t first = lists->start[s] - lists->start[0];
    return (entries){.n = lists->start[s + 1] - lists->start[s],
                     .index = lists->index + first,
                     .value = lists->value + first};
}

/* What is fetched while a list passes the columns from j on: the same rows' next columns, or with
 * the last ones the rows of the entries that follow the list. */
INLINE void look_ahead(const orth_lists *lists, const orth_rows *rows, int64_t s, int64_t j,
                       entries *list)
{
    bool more = j + FAR * LANES < rows->width;
    bool follow = lists->start[lists->count] - lists->start[s + 1] >= list->n;
    list->ahead = !more && follow ? list->index + list->n : list->index;
    list->ahead_rows = more ? rows->data + j + FAR * LANES : rows->data;
}

/* The rows that come next are fetched in equal shares, one with each list. */
typedef struct share {
    const float *at;
    int64_t left, size, stride;
} share;

INLINE share share_of(const orth_lists *lists, const orth_rows *rows)
{
    if (!rows->next || lists->count == 0)
        return (share){NULL, 0, 0, 0};
    return (share){rows->next, rows->next_count,
                   (rows->next_count + lists->count - 1) / lists->count, rows->next_stride};
}

INLINE void fetch_share(share *next)
{
    int64_t size = next->size < next->left ? next->size : next->left;
    next->left -= size;
    for (; size > 0; size--, next->at += next->stride)
#pragma GCC unroll 4
        for (int v = 0; v < NEAR; v++)
            _mm_prefetch((const char *)(next->at + v * LANES), _MM_HINT_T1);
}

/* Where the list that follows adds to. */
INLINE void fetch_result(const float *out)
{
#pragma GCC unroll 4
    for (int v = 0; v < NEAR; v++)
        _mm_prefetch((const char *)(out + v * LANES), _MM_HINT_T0);
}

/* combine in a tile: one group of columns, of which the lists pass one after another. */
static void combine_tile(const orth_lists *lists, const orth_rows *rows, float *out,
                         int64_t out_stride)
{
    share next = share_of(lists, rows);
    const group g = {rows->data, rows->stride, 0xffff};
    entries list = {.index = lists->index, .value = lists->value};
    for (int64_t s = 0; s < lists->count; s++, out += out_stride) {
        list.n = lists->start[s + 1] - lists->start[s];
        fetch_share(&next);
        fetch_result(out + out_stride);
        if (list.n == 0)
            continue;
        combine_group(&list, &g, NEAR, true, false, out);
        list.index += list.n;
        list.value += list.n;
    }
}

static void project_tile(const orth_lists *lists, const orth_rows *rows, const float *w,
                         int64_t w_stride, float *out, int64_t out_stride, bool fresh, float *lanes)
{
    share next = share_of(lists, rows);
    const group g = {rows->data, rows->stride, 0xffff};
    entries list = {.index = lists->index, .value = lists->value};
    for (int64_t s = 0; s < lists->count; s++, out += out_stride, w += w_stride) {
        list.n = lists->start[s + 1] - lists->start[s];
        fetch_share(&next);
        if (list.n == 0)
            continue;
        if (fresh)
            project_group(&list, &g, NEAR, true, false, w, out, true, lanes);
        else
            project_group(&list, &g, NEAR, true, false, w, out, false, lanes);
        list.index += list.n;
        list.value += list.n;
        lanes += list.n * LANES;
    }
}

static void combine(const orth_lists *lists, const orth_rows *rows, float *out, int64_t out_stride)
{
    if (!rows->far && rows->width == ORTH_TILE_COLUMNS) {
        combine_tile(lists, rows, out, out_stride);
        return;
    }
    for (int64_t s = 0; s < lists->count; s++) {
        entries list = entries_of(lists, s);
        float *mine = out + s * out_stride;
        int64_t j = 0;
        if (list.n == 0)
            continue;
        for (; rows->far && j + FAR * LANES <= rows->width; j += FAR * LANES) {
            group g = {rows->data + j, rows->stride, 0xffff};
            look_ahead(lists, rows, s, j, &list);
            combine_group(&list, &g, FAR, true, true, mine + j);
        }
        for (; j + NEAR * LANES <= rows->width; j += NEAR * LANES) {
            group g = {rows->data + j, rows->stride, 0xffff};
            combine_group(&list, &g, NEAR, true, false, mine + j);
        }
        int64_t left = rows->width - j;
        group g = {rows->data + j, rows->stride, (__mmask16)(0xffffu >> (-left & (LANES - 1)))};
        if (left > 0)
            combine_rest(&list, &g, left, mine + j);
    }
}

static void project(const orth_lists *lists, const orth_rows *rows, const float *w,
                    int64_t w_stride, float *out, int64_t out_stride, bool fresh, float *lanes)
{
    if (!rows->far && rows->width == ORTH_TILE_COLUMNS) {
        project_tile(lists, rows, w, w_stride, out, out_stride, fresh, lanes);
        return;
    }
    for (int64_t s = 0; s < lists->count; s++) {
        entries list = entries_of(lists, s);
        float *mine = out + s * out_stride;
        float *lane = lanes + (lists->start[s] - lists->start[0]) * LANES;
        const float *vector = w + s * w_stride;
        int64_t j = 0;
        if (list.n == 0)
            continue;
        for (; rows->far && j + FAR * LANES <= rows->width; j += FAR * LANES) {
            group g = {rows->data + j, rows->stride, 0xffff};
            look_ahead(lists, rows, s, j, &list);
            project_group(&list, &g, FAR, true, true, vector + j, mine + j, fresh && j == 0, lane);
        }
        for (; j + NEAR * LANES <= rows->width; j += NEAR * LANES) {
            group g = {rows->data + j, rows->stride, 0xffff};
            project_group(&list, &g, NEAR, true, false, vector + j, mine + j, fresh && j == 0,
                          lane);
        }
        int64_t left = rows->width - j;
        group g = {rows->data + j, rows->stride, (__mmask16)(0xffffu >> (-left & (LANES - 1)))};
        if (left > 0)
            project_rest(&list, &g, left, vector + j, mine + j, fresh && j == 0, lane);
    }
}

static void fold(int64_t n, const float *lanes, float *out)
{
    for (int64_t e = 0; e < n; e++) {
        __m512 all = _mm512_loadu_ps(lanes + e * LANES);
        __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
        __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
        __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        out[e] = _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
    }
}

/* What is stored beyond the entries that are taken is overwritten by those that follow. */
static int64_t take(int64_t n, const uint32_t *index, const float *value, uint32_t first,
                    uint32_t end, uint32_t *indices, float *values)
{
    const __m512i base = _mm512_set1_epi32((int)first), limit = _mm512_set1_epi32((int)end);
    for (int64_t e = 0; e < n; e += LANES) {
        int64_t left = n - e;
        __mmask16 there = (__mmask16)(left < LANES ? 0xffffu >> (LANES - left) : 0xffffu);
        __m512i at = _mm512_maskz_loadu_epi32(there, index + e);
        __mmask16 taken = _mm512_mask_cmplt_epu32_mask(there, at, limit);
        _mm512_storeu_si512(indices + e, _mm512_sub_epi32(at, base));
        _mm512_storeu_ps(values + e, _mm512_maskz_loadu_ps(there, value + e));
        if (taken != 0xffff)
            return e + __builtin_popcount(taken);
    }
    return n;
}

static void pack(int64_t n, const float *rows, int64_t stride, int64_t width, float *tile)
{
    for (int64_t r = 0; r < n; r++) {
        const float *from = rows + r * stride;
        float *to = tile + r * ORTH_TILE_COLUMNS;
        int64_t j = 0;
        for (; j + LANES <= width; j += LANES)
            _mm512_storeu_ps(to + j, _mm512_loadu_ps(from + j));
        if (j < width) {
            __mmask16 rest = (__mmask16)(0xffffu >> (LANES - (width - j)));
            _mm512_mask_storeu_ps(to + j, rest, _mm512_maskz_loadu_ps(rest, from + j));
        }
    }
}

const orth_sparse orth_sparse_avx512 = {
    .combine = combine, .project = project, .fold = fold, .take = take, .pack = pack};
