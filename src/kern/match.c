#include <orthant/kern/match.h>

#include <orthant/base/memory.h>
#include <orthant/kern/gemm.h>
#include <orthant/kern/norm.h>

#include <math.h>
#include <omp.h>
#include <string.h>

enum { ROWS = 256 };

static int64_t tiles_of(int64_t rows)
{
    return (rows + ROWS - 1) / ROWS;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

orth_status orth_match_create(int64_t n_a, int64_t n_b, orth_match_tiles *out)
{
    orth_match_tiles tiles = {.capacity_a = n_a, .capacity_b = n_b};
    int64_t products = (int64_t)omp_get_max_threads() * ROWS * ROWS;
    int64_t of_b = tiles_of(n_a) * n_b; /* each tile of rows of A has its own best for B */
    orth_status status = ORTH_ALLOCATE(products, "tiles of products", &tiles.products);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(n_a, "nearest rows", &tiles.best_a);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(n_a, "nearest rows", &tiles.row_a);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(of_b, "nearest rows", &tiles.best_b);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(of_b, "nearest rows", &tiles.row_b);
    if (status == ORTH_OK)
        *out = tiles;
    else
        orth_match_free(&tiles);
    return status;
}

void orth_match_free(orth_match_tiles *tiles)
{
    orth_free(tiles->products);
    orth_free(tiles->best_a);
    orth_free(tiles->best_b);
    orth_free(tiles->row_a);
    orth_free(tiles->row_b);
    memset(tiles, 0, sizeof *tiles);
}

void orth_match_factors(const float *rows, int64_t n_row, int64_t d, float *factor)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n_row; i++) {
        double square = orth_dot_f64(rows + i * d, rows + i * d, d);
        factor[i] = square > 0.0 ? (float)(1.0 / sqrt(square)) : 0.0f;
    }
}

/* The greatest of a row of products times factors; its place is looked up only when it counts. */
static void take_row(const float *products, const float *factor_b, int64_t count, int64_t first_b,
                     float factor_a, float *best, int32_t *row)
{
    float cosines[ROWS], most = -INFINITY;
    for (int64_t j = 0; j < count; j++)
        cosines[j] = products[j] * factor_b[j] * factor_a;
    for (int64_t j = 0; j < count; j++)
        most = cosines[j] > most ? cosines[j] : most;
    if (!(most > *best))
        return;
    int64_t j = 0;
    while (cosines[j] != most)
        j++;
    *best = most;
    *row = (int32_t)(first_b + j);
}

/* The same for every column, row by row. */
static void take_columns(const float *products, const float *factor_b, int64_t count, int32_t i,
                         float factor_a, float *best, int32_t *row)
{
    for (int64_t j = 0; j < count; j++) {
        float cosine = products[j] * factor_b[j] * factor_a;
        row[j] = cosine > best[j] ? i : row[j];
        best[j] = cosine > best[j] ? cosine : best[j];
    }
}

/* One tile of rows of A against all of B. */
static void add_strip(const orth_match_rows *a, const orth_match_rows *b, int64_t d, int64_t strip,
                      float *products, orth_match_tiles *tiles)
{
    int64_t i = strip * ROWS, height = smaller(ROWS, a->count - i);
    float *best_b = tiles->best_b + strip * b->count;
    int32_t *row_b = tiles->row_b + strip * b->count;
    for (int64_t k = 0; k < height; k++)
        tiles->best_a[i + k] = -INFINITY;
    for (int64_t j = 0; j < b->count; j++)
        best_b[j] = -INFINITY;
    for (int64_t j = 0; j < b->count; j += ROWS) {
        int64_t width = smaller(ROWS, b->count - j);
        orth_gemm(false, true, height, width, d, a->w + i * d, d, b->w + j * d, d, false, products,
                  ROWS);
        for (int64_t k = 0; k < height; k++) {
            const float *row = products + k * ROWS;
            take_row(row, b->factor + j, width, j, a->factor[i + k], &tiles->best_a[i + k],
                     &tiles->row_a[i + k]);
            take_columns(row, b->factor + j, width, (int32_t)(i + k), a->factor[i + k], best_b + j,
                         row_b + j);
        }
    }
}

static double cosine_of(const float *v, const float *w, int64_t d)
{
    double squares = orth_dot_f64(v, v, d) * orth_dot_f64(w, w, d);
    return squares > 0.0 ? orth_dot_f64(v, w, d) / sqrt(squares) : 0.0;
}

/* Row `i` of `rows` has found row `j` of `others`. */
static void take_found(const orth_match_rows *rows, int64_t i, const orth_match_rows *others,
                       int64_t j, int64_t d, orth_match_best *nearest)
{
    double cosine = cosine_of(rows->w + i * d, others->w + j * d, d);
    int64_t row = others->first + j;
    if (cosine > nearest->cosine || (cosine == nearest->cosine && row < nearest->row))
        *nearest = (orth_match_best){cosine, row};
}

void orth_match_add(const orth_match_rows *a, const orth_match_rows *b, int64_t d,
                    orth_match_tiles *tiles, orth_match_best *nearest_a, orth_match_best *nearest_b)
{
    int64_t strips = tiles_of(a->count);
    if (a->count == 0 || b->count == 0)
        return;
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t strip = 0; strip < strips; strip++)
        add_strip(a, b, d, strip, tiles->products + (int64_t)omp_get_thread_num() * ROWS * ROWS,
                  tiles);
    /* In fp32 a product may be a little less than the same one elsewhere: what is nearly as great
     * as the best is compared in double. */
    const double slack = 1e-5;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < a->count; i++)
        if ((double)tiles->best_a[i] > nearest_a[i].cosine - slack)
            take_found(a, i, b, tiles->row_a[i], d, &nearest_a[i]);
#pragma omp parallel for schedule(static)
    for (int64_t j = 0; j < b->count; j++) {
        int64_t best = 0;
        for (int64_t strip = 1; strip < strips; strip++)
            if (tiles->best_b[strip * b->count + j] > tiles->best_b[best * b->count + j])
                best = strip;
        if ((double)tiles->best_b[best * b->count + j] > nearest_b[j].cosine - slack)
            take_found(b, j, a, tiles->row_b[best * b->count + j], d, &nearest_b[j]);
    }
}
