#include <orthant/kern/match.h>

#include <orthant/base/memory.h>
#include <orthant/kern/gemm.h>
#include <orthant/kern/norm.h>

#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <string.h>

/* Rows of a tile, and cosines that are looked at together. */
enum { ROWS = 256, CHUNK = 16 };

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
    int64_t of_b = tiles_of(n_a) * n_b; /* each strip of rows of A has its own best for B */
    orth_status status = ORTH_ALLOCATE(products, "tiles of products", &tiles.products);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(of_b, "nearest rows", &tiles.most_b);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(of_b, "nearest rows", &tiles.nearest_b);
    if (status == ORTH_OK)
        *out = tiles;
    else
        orth_match_free(&tiles);
    return status;
}

void orth_match_free(orth_match_tiles *tiles)
{
    orth_free(tiles->products);
    orth_free(tiles->most_b);
    orth_free(tiles->nearest_b);
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

static double cosine_of(const float *v, const float *w, int64_t d)
{
    double squares = orth_dot_f64(v, v, d) * orth_dot_f64(w, w, d);
    return squares > 0.0 ? orth_dot_f64(v, w, d) / sqrt(squares) : 0.0;
}

/* What products in fp32 decide differently on another grid or with other tiles: a cosine is wrong
 * by less than half of this. */
static float slack_of(int64_t d)
{
    return 1e-6f + 4e-7f * sqrtf((float)d);
}

static void offer(orth_match_best *nearest, double cosine, int64_t row)
{
    if (cosine > nearest->cosine || (cosine == nearest->cosine && row < nearest->row))
        *nearest = (orth_match_best){cosine, row};
}

/* Rows [i, i + height) of A against all of B. */
typedef struct strip {
    const orth_match_rows *a, *b;
    int64_t d, i, height;
    float slack;
    float *cosines;             ///< (ROWS, ROWS) of a tile
    float most_a[ROWS];         ///< the largest cosines so far, in fp32
    float *most_b;              ///< (rows of B)
    orth_match_best *nearest_a; ///< (height)
    orth_match_best *nearest_b; ///< (rows of B)
} strip;

static void make_cosines(strip *s, int64_t j, int64_t width)
{
    const float *factor_b = s->b->factor + j;
    float *most_b = s->most_b + j;
    orth_gemm(false, true, s->height, width, s->d, s->a->w + s->i * s->d, s->d, s->b->w + j * s->d,
              s->d, false, s->cosines, ROWS);
    for (int64_t k = 0; k < s->height; k++) {
        float *row = s->cosines + k * ROWS, factor = s->a->factor[s->i + k], most = s->most_a[k];
        for (int64_t c = 0; c < width; c++) {
            row[c] *= factor_b[c] * factor;
            most = row[c] > most ? row[c] : most;
            most_b[c] = row[c] > most_b[c] ? row[c] : most_b[c];
        }
        s->most_a[k] = most;
    }
}

/* Whether one of CHUNK cosines may be the largest of its row or of its column. */
static bool may_be_nearest(const float *cosines, float limit_row, const float *limit_column)
{
    int found = 0;
    for (int64_t c = 0; c < CHUNK; c++)
        found |= (cosines[c] >= limit_row) | (cosines[c] >= limit_column[c]);
    return found != 0;
}

/* What is within rounding of the largest is computed in double, in one order: so the nearest row is
 * the same one whatever the tiles, and of equal ones the lowest. */
static void take_chunk(strip *s, int64_t k, int64_t begin, int64_t end, const float *cosines,
                       float limit_row, const float *limit_column)
{
    const float *w = s->a->w + (s->i + k) * s->d;
    for (int64_t j = begin; j < end; j++) {
        if (cosines[j - begin] < limit_row && cosines[j - begin] < limit_column[j - begin])
            continue;
        double cosine = cosine_of(w, s->b->w + j * s->d, s->d);
        offer(&s->nearest_a[k], cosine, s->b->first + j);
        offer(&s->nearest_b[j], cosine, s->a->first + s->i + k);
    }
}

static void take_tile(strip *s, int64_t j, int64_t width)
{
    float limit_b[ROWS];
    for (int64_t c = 0; c < ROWS; c++)
        limit_b[c] = INFINITY;
    for (int64_t c = 0; c < width; c++)
        if (s->b->factor[j + c] > 0.0f)
            limit_b[c] = fmaxf(s->most_b[j + c], (float)s->nearest_b[j + c].cosine) - s->slack;
    for (int64_t k = 0; k < s->height; k++) {
        const float *row = s->cosines + k * ROWS;
        float limit_a = fmaxf(s->most_a[k], (float)s->nearest_a[k].cosine) - s->slack;
        if (!(s->a->factor[s->i + k] > 0.0f))
            limit_a = INFINITY;
        for (int64_t c = 0; c < width; c += CHUNK)
            if (may_be_nearest(row + c, limit_a, limit_b + c))
                take_chunk(s, k, j + c, j + smaller(c + CHUNK, width), row + c, limit_a,
                           limit_b + c);
    }
}

/* Rows of zeros are as near to one row as to any other: they take the lowest. */
static void take_zeros(strip *s)
{
    for (int64_t k = 0; k < s->height; k++)
        if (!(s->a->factor[s->i + k] > 0.0f))
            offer(&s->nearest_a[k], 0.0, s->b->first);
    for (int64_t j = 0; j < s->b->count; j++)
        if (!(s->b->factor[j] > 0.0f))
            offer(&s->nearest_b[j], 0.0, s->a->first + s->i);
}

static void take_strip(strip *s, const orth_match_best *before)
{
    for (int64_t k = 0; k < ROWS; k++)
        s->most_a[k] = -INFINITY;
    for (int64_t j = 0; j < s->b->count; j++) {
        s->most_b[j] = -INFINITY;
        s->nearest_b[j] = before[j];
    }
    take_zeros(s);
    for (int64_t j = 0; j < s->b->count; j += ROWS) {
        int64_t width = smaller(ROWS, s->b->count - j);
        make_cosines(s, j, width);
        take_tile(s, j, width);
    }
}

void orth_match_add(const orth_match_rows *a, const orth_match_rows *b, int64_t d,
                    orth_match_tiles *tiles, orth_match_best *nearest_a, orth_match_best *nearest_b)
{
    int64_t strips = tiles_of(a->count);
    if (a->count == 0 || b->count == 0)
        return;
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t t = 0; t < strips; t++) {
        strip one = {.a = a, .b = b, .d = d, .i = t * ROWS, .slack = slack_of(d)};
        one.height = smaller(ROWS, a->count - one.i);
        one.cosines = tiles->products + (int64_t)omp_get_thread_num() * ROWS * ROWS;
        one.most_b = tiles->most_b + t * b->count;
        one.nearest_a = nearest_a + one.i;
        one.nearest_b = tiles->nearest_b + t * b->count;
        take_strip(&one, nearest_b);
    }
#pragma omp parallel for schedule(static)
    for (int64_t j = 0; j < b->count; j++)
        for (int64_t t = 0; t < strips; t++) {
            const orth_match_best *found = tiles->nearest_b + t * b->count + j;
            offer(&nearest_b[j], found->cosine, found->row);
        }
}
