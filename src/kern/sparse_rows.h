#ifndef ORTHANT_SRC_KERN_SPARSE_ROWS_H
#define ORTHANT_SRC_KERN_SPARSE_ROWS_H

/** Products of sparse lists in plain C (kern/sparse.h), compiled once for each instruction set that
 * has nothing better. */

#include <orthant/kern/sparse.h>

#include <math.h>
#include <string.h>

/* The entries of one list. */
typedef struct sparse_list {
    const uint32_t *index;
    const float *value;
    int64_t n;
} sparse_list;

static inline sparse_list sparse_list_of(const orth_lists *lists, int64_t s)
{
    int64_t first = lists->start[s] - lists->start[0];
    return (sparse_list){lists->index + first, lists->value + first,
                         lists->start[s + 1] - lists->start[s]};
}

static inline void sparse_add(const sparse_list *list, const float *rows, int64_t stride,
                              int64_t width, float *out)
{
    if (width == ORTH_TILE_COLUMNS) {
        float sum[ORTH_TILE_COLUMNS];
        memcpy(sum, out, sizeof sum);
        for (int64_t e = 0; e < list->n; e++) {
            const float *row = rows + (int64_t)list->index[e] * stride;
            float value = list->value[e];
            for (int j = 0; j < ORTH_TILE_COLUMNS; j++)
                sum[j] = fmaf(value, row[j], sum[j]);
        }
        memcpy(out, sum, sizeof sum);
        return;
    }
    for (int64_t e = 0; e < list->n; e++) {
        const float *row = rows + (int64_t)list->index[e] * stride;
        for (int64_t j = 0; j < width; j++)
            out[j] = fmaf(list->value[e], row[j], out[j]);
    }
}

static inline void sparse_dot(const float *row, const float *w, int64_t width, float *lane)
{
    int64_t j = 0;
    for (; j + ORTH_DOT_LANES <= width; j += ORTH_DOT_LANES)
        for (int l = 0; l < ORTH_DOT_LANES; l++)
            lane[l] = fmaf(row[j + l], w[j + l], lane[l]);
    for (int l = 0; j < width; j++, l++)
        lane[l] = fmaf(row[j], w[j], lane[l]);
}

static inline void sparse_combine(const orth_lists *lists, const orth_rows *rows, float *out,
                                  int64_t out_stride)
{
    for (int64_t s = 0; s < lists->count; s++) {
        sparse_list list = sparse_list_of(lists, s);
        for (int64_t j = 0; j < rows->width && list.n > 0; j += ORTH_TILE_COLUMNS) {
            int64_t left = rows->width - j;
            sparse_add(&list, rows->data + j, rows->stride,
                       left < ORTH_TILE_COLUMNS ? left : ORTH_TILE_COLUMNS,
                       out + s * out_stride + j);
        }
    }
}

static inline void sparse_project(const orth_lists *lists, const orth_rows *rows, const float *w,
                                  int64_t w_stride, float *out, int64_t out_stride, bool fresh,
                                  float *lanes)
{
    sparse_combine(lists, rows, out, out_stride);
    for (int64_t s = 0; s < lists->count; s++) {
        sparse_list list = sparse_list_of(lists, s);
        float *lane = lanes + (lists->start[s] - lists->start[0]) * ORTH_DOT_LANES;
        for (int64_t e = 0; e < list.n; e++, lane += ORTH_DOT_LANES) {
            float sum[ORTH_DOT_LANES] = {0.0f};
            if (!fresh)
                memcpy(sum, lane, sizeof sum);
            sparse_dot(rows->data + (int64_t)list.index[e] * rows->stride, w + s * w_stride,
                       rows->width, sum);
            memcpy(lane, sum, sizeof sum);
        }
    }
}

static inline void sparse_fold(int64_t n, const float *lanes, float *out)
{
    for (int64_t e = 0; e < n; e++) {
        float sum[ORTH_DOT_LANES];
        memcpy(sum, lanes + e * ORTH_DOT_LANES, sizeof sum);
        for (int half = ORTH_DOT_LANES / 2; half > 0; half /= 2)
            for (int l = 0; l < half; l++)
                sum[l] += sum[l + half];
        out[e] = sum[0];
    }
}

static inline int64_t sparse_take(int64_t n, const uint32_t *index, const float *value,
                                  uint32_t first, uint32_t end, uint32_t *indices, float *values)
{
    int64_t e = 0;
    for (; e < n && index[e] < end; e++) {
        indices[e] = index[e] - first;
        values[e] = value[e];
    }
    return e;
}

static inline void sparse_pack(int64_t n, const float *rows, int64_t stride, int64_t width,
                               float *tile)
{
    for (int64_t r = 0; r < n; r++)
        memcpy(tile + r * ORTH_TILE_COLUMNS, rows + r * stride, (size_t)width * sizeof *tile);
}

#define ORTH_SPARSE_PORTABLE                                                                       \
    {                                                                                              \
        .combine = sparse_combine, .project = sparse_project, .fold = sparse_fold,                 \
        .take = sparse_take, .pack = sparse_pack                                                   \
    }

#endif
