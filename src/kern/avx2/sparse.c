/* AVX2 and FMA: products of sparse lists with rows, 64 columns (project: 32) of a list in registers
 * at a time; what is left over goes the portable way. */
#include "../sets.h"
#include "../sparse_rows.h"

#include <immintrin.h>

enum { WIDTH = 8, GROUP = ORTH_TILE_COLUMNS, HALF = GROUP / 2 };

#define INLINE static inline __attribute__((always_inline))

INLINE void combine_group(const sparse_list *list, const float *rows, int64_t stride, float *out)
{
    __m256 sum[GROUP / WIDTH];
#pragma GCC unroll 8
    for (int v = 0; v < GROUP / WIDTH; v++)
        sum[v] = _mm256_loadu_ps(out + v * WIDTH);
    for (int64_t e = 0; e < list->n; e++) {
        const float *row = rows + (int64_t)list->index[e] * stride;
        __m256 value = _mm256_broadcast_ss(list->value + e);
#pragma GCC unroll 8
        for (int v = 0; v < GROUP / WIDTH; v++)
            sum[v] = _mm256_fmadd_ps(value, _mm256_loadu_ps(row + v * WIDTH), sum[v]);
    }
#pragma GCC unroll 8
    for (int v = 0; v < GROUP / WIDTH; v++)
        _mm256_storeu_ps(out + v * WIDTH, sum[v]);
}

INLINE void project_half(const sparse_list *list, const float *rows, int64_t stride, const float *w,
                         float *out, bool fresh, float *lanes)
{
    __m256 sum[HALF / WIDTH], factor[HALF / WIDTH];
#pragma GCC unroll 4
    for (int v = 0; v < HALF / WIDTH; v++) {
        sum[v] = _mm256_loadu_ps(out + v * WIDTH);
        factor[v] = _mm256_loadu_ps(w + v * WIDTH);
    }
    for (int64_t e = 0; e < list->n; e++) {
        const float *row = rows + (int64_t)list->index[e] * stride;
        __m256 value = _mm256_broadcast_ss(list->value + e), lane[2];
        float *at = lanes + e * ORTH_DOT_LANES;
        lane[0] = fresh ? _mm256_setzero_ps() : _mm256_loadu_ps(at);
        lane[1] = fresh ? _mm256_setzero_ps() : _mm256_loadu_ps(at + WIDTH);
#pragma GCC unroll 4
        for (int v = 0; v < HALF / WIDTH; v++) {
            __m256 x = _mm256_loadu_ps(row + v * WIDTH);
            sum[v] = _mm256_fmadd_ps(value, x, sum[v]);
            lane[v % 2] = _mm256_fmadd_ps(x, factor[v], lane[v % 2]);
        }
        _mm256_storeu_ps(at, lane[0]);
        _mm256_storeu_ps(at + WIDTH, lane[1]);
    }
#pragma GCC unroll 4
    for (int v = 0; v < HALF / WIDTH; v++)
        _mm256_storeu_ps(out + v * WIDTH, sum[v]);
}

/* The last columns, fewer than 64. */
static void project_rest(const sparse_list *list, const float *rows, int64_t stride, int64_t width,
                         const float *w, float *out, bool fresh, float *lanes)
{
    sparse_add(list, rows, stride, width, out);
    for (int64_t e = 0; e < list->n; e++) {
        float *lane = lanes + e * ORTH_DOT_LANES;
        if (fresh)
            memset(lane, 0, ORTH_DOT_LANES * sizeof *lane);
        sparse_dot(rows + (int64_t)list->index[e] * stride, w, width, lane);
    }
}

static void combine(const orth_lists *lists, const orth_rows *rows, float *out, int64_t out_stride)
{
    for (int64_t s = 0; s < lists->count; s++) {
        sparse_list list = sparse_list_of(lists, s);
        float *mine = out + s * out_stride;
        int64_t j = 0;
        if (list.n == 0)
            continue;
        for (; j + GROUP <= rows->width; j += GROUP)
            combine_group(&list, rows->data + j, rows->stride, mine + j);
        if (j < rows->width)
            sparse_add(&list, rows->data + j, rows->stride, rows->width - j, mine + j);
    }
}

static void project(const orth_lists *lists, const orth_rows *rows, const float *w,
                    int64_t w_stride, float *out, int64_t out_stride, bool fresh, float *lanes)
{
    for (int64_t s = 0; s < lists->count; s++) {
        sparse_list list = sparse_list_of(lists, s);
        float *mine = out + s * out_stride;
        float *lane = lanes + (lists->start[s] - lists->start[0]) * ORTH_DOT_LANES;
        const float *vector = w + s * w_stride;
        int64_t j = 0;
        if (list.n == 0)
            continue;
        for (; j + HALF <= rows->width; j += HALF)
            project_half(&list, rows->data + j, rows->stride, vector + j, mine + j, fresh && j == 0,
                         lane);
        if (j < rows->width)
            project_rest(&list, rows->data + j, rows->stride, rows->width - j, vector + j, mine + j,
                         fresh && j == 0, lane);
    }
}

static void fold(int64_t n, const float *lanes, float *out)
{
    for (int64_t e = 0; e < n; e++) {
        const float *lane = lanes + e * ORTH_DOT_LANES;
        __m256 eight = _mm256_add_ps(_mm256_loadu_ps(lane), _mm256_loadu_ps(lane + WIDTH));
        __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
        __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        out[e] = _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
    }
}

const orth_sparse orth_sparse_avx2 = {
    .combine = combine, .project = project, .fold = fold, .take = sparse_take, .pack = sparse_pack};
