#ifndef ORTHANT_SRC_KERN_ROWS_H
#define ORTHANT_SRC_KERN_ROWS_H

/**
 * Row kernels in plain C, compiled once for each instruction set by the file that includes this.
 * The order of every operation is written out, so that each set gives the same bits.
 */

#include <orthant/kern/table.h>

#include <math.h>
#include <string.h>

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
