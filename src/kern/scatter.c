#include <orthant/kern/scatter.h>

#include <orthant/base/memory.h>
#include <orthant/kern/gemm.h>

#include <omp.h>
#include <stdbool.h>

/* A tile of the result is SIDE x SIDE, and takes ROWS rows at a time: two operands in double that
 * stay in the second-level cache. */
enum { SIDE = 128, ROWS = 256 };

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

orth_status orth_scatter_create(orth_scatter_tiles *out)
{
    int64_t threads = omp_get_max_threads();
    return ORTH_ALLOCATE(threads * 2 * ROWS * SIDE, "tiles in double", &out->tiles);
}

void orth_scatter_free(orth_scatter_tiles *tiles)
{
    orth_free(tiles->tiles);
    tiles->tiles = NULL;
}

/* Columns [first, first + width) of the rows, centred and scaled: out (n_row, SIDE). */
static void convert(const float *x, int64_t n_row, int64_t d, const double *centre,
                    const double *factor, int64_t first, int64_t width, double *restrict out)
{
    const double *middle = centre ? centre + first : NULL;
    for (int64_t r = 0; r < n_row; r++, out += SIDE) {
        const float *row = x + r * d + first;
        double scale = factor ? factor[r] : 1.0;
        if (middle)
            for (int64_t j = 0; j < width; j++)
                out[j] = ((double)row[j] - middle[j]) * scale;
        else
            for (int64_t j = 0; j < width; j++)
                out[j] = (double)row[j] * scale;
    }
}

/* The tile of columns [column, column + width) and rows [row, row + height) of the result. */
static void add_tile(const float *x, int64_t n_row, int64_t d, const double *centre,
                     const double *factor, int64_t column, int64_t width, int64_t row,
                     int64_t height, double *tiles, double *out)
{
    double *a = tiles, *b = column == row && width == height ? a : tiles + ROWS * SIDE;
    for (int64_t at = 0; at == 0 || at < n_row; at += ROWS) {
        int64_t count = smaller(ROWS, n_row - at);
        const double *factors = factor ? factor + at : NULL;
        convert(x + at * d, count, d, centre, factors, column, width, a);
        if (b != a)
            convert(x + at * d, count, d, centre, factors, row, height, b);
        orth_gemm_f64(true, false, width, height, count, a, SIDE, b, SIDE, at > 0, out, d);
    }
}

void orth_scatter_panel(const float *x, int64_t n_row, int64_t d, const double *centre,
                        const double *factor, int64_t first, int64_t count,
                        const orth_scatter_tiles *tiles, double *panel)
{
    int64_t across = (count + SIDE - 1) / SIDE, down = (d - first + SIDE - 1) / SIDE;
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t tile = 0; tile < across * down; tile++) {
        int64_t c = tile / down * SIDE, row = first + tile % down * SIDE;
        double *own = tiles->tiles + (int64_t)omp_get_thread_num() * 2 * ROWS * SIDE;
        if (row >= first + c)
            add_tile(x, n_row, d, centre, factor, first + c, smaller(SIDE, count - c), row,
                     smaller(SIDE, d - row), own, panel + c * d + row);
    }
}

void orth_scatter_sums(const float *x, int64_t n_row, int64_t d, const double *centre,
                       const double *factor, double *sums)
{
#pragma omp parallel for schedule(static)
    for (int64_t first = 0; first < d; first += SIDE) {
        int64_t end = smaller(first + SIDE, d);
        for (int64_t r = 0; r < n_row; r++) {
            double scale = factor ? factor[r] : 1.0;
            for (int64_t j = first; j < end; j++)
                sums[j] += ((double)x[r * d + j] - (centre ? centre[j] : 0.0)) * scale;
        }
    }
}
