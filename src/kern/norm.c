#include <orthant/kern/norm.h>

#include <orthant/kern/table.h>

#include <omp.h>
#include <string.h>

double orth_dot_f64(const float *a, const float *b, int64_t d)
{
    return orth_kernels_get()->passes->dot(a, b, d);
}

/* Columns of one thread: whole cache lines. */
static int64_t strip_of(int64_t d)
{
    const int64_t line = 16;
    int64_t parts = omp_get_max_threads(), lines = (d + line - 1) / line;
    return (lines + parts - 1) / parts * line;
}

void orth_column_sums(const float *x, int64_t n_row, int64_t d, int add, double *sums)
{
    const orth_passes *passes = orth_kernels_get()->passes;
    int64_t strip = strip_of(d);
#pragma omp parallel for schedule(static, 1)
    for (int64_t j = 0; j < d; j += strip) {
        int64_t width = d - j < strip ? d - j : strip;
        if (!add)
            memset(sums + j, 0, (size_t)width * sizeof *sums);
        for (int64_t i = 0; i < n_row; i++)
            passes->accumulate(1.0, x + i * d + j, sums + j, width);
    }
}

void orth_scale_rows(const double *factor, float *x, int64_t n_row, int64_t d, double *sums)
{
    const orth_passes *passes = orth_kernels_get()->passes;
    int64_t strip = strip_of(d);
#pragma omp parallel for schedule(static, 1)
    for (int64_t j = 0; j < d; j += strip) {
        int64_t width = d - j < strip ? d - j : strip;
        for (int64_t i = 0; i < n_row; i++)
            passes->scale_accumulate(factor[i], x + i * d + j, sums + j, width);
    }
}
