#ifndef ORTHANT_KERN_GRAM_H
#define ORTHANT_KERN_GRAM_H

#include <orthant/base/status.h>

#include <math.h>
#include <stdint.h>

/** What is kept of many inner products. Starts as ORTH_GRAM_NONE. */
typedef struct orth_gram {
    double max; ///< signed
    double max_abs;
    double sum;
    double sum_abs;
} orth_gram;

#define ORTH_GRAM_NONE ((orth_gram){.max = -INFINITY})

/** Buffers for orth_gram_add: a tile for each thread, a result for each tile. */
typedef struct orth_gram_tiles {
    float *products;
    orth_gram *results;
    int64_t capacity; ///< of results
} orth_gram_tiles;

/** Rows of a tile. */
enum { ORTH_GRAM_ROWS = 256 };

/** Allocate for at most `n_a` rows of A and `n_b` of B a call. Local. */
orth_status orth_gram_create(int64_t n_a, int64_t n_b, orth_gram_tiles *out);
void orth_gram_free(orth_gram_tiles *tiles);

/**
 * Add the products a_i . b_j of the rows of A (n_a, d) and B (n_b, d) with i < j + shift (n_a: of
 * all pairs), tile by tile: n_a x n_b products are never in memory together. Of the tiles of rows
 * of A only every `step`-th counts, from tile `first` on, so that several callers can share the
 * work. Sums are doubles of fp32 products; their order does not depend on the number of threads.
 * Not collective.
 */
void orth_gram_add(const float *a, int64_t n_a, const float *b, int64_t n_b, int64_t d,
                   int64_t shift, int64_t first, int64_t step, orth_gram_tiles *tiles,
                   orth_gram *gram);

#endif
