#include <orthant/sae/gradient.h>

#include <orthant/kern/table.h>

#include <omp.h>
#include <string.h>

/* What a thread works on: a chunk of latents of one branch. */
typedef struct chunk_work {
    const orth_sae *sae;
    const orth_batch *batch;
    const orth_branch *branch;
    orth_range rows;
    orth_tile_scratch *scratch;
    orth_block_gradient *out;
} chunk_work;

/* Lists of entries: of the chunk's latents from `row` on, with far rows; or tile by tile. */
typedef struct entry_lists {
    int64_t row;
    const orth_lists *far;
    const orth_tiles *tiles;
} entry_lists;

/* The code gradients, and what the entries add to W_dec's gradient. */
static void project_lists(const chunk_work *c, const entry_lists *entries)
{
    const orth_sparse *sparse = orth_kernels_get()->sparse;
    const orth_tiles *tiles = entries->tiles;
    int64_t d = c->sae->d_model;
    const float *upstream = c->branch->upstream;
    const float *w = c->sae->weights.W_dec + (c->rows.begin + entries->row) * d;
    float *out = c->out->W_dec + entries->row * d;
    if (!tiles) {
        orth_rows rows = {.data = upstream, .stride = d, .width = d, .far = true};
        sparse->project(entries->far, &rows, w, d, out, d, true, c->scratch->lanes);
        return;
    }
    for (int64_t j = 0; j < d; j += ORTH_TILE_COLUMNS)
        for (int64_t k = 0; k < tiles->n_tile; k++) {
            const orth_lists *lists = tiles->lists + k;
            orth_rows rows = orth_tiles_pack(tiles, k, upstream, d, j, c->scratch);
            sparse->project(lists, &rows, w + j, d, out + j, d, j == 0,
                            c->scratch->lanes + lists->start[0] * ORTH_DOT_LANES);
        }
}

/* Add the pull, and the sums that are the bias's gradient. */
static void finish_gradients(const chunk_work *c, const orth_lists *lists, int64_t row,
                             int64_t token, float *gradient)
{
    const float *pull = c->branch->pull ? c->branch->pull + token : NULL;
    int64_t e = 0;
    for (int64_t s = 0; s < lists->count; s++) {
        float bias = c->out->b_enc[row + s];
        for (int64_t end = lists->start[s + 1] - lists->start[0]; e < end; e++) {
            if (pull)
                gradient[e] += pull[lists->index[e]] * lists->value[e];
            bias += gradient[e];
        }
        c->out->b_enc[row + s] = bias;
    }
}

/* What the entries add to W_enc's gradient. */
static void combine_lists(const chunk_work *c, const entry_lists *entries)
{
    const orth_sparse *sparse = orth_kernels_get()->sparse;
    const orth_tiles *tiles = entries->tiles;
    int64_t d = c->sae->d_model;
    const float *x = c->batch->x;
    float *out = c->out->W_enc + entries->row * d;
    if (!tiles) {
        orth_lists lists = *entries->far;
        orth_rows rows = {.data = x, .stride = d, .width = d, .far = true};
        lists.value = c->scratch->gradient;
        sparse->combine(&lists, &rows, out, d);
        return;
    }
    for (int64_t j = 0; j < d; j += ORTH_TILE_COLUMNS)
        for (int64_t k = 0; k < tiles->n_tile; k++) {
            orth_lists lists = tiles->lists[k];
            orth_rows rows = orth_tiles_pack(tiles, k, x, d, j, c->scratch);
            lists.value = c->scratch->gradient + lists.start[0];
            sparse->combine(&lists, &rows, out + j, d);
        }
}

/* Row by row the latents `run`: as many whole lists at a time as there is room for, or a part of a
 * long one. */
static void add_far(const chunk_work *c, orth_range run)
{
    const orth_code_transposed *code = c->branch->code;
    int64_t start[ORTH_CHUNK_LATENTS + 1];
    int64_t i = run.begin, from = code->start[i], end = code->start[run.end];
    while (from < end) {
        int64_t first = i, begin = from, n = 0, room = begin + c->scratch->limit;
        start[0] = begin;
        while (i < run.end) {
            from = code->start[i + 1] < room ? code->start[i + 1] : room;
            start[++n] = from;
            if (from < code->start[i + 1])
                break;
            i++;
        }
        orth_lists lists = {n, start, code->token + begin, code->value + begin};
        entry_lists entries = {first - c->rows.begin, &lists, NULL};
        project_lists(c, &entries);
        orth_kernels_get()->sparse->fold(from - begin, c->scratch->lanes, c->scratch->gradient);
        finish_gradients(c, &lists, entries.row, 0, c->scratch->gradient);
        combine_lists(c, &entries);
    }
}

