#include <orthant/kern/nearest.h>

#include <orthant/base/memory.h>
#include <orthant/kern/pack.h>
#include <orthant/kern/table.h>

#include <omp.h>
#include <stdbool.h>
#include <string.h>

/* Beyond what fp32 can lose of a cosine: what is not so near as this is not looked at in double. */
static const double SLACK = 1e-4;

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

orth_status orth_nearest_create(int64_t most, int64_t d, orth_nearest *out)
{
    int64_t threads = omp_get_max_threads();
    orth_nearest nearest = {.d = d, .most = most};
    orth_status status =
        ORTH_ALLOCATE((most + ORTH_PANEL_LATENTS_MAX) * d, "packed rows", &nearest.panels);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(ORTH_PANEL_LATENTS_MAX, "packed rows", &nearest.zero);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(threads * ORTH_PANEL_TOKENS_MAX * d, "packed rows", &nearest.tokens);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(threads * ORTH_PANEL_TOKENS_MAX * (int64_t)ORTH_PANEL_LATENTS_MAX,
                               "tiles of products", &nearest.tiles);
    if (status == ORTH_OK)
        *out = nearest;
    else
        orth_nearest_free(&nearest);
    return status;
}

void orth_nearest_free(orth_nearest *nearest)
{
    orth_free(nearest->panels);
    orth_free(nearest->zero);
    orth_free(nearest->tokens);
    orth_free(nearest->tiles);
    memset(nearest, 0, sizeof *nearest);
}

static bool nearer(orth_near one, orth_near other)
{
    if (other.row < 0 || one.cosine != other.cosine)
        return other.row < 0 || one.cosine > other.cosine;
    return one.row < other.row;
}

static void insert(orth_near candidate, int64_t count, orth_near *list)
{
    int64_t place = count - 1;
    if (!nearer(candidate, list[place]))
        return;
    for (; place > 0 && nearer(candidate, list[place - 1]); place--)
        list[place] = list[place - 1];
    list[place] = candidate;
}

/* The products of row `i` of A with rows [at, at + n) of B. */
static void take_row(const orth_near_rows *a, int64_t i, const orth_near_rows *b, int64_t at,
                     int64_t n, const float *products, int64_t count, orth_near *list)
{
    for (int64_t j = 0; j < n; j++) {
        double scale = a->norm[i] * b->norm[at + j], product = (double)products[j];
        const orth_near *last = list + count - 1;
        if (last->row >= 0 && product < (last->cosine - SLACK) * scale)
            continue;
        if (a->first + i == b->first + at + j)
            continue;
        insert((orth_near){b->first + at + j, scale > 0.0 ? product / scale : 0.0}, count, list);
    }
}

static void pack_all(const orth_near_rows *b, orth_nearest *buffers)
{
    int width = orth_kernels_get()->panel_latents;
#pragma omp for schedule(static)
    for (int64_t at = 0; at < b->n; at += width)
        orth_pack(b->rows + at * buffers->d, NULL, smaller(width, b->n - at), width, buffers->d,
                  buffers->panels + at * buffers->d);
}

static void take_panel(const orth_near_rows *a, int64_t first, const orth_near_rows *b,
                       int64_t count, orth_nearest *buffers, orth_near *nearest)
{
    const orth_kernels *kernels = orth_kernels_get();
    int64_t d = buffers->d, thread = omp_get_thread_num(), width = kernels->panel_latents;
    int64_t rows = smaller(kernels->panel_tokens, a->n - first);
    float *x = buffers->tokens + thread * ORTH_PANEL_TOKENS_MAX * d;
    float *tile = buffers->tiles + thread * ORTH_PANEL_TOKENS_MAX * ORTH_PANEL_LATENTS_MAX;
    orth_pack(a->rows + first * d, NULL, rows, kernels->panel_tokens, d, x);
    for (int64_t at = 0; at < b->n; at += width) {
        kernels->chain(d, x, buffers->panels + at * d, buffers->zero, tile, ORTH_PANEL_LATENTS_MAX);
        for (int64_t r = 0; r < rows; r++)
            take_row(a, first + r, b, at, smaller(width, b->n - at),
                     tile + r * ORTH_PANEL_LATENTS_MAX, count, nearest + (first + r) * count);
    }
}

void orth_nearest_add(const orth_near_rows *a, const orth_near_rows *b, int64_t count,
                      orth_nearest *buffers, orth_near *nearest)
{
    int64_t height = orth_kernels_get()->panel_tokens;
    if (count == 0 || a->n == 0 || b->n == 0)
        return;
#pragma omp parallel
    {
        pack_all(b, buffers);
#pragma omp for schedule(dynamic, 1)
        for (int64_t first = 0; first < a->n; first += height)
            take_panel(a, first, b, count, buffers, nearest);
    }
}
