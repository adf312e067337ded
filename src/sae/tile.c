#include <orthant/sae/tile.h>

#include <orthant/base/memory.h>
#include <orthant/kern/table.h>

#include <string.h>

/* Entries that a kernel may write beyond those that it takes. */
enum { TAKEN_MORE = 16 };

static orth_status allocate(orth_tile_scratch *out, bool gradient)
{
    /* Tiles are added up to the limit: the last may be full. */
    int64_t entries = out->limit + out->n_list * ORTH_TILE_ROWS + TAKEN_MORE;
    ORTH_TRY(ORTH_ALLOCATE(ORTH_TILE_ROWS * ORTH_TILE_COLUMNS, "tiles", &out->tile));
    ORTH_TRY(ORTH_ALLOCATE(out->n_list, "tiles", &out->at));
    ORTH_TRY(ORTH_ALLOCATE(ORTH_TILES * (out->n_list + 1), "tiles", &out->start));
    ORTH_TRY(ORTH_ALLOCATE(entries, "tiles", &out->index));
    ORTH_TRY(ORTH_ALLOCATE(entries, "tiles", &out->value));
    if (!gradient)
        return ORTH_OK;
    ORTH_TRY(ORTH_ALLOCATE(entries, "tiles", &out->gradient));
    return ORTH_ALLOCATE(entries * ORTH_DOT_LANES, "tiles", &out->lanes);
}

orth_status orth_tile_scratch_create(int64_t n_list, int64_t limit, bool gradient,
                                     orth_tile_scratch *out)
{
    orth_tile_scratch scratch = {.n_list = n_list, .limit = limit};
    orth_status status = allocate(&scratch, gradient);
    if (status == ORTH_OK)
        *out = scratch;
    else
        orth_tile_scratch_free(&scratch);
    return status;
}

void orth_tile_scratch_free(orth_tile_scratch *scratch)
{
    orth_free(scratch->tile);
    orth_free(scratch->at);
    orth_free(scratch->start);
    orth_free(scratch->index);
    orth_free(scratch->value);
    orth_free(scratch->gradient);
    orth_free(scratch->lanes);
    memset(scratch, 0, sizeof *scratch);
}

void orth_tiles_begin(orth_tile_scratch *scratch, int64_t n_list, const int64_t *start,
                      int64_t n_row, orth_tiles *out)
{
    memcpy(scratch->at, start, (size_t)n_list * sizeof *scratch->at);
    out->n_row = n_row;
    out->end = 0;
}

/* Copy the entries of one tile behind those that are there; returns how many there are then. */
static int64_t gather(orth_tile_scratch *scratch, int64_t n_list, const int64_t *end,
                      const uint32_t *index, const float *value, uint32_t first, int64_t count,
                      int64_t *start)
{
    int64_t (*take)(int64_t, const uint32_t *, const float *, uint32_t, uint32_t, uint32_t *,
                    float *) = orth_kernels_get()->sparse->take;
    for (int64_t s = 0; s < n_list; s++) {
        int64_t e = scratch->at[s],
                n = take(end[s] - e, index + e, value + e, first, first + ORTH_TILE_ROWS,
                         scratch->index + count, scratch->value + count);
        start[s] = count;
        count += n;
        e += n;
        scratch->at[s] = e;
        /* The list goes on here with the next tile. */
        __builtin_prefetch(index + e + 16);
        __builtin_prefetch(value + e + 16);
    }
    start[n_list] = count;
    return count;
}

bool orth_tiles_next(orth_tile_scratch *scratch, int64_t n_list, const int64_t *start,
                     const uint32_t *index, const float *value, orth_tiles *tiles)
{
    int64_t count = 0, last = 0, k = 0;
    while (k < ORTH_TILES && tiles->end < tiles->n_row &&
           (k == 0 || count + last <= scratch->limit)) {
        int64_t *mine = scratch->start + k * (scratch->n_list + 1), first = tiles->end;
        int64_t end =
            gather(scratch, n_list, start + 1, index, value, (uint32_t)first, count, mine);
        tiles->end += ORTH_TILE_ROWS;
        if (end == count)
            continue;
        last = end - count;
        count = end;
        tiles->first[k] = first;
        tiles->lists[k++] =
            (orth_lists){n_list, mine, scratch->index + mine[0], scratch->value + mine[0]};
    }
    tiles->n_tile = k;
    return k > 0;
}

static int64_t tile_rows(const orth_tiles *tiles, int64_t k)
{
    int64_t left = tiles->n_row - tiles->first[k];
    return left < ORTH_TILE_ROWS ? left : ORTH_TILE_ROWS;
}

orth_rows orth_tiles_pack(const orth_tiles *tiles, int64_t k, const float *matrix, int64_t d,
                          int64_t j, orth_tile_scratch *scratch)
{
    int64_t width = d - j < ORTH_TILE_COLUMNS ? d - j : ORTH_TILE_COLUMNS;
    const float *rows = matrix + tiles->first[k] * d;
    orth_rows window = {.data = scratch->tile, .stride = ORTH_TILE_COLUMNS, .width = width};
    orth_kernels_get()->sparse->pack(tile_rows(tiles, k), rows + j, d, width, scratch->tile);
    window.next_stride = d;
    if (k + 1 < tiles->n_tile) {
        window.next = matrix + tiles->first[k + 1] * d + j;
        window.next_count = tile_rows(tiles, k + 1);
    } else if (j + width < d) {
        window.next = matrix + tiles->first[0] * d + j + width;
        window.next_count = tile_rows(tiles, 0);
    }
    return window;
}