/* Tile by tile those latents of the chunk that are not far. */
static void add_tiles(const chunk_work *c, const bool *far)
{
    const orth_code_transposed *code = c->branch->code;
    const int64_t *start = code->start + c->rows.begin;
    int64_t n_row = orth_range_size(c->rows);
    orth_tiles tiles;
    entry_lists entries = {0, NULL, &tiles};
    orth_tiles_begin(c->scratch, n_row, start, c->batch->n_token, &tiles);
    for (int64_t i = 0; i < n_row; i++)
        if (far[i])
            c->scratch->at[i] = start[i + 1];
    while (orth_tiles_next(c->scratch, n_row, start, code->token, code->value, &tiles)) {
        project_lists(c, &entries);
        for (int64_t k = 0; k < tiles.n_tile; k++) {
            const orth_lists *lists = tiles.lists + k;
            float *gradient = c->scratch->gradient + lists->start[0];
            orth_kernels_get()->sparse->fold(lists->start[n_row] - lists->start[0],
                                             c->scratch->lanes + lists->start[0] * ORTH_DOT_LANES,
                                             gradient);
            finish_gradients(c, lists, 0, tiles.first[k], gradient);
        }
        combine_lists(c, &entries);
    }
}

/*
 * Which latents of the chunk are taken row by row, and whether any is not. In a tile an entry costs
 * a third of a far one; but a latent's way through a tile costs as much as that saves with
 * LATENT_COST entries, and packing the tile, for all latents, as much as with PACK_COST.
 */
static bool divide(const chunk_work *c, bool *far)
{
    enum { LATENT_COST = 1, PACK_COST = 90 };
    const int64_t *start = c->branch->code->start + c->rows.begin;
    int64_t n_tile = (c->batch->n_token + ORTH_TILE_ROWS - 1) / ORTH_TILE_ROWS, saved = 0;
    for (int64_t i = 0; i < orth_range_size(c->rows); i++) {
        int64_t gain = start[i + 1] - start[i] - LATENT_COST * n_tile;
        far[i] = gain <= 0;
        saved += gain > 0 ? gain : 0;
    }
    return saved > PACK_COST * n_tile;
}

/* A chunk of latents of one branch. */
static void add_chunk(const chunk_work *c)
{
    bool far[ORTH_CHUNK_LATENTS];
    if (!divide(c, far)) {
        add_far(c, c->rows);
        return;
    }
    add_tiles(c, far);
    for (int64_t i = c->rows.begin; i < c->rows.end; i++) {
        int64_t first = i;
        while (i < c->rows.end && far[i - c->rows.begin])
            i++;
        if (i > first)
            add_far(c, (orth_range){first, i});
    }
}

/* The chunk's rows of a gradient that is ready, where none has been added yet: what a chain from 0
 * over its entries would give. */
static void copy_ready(const orth_ready_gradient *ready, orth_range rows, int64_t d,
                       orth_block_gradient *out)
{
    int64_t i = 0, end = ready->n_row;
    while (i < end) {
        int64_t middle = i + (end - i) / 2;
        if ((int64_t)ready->index[middle] < rows.begin)
            i = middle + 1;
        else
            end = middle;
    }
    for (; i < ready->n_row && (int64_t)ready->index[i] < rows.end; i++) {
        int64_t at = (int64_t)ready->index[i] - rows.begin;
        memcpy(out->W_enc + at * d, ready->rows.W_enc + i * d, (size_t)d * sizeof *out->W_enc);
        memcpy(out->W_dec + at * d, ready->rows.W_dec + i * d, (size_t)d * sizeof *out->W_dec);
        out->b_enc[at] = ready->rows.b_enc[i];
    }
}

void orth_gradient_chunk(const orth_sae *sae, const orth_batch *batch, const orth_branch *branches,
                         int n_branch, orth_range rows, orth_product_scratch *scratch,
                         orth_block_gradient *out)
{
    int64_t d = sae->d_model, n_row = orth_range_size(rows);
    memset(out->W_enc, 0, (size_t)(n_row * d) * sizeof *out->W_enc);
    memset(out->W_dec, 0, (size_t)(n_row * d) * sizeof *out->W_dec);
    memset(out->b_enc, 0, (size_t)n_row * sizeof *out->b_enc);
    for (int b = 0; b < n_branch; b++) {
        chunk_work c = {sae, batch, branches + b, rows, scratch->gradient + omp_get_thread_num(),
                        out};
        if (branches[b].ready)
            copy_ready(branches[b].ready, rows, d, out);
        else
            add_chunk(&c);
    }
}
