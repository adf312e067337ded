#ifndef ORTHANT_SRC_KERN_ROWS_H
#define ORTHANT_SRC_KERN_ROWS_H

/**
 * Row kernels in plain C, compiled once for each instruction set by the file that includes this.
 * The order of every operation is written out, so that each set gives the same bits.
 */

#include <orthant/kern/table.h>

#include <math.h>
#include <string.h>

enum { ROW_LANES = 32, COMBINE_COLUMNS = 128 };

static inline void rows_pack(int64_t count, const float *const *rows, int width, int64_t d,
                             float *panel)
{
    for (int64_t j = 0; j < d; j++) {
        float *column = panel + j * width;
        for (int64_t r = 0; r < count; r++)
            column[r] = rows[r][j];
        for (int64_t r = count; r < width; r++)
            column[r] = 0.0f;
    }
}

static inline void rows_combine(int64_t n_entry, const uint32_t *index, const float *values,
                                const float *rows, int64_t d, float *out)
{
    int64_t j = 0;
    for (; j + COMBINE_COLUMNS <= d; j += COMBINE_COLUMNS) {
        float sum[COMBINE_COLUMNS];
        memcpy(sum, out + j, sizeof sum);
        for (int64_t e = 0; e < n_entry; e++) {
            const float *row = rows + (int64_t)index[e] * d + j;
            float value = values[e];
            for (int l = 0; l < COMBINE_COLUMNS; l++)
                sum[l] = fmaf(value, row[l], sum[l]);
        }
        memcpy(out + j, sum, sizeof sum);
    }
    for (int64_t e = 0; e < n_entry && j < d; e++) {
        const float *row = rows + (int64_t)index[e] * d;
        float value = values[e];
        for (int64_t l = j; l < d; l++)
            out[l] = fmaf(value, row[l], out[l]);
    }
}

static inline float rows_dot(const float *a, const float *b, int64_t d)
{
    float lane[ROW_LANES] = {0};
    int64_t j = 0;
    for (; j + ROW_LANES <= d; j += ROW_LANES)
        for (int l = 0; l < ROW_LANES; l++)
            lane[l] = fmaf(a[j + l], b[j + l], lane[l]);
    for (int l = 0; j < d; j++, l++)
        lane[l] = fmaf(a[j], b[j], lane[l]);
    for (int half = ROW_LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++)
            lane[l] += lane[l + half];
    return lane[0];
}

static inline void rows_dots(int64_t n_entry, const uint32_t *index, const float *rows,
                             const float *w, int64_t d, float *out)
{
    for (int64_t e = 0; e < n_entry; e++)
        out[e] = rows_dot(rows + (int64_t)index[e] * d, w, d);
}

/* The keys of row[begin ... n-1] that pass, as orth_kernels.keep. */
static inline int64_t rows_keep(const float *row, int64_t begin, int64_t n, float above,
                                uint32_t first, uint64_t *keys)
{
    int64_t count = 0;
    for (int64_t i = begin; i < n; i++)
        if (!(row[i] <= above)) {
            uint32_t bits;
            memcpy(&bits, row + i, sizeof bits);
            keys[count++] =
                (uint64_t)(bits & 0x7fffffffu) << 32 | (uint32_t) ~(first + (uint32_t)i);
        }
    return count;
}

static inline void rows_adam(int64_t n, const float *restrict g, float scale, const orth_adam *adam,
                             float *restrict w, float *restrict m, float *restrict v)
{
    const orth_adam a = *adam;
    for (int64_t i = 0; i < n; i++) {
        float gradient = g[i] * scale;
        float first = fmaf(a.beta1, m[i], a.new1 * gradient);
        float second = fmaf(a.beta2, v[i], a.new2 * (gradient * gradient));
        m[i] = first;
        v[i] = second;
        w[i] -= a.rate * (first / fmaf(sqrtf(second), a.root, a.eps));
    }
}

#endif
