#ifndef ORTHANT_KERN_SPARSE_H
#define ORTHANT_KERN_SPARSE_H

#include <stdbool.h>
#include <stdint.h>

/** Columns of a packed tile of rows, and interleaved chains of a scalar product. */
enum { ORTH_TILE_COLUMNS = 64, ORTH_DOT_LANES = 16 };

/** Sparse lists, one after another: list s has the entries start[s] - start[0] to start[s + 1] -
 * start[0] - 1 of index and value. */
typedef struct orth_lists {
    int64_t count;
    const int64_t *start;  ///< (count + 1)
    const uint32_t *index; ///< the row that an entry multiplies
    const float *value;
} orth_lists;

/** A window of `width` columns of a matrix's rows: those of row r begin at data + r * stride. */
typedef struct orth_rows {
    const float *data;
    int64_t stride;
    int64_t width;
    bool far; ///< a hint: not in the first-level cache; rows are fetched ahead of their use
    const float *next;   ///< a hint: the rows of the window that the caller takes next, fetched
                         ///< meanwhile; may be NULL
    int64_t next_count;  ///< how many
    int64_t next_stride; ///< apart
} orth_rows;

/**
 * Products of sparse lists with dense rows, one set for each instruction set. The order of the
 * operations on a value is the same in all, and does not depend on how the columns are cut into
 * windows (at multiples of ORTH_DOT_LANES) or a list into shorter ones. So how products are
 * blocked for the caches never changes a bit.
 */
typedef struct orth_sparse {
    /** out[s * out_stride + j] += sum over the entries e of list s, in order, of value[e]
     * row(index[e])[j], each step one fma. */
    void (*combine)(const orth_lists *lists, const orth_rows *rows, float *out, int64_t out_stride);

    /**
     * combine, and beside it one window's part of the scalar products of the same rows with a
     * vector for each list: lanes[e * ORTH_DOT_LANES + l] = fma chain over the columns j = l mod
     * ORTH_DOT_LANES, ascending, of row(index[e])[j] w[s * w_stride + j], from +0 if `fresh`, else
     * from what is there. Windows are passed in ascending order.
     */
    void (*project)(const orth_lists *lists, const orth_rows *rows, const float *w,
                    int64_t w_stride, float *out, int64_t out_stride, bool fresh, float *lanes);

    /** The scalar products: out[e] = the sum of n entries' lanes in a tree, lane l + lane l + 8,
     * then + 4, + 2, + 1. `out` may be `lanes`. */
    void (*fold)(int64_t n, const float *lanes, float *out);

    /** Copy the leading entries of one list of n whose index is below `end`, indices counted from
     * `first`; returns how many. Indices ascend from `first` or later. Room for 16 more entries is
     * needed. */
    int64_t (*take)(int64_t n, const uint32_t *index, const float *value, uint32_t first,
                    uint32_t end, uint32_t *indices, float *values);

    /** Copy a window of at most ORTH_TILE_COLUMNS columns of `n` rows into a tile whose rows are
     * ORTH_TILE_COLUMNS apart. */
    void (*pack)(int64_t n, const float *rows, int64_t stride, int64_t width, float *tile);
} orth_sparse;

#endif
