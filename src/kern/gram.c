#include <orthant/kern/gram.h>

#include <orthant/base/memory.h>
#include <orthant/kern/gemm.h>

#include <math.h>
#include <omp.h>
#include <string.h>

enum { ROWS = ORTH_GRAM_ROWS, LANES = 8 };

static int64_t tiles_of(int64_t rows)
{
    return (rows + ROWS - 1) / ROWS;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

orth_status orth_gram_create(int64_t n_a, int64_t n_b, orth_gram_tiles *out)
{
    orth_gram_tiles tiles = {.capacity = tiles_of(n_a) * tiles_of(n_b)};
    int64_t products = (int64_t)omp_get_max_threads() * ROWS * ROWS;
    orth_status status = ORTH_ALLOCATE(products, "tiles of products", &tiles.products);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(tiles.capacity, "tiles of products", &tiles.results);
    if (status == ORTH_OK)
        *out = tiles;
    else
        orth_gram_free(&tiles);
    return status;
}

void orth_gram_free(orth_gram_tiles *tiles)
{
    orth_free(tiles->products);
    orth_free(tiles->results);
    memset(tiles, 0, sizeof *tiles);
}

static void merge(const orth_gram *from, orth_gram *into)
{
    into->max = fmax(into->max, from->max);
    into->max_abs = fmax(into->max_abs, from->max_abs);
    into->sum += from->sum;
    into->sum_abs += from->sum_abs;
}

/* In interleaved lanes, so that the compiler may use vectors. */
static void add_row(const float *products, int64_t count, orth_gram *gram)
{
    float max[LANES], max_abs[LANES] = {0.0f};
    double sum[LANES] = {0.0}, sum_abs[LANES] = {0.0};
    for (int l = 0; l < LANES; l++)
        max[l] = -INFINITY;
    for (int64_t first = 0; first < count; first += LANES) {
        int64_t width = smaller(LANES, count - first);
        for (int64_t l = 0; l < width; l++) {
            float product = products[first + l], size = fabsf(product);
            max[l] = product > max[l] ? product : max[l];
            max_abs[l] = size > max_abs[l] ? size : max_abs[l];
            sum[l] += (double)product;
            sum_abs[l] += (double)size;
        }
    }
    for (int l = 0; l < LANES; l++)
        merge(&(orth_gram){(double)max[l], (double)max_abs[l], sum[l], sum_abs[l]}, gram);
}

/* Of row i the pairs with j > i - shift count. */
static void add_tile(const float *a, int64_t n_a, const float *b, int64_t n_b, int64_t d,
                     int64_t shift, float *products, orth_gram *gram)
{
    *gram = ORTH_GRAM_NONE;
    if (n_b - 1 + shift <= 0)
        return;
    orth_gemm(false, true, n_a, n_b, d, a, d, b, d, false, products, ROWS);
    for (int64_t i = 0; i < n_a; i++) {
        int64_t j = i - shift + 1 < 0 ? 0 : i - shift + 1;
        if (j < n_b)
            add_row(products + i * ROWS + j, n_b - j, gram);
    }
}

void orth_gram_add(const float *a, int64_t n_a, const float *b, int64_t n_b, int64_t d,
                   int64_t shift, int64_t first, int64_t step, orth_gram_tiles *tiles,
                   orth_gram *gram)
{
    int64_t across = tiles_of(n_b), down = tiles_of(n_a) > first ? tiles_of(n_a) - first : 0;
    int64_t count = (down + step - 1) / step * across;
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t tile = 0; tile < count; tile++) {
        int64_t i = (first + tile / across * step) * ROWS, j = tile % across * ROWS;
        add_tile(a + i * d, smaller(ROWS, n_a - i), b + j * d, smaller(ROWS, n_b - j), d,
                 shift + j - i, tiles->products + (int64_t)omp_get_thread_num() * ROWS * ROWS,
                 tiles->results + tile);
    }
    for (int64_t tile = 0; tile < count; tile++)
        merge(tiles->results + tile, gram);
}
