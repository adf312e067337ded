#include <orthant/kern/gram.h>

#include <orthant/base/memory.h>
#include <orthant/kern/gemm.h>

#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <string.h>

/* Neighbours often fall into one bin: they count in different ones of COUNTERS arrays, so that one
 * does not wait for the other. */
enum { ROWS = ORTH_GRAM_ROWS, LANES = 16, BINS = ORTH_GRAM_BINS, COUNTERS = 4 };

struct orth_gram_tile {
    orth_gram plain, scaled;
    uint32_t bins[COUNTERS][BINS];
};

typedef struct orth_gram_tile tile_result;

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

void orth_gram_peak_merge(const orth_gram_peak *from, orth_gram_peak *into)
{
    bool before = from->a < into->a || (from->a == into->a && from->b < into->b);
    if (from->value > into->value || (from->value == into->value && before))
        *into = *from;
}

static void merge(const orth_gram *from, orth_gram *into)
{
    orth_gram_peak_merge(&from->max, &into->max);
    orth_gram_peak_merge(&from->max_abs, &into->max_abs);
    into->sum_abs += from->sum_abs;
}

/* What one row of a tile holds. In interleaved lanes, so that the compiler may use vectors. */
typedef struct row_figures {
    float max, max_abs;
    double sum_abs;
} row_figures;

static row_figures look(const float *products, int64_t count)
{
    float max[LANES], max_abs[LANES] = {0.0f}, sum[LANES] = {0.0f};
    int64_t whole = count / LANES * LANES;
    for (int l = 0; l < LANES; l++)
        max[l] = -INFINITY;
    for (int64_t first = 0; first < whole; first += LANES)
        for (int l = 0; l < LANES; l++) {
            float product = products[first + l], size = fabsf(product);
            max[l] = product > max[l] ? product : max[l];
            max_abs[l] = size > max_abs[l] ? size : max_abs[l];
            sum[l] += size;
        }
    row_figures all = {-INFINITY, 0.0f, 0.0};
    for (int64_t j = whole; j < count; j++) {
        float product = products[j], size = fabsf(product);
        max[j - whole] = product > max[j - whole] ? product : max[j - whole];
        max_abs[j - whole] = size > max_abs[j - whole] ? size : max_abs[j - whole];
        sum[j - whole] += size;
    }
    for (int l = 0; l < LANES; l++) {
        all.max = max[l] > all.max ? max[l] : all.max;
        all.max_abs = max_abs[l] > all.max_abs ? max_abs[l] : all.max_abs;
        all.sum_abs += (double)sum[l];
    }
    return all;
}

static void add_row(const float *products, int64_t count, int64_t a, int64_t first_b,
                    orth_gram *gram)
{
    row_figures row = look(products, count);
    gram->sum_abs += row.sum_abs;
    if ((double)row.max > gram->max.value) {
        int64_t j = 0;
        while (products[j] != row.max)
            j++;
        gram->max = (orth_gram_peak){(double)row.max, a, first_b + j};
    }
    if ((double)row.max_abs > gram->max_abs.value) {
        int64_t j = 0;
        while (fabsf(products[j]) != row.max_abs)
            j++;
        gram->max_abs = (orth_gram_peak){(double)row.max_abs, a, first_b + j};
    }
}

static void add_scaled_row(float *products, int64_t count, float factor_a, const float *factor_b,
                           int64_t a, int64_t first_b, tile_result *result)
{
    for (int64_t j = 0; j < count; j++)
        products[j] *= factor_a * factor_b[j];
    add_row(products, count, a, first_b, &result->scaled);
    for (int64_t j = 0; j < count; j++) {
        float place = (products[j] + 1.0f) * (0.5f * BINS);
        place = place > 0.0f ? place : 0.0f;
        result->bins[j % COUNTERS][(int)(place < BINS - 1 ? place : BINS - 1)]++;
    }
}

/* Of row i the pairs with j > i - shift count. */
static void add_tile(const orth_gram_rows *a, const orth_gram_rows *b, int64_t d, int64_t shift,
                     float *products, tile_result *result)
{
    *result = (tile_result){.plain = ORTH_GRAM_NONE, .scaled = ORTH_GRAM_NONE};
    if (b->count - 1 + shift <= 0)
        return;
    orth_gemm(false, true, a->count, b->count, d, a->w, d, b->w, d, false, products, ROWS);
    for (int64_t i = 0; i < a->count; i++) {
        int64_t j = i - shift + 1 < 0 ? 0 : i - shift + 1, count = b->count - j;
        float *row = products + i * ROWS + j;
        if (count <= 0)
            continue;
        add_row(row, count, a->first + i, b->first + j, &result->plain);
        if (a->factor)
            add_scaled_row(row, count, a->factor[i], b->factor + j, a->first + i, b->first + j,
                           result);
    }
}

static void add_result(const tile_result *from, orth_gram_survey *into)
{
    merge(&from->plain, &into->plain);
    merge(&from->scaled, &into->scaled);
    for (int c = 0; c < COUNTERS; c++)
        for (int i = 0; i < BINS; i++)
            into->bins[i] += from->bins[c][i];
}

/* Rows [begin, begin + ROWS) as far as there are. */
static orth_gram_rows rows_from(const orth_gram_rows *rows, int64_t begin, int64_t d)
{
    return (orth_gram_rows){.w = rows->w + begin * d,
                            .factor = rows->factor ? rows->factor + begin : NULL,
                            .count = smaller(ROWS, rows->count - begin),
                            .first = rows->first + begin};
}

void orth_gram_add(const orth_gram_rows *a, const orth_gram_rows *b, int64_t d, int64_t shift,
                   int64_t first, int64_t step, orth_gram_tiles *tiles, orth_gram_survey *out)
{
    int64_t across = tiles_of(b->count);
    int64_t down = tiles_of(a->count) > first ? tiles_of(a->count) - first : 0;
    int64_t count = (down + step - 1) / step * across;
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t tile = 0; tile < count; tile++) {
        int64_t i = (first + tile / across * step) * ROWS, j = tile % across * ROWS;
        orth_gram_rows rows_a = rows_from(a, i, d), rows_b = rows_from(b, j, d);
        add_tile(&rows_a, &rows_b, d, shift + j - i,
                 tiles->products + (int64_t)omp_get_thread_num() * ROWS * ROWS,
                 tiles->results + tile);
    }
    for (int64_t tile = 0; tile < count; tile++)
        add_result(tiles->results + tile, out);
}
