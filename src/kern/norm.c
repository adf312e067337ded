#include <orthant/kern/norm.h>

enum { LANES = 8, COLUMNS = 32 };

double orth_dot_f64(const float *a, const float *b, int64_t d)
{
    double lane[LANES] = {0.0};
    int64_t j = 0;
    for (; j + LANES <= d; j += LANES)
        for (int l = 0; l < LANES; l++)
            lane[l] += (double)a[j + l] * (double)b[j + l];
    for (int l = 0; j < d; j++, l++)
        lane[l] += (double)a[j] * (double)b[j];
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

void orth_column_sums(const float *x, int64_t n_row, int64_t d, int add, double *sums)
{
#pragma omp parallel for schedule(static)
    for (int64_t j = 0; j < d; j += COLUMNS) {
        double sum[COLUMNS] = {0.0};
        int64_t width = d - j < COLUMNS ? d - j : COLUMNS;
        for (int64_t i = 0; i < n_row; i++)
            for (int64_t l = 0; l < width; l++)
                sum[l] += (double)x[i * d + j + l];
        for (int64_t l = 0; l < width; l++)
            sums[j + l] = (add ? sums[j + l] : 0.0) + sum[l];
    }
}
