#ifndef ORTHANT_SAE_TILE_H
#define ORTHANT_SAE_TILE_H

#include <orthant/base/status.h>
#include <orthant/kern/sparse.h>

/**
 * Products with a sparse code cost the traffic of a row for each entry when the rows are far away.
 * With more entries it is cheaper to take the rows in tiles of ORTH_TILE_ROWS x ORTH_TILE_COLUMNS
 * that stay in the first-level cache, and to walk through the entries tile by tile. At no density
 * is a dense product faster: its multiplications cost hardly less and those with zeros come on top.
 * The results are the same bits either way, so whether and where tiles are used is free.
 */
enum { ORTH_TILE_ROWS = 96, ORTH_TILE_LISTS = 256 };

/** At most so many tiles of rows are walked through together, while the results of one window of
 * columns stay in the cache. */
enum { ORTH_TILES = 8 };

/** Scratch of a thread for lists whose entries are taken tile by tile. */
typedef struct orth_tile_scratch {
    int64_t n_list; ///< at most
    int64_t limit;  ///< entries that are taken together, unless one tile has more
    float *tile;    ///< (ORTH_TILE_ROWS, ORTH_TILE_COLUMNS)
    int64_t *at;    ///< (n_list) where the rest of each list begins
    int64_t *start; ///< (ORTH_TILES, n_list + 1)
    uint32_t *index;
    float *value;
    float *gradient; ///< of each entry; NULL when only decoding
    float *lanes;    ///< (entries, ORTH_DOT_LANES); NULL when only decoding
} orth_tile_scratch;

/** Some tiles of rows that have entries, with the entries of all lists there, the indices counted
 * from the first row of each tile. */
typedef struct orth_tiles {
    int64_t n_tile;
    int64_t n_row, end;           ///< of the matrix; where the tiles that follow begin
    int64_t first[ORTH_TILES];    ///< row of each tile
    orth_lists lists[ORTH_TILES]; ///< of each tile
} orth_tiles;

/** Allocate for n_list lists, and `limit` entries at a time. Local. */
orth_status orth_tile_scratch_create(int64_t n_list, int64_t limit, bool gradient,
                                     orth_tile_scratch *out);
void orth_tile_scratch_free(orth_tile_scratch *scratch);

/** Begin with lists in ascending order of index, of the rows [0, n_row): list s has the entries
 * [start[s], start[s + 1]) of what orth_tiles_next gets. */
void orth_tiles_begin(orth_tile_scratch *scratch, int64_t n_list, const int64_t *start,
                      int64_t n_row, orth_tiles *out);

/** The next tiles, copied to the scratch; false when there are no more. Arguments as in
 * orth_tiles_begin. */
bool orth_tiles_next(orth_tile_scratch *scratch, int64_t n_list, const int64_t *start,
                     const uint32_t *index, const float *value, orth_tiles *tiles);

/** Pack the columns from j on, ORTH_TILE_COLUMNS or what is left of d, of tile k's rows of `matrix`
 * (n_row, d); while they are used, those of the tile that follows are fetched. */
orth_rows orth_tiles_pack(const orth_tiles *tiles, int64_t k, const float *matrix, int64_t d,
                          int64_t j, orth_tile_scratch *scratch);

#endif
