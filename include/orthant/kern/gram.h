#ifndef ORTHANT_KERN_GRAM_H
#define ORTHANT_KERN_GRAM_H

#include <orthant/base/status.h>

#include <math.h>
#include <stdint.h>

/** An inner product, or its size, and the numbers of the two rows; -1 when there is none. */
typedef struct orth_gram_peak {
    double value;
    int64_t a, b;
} orth_gram_peak;

/** What is kept of many inner products. Starts as ORTH_GRAM_NONE. */
typedef struct orth_gram {
    orth_gram_peak max;     ///< signed
    orth_gram_peak max_abs; ///< of the sizes
    double sum_abs;
} orth_gram;

#define ORTH_GRAM_NONE ((orth_gram){.max = {-INFINITY, -1, -1}, .max_abs = {-INFINITY, -1, -1}})

/** Rows of a tile, and bins of the histogram of cosines: equal ones from -1 to 1. */
enum { ORTH_GRAM_ROWS = 256, ORTH_GRAM_BINS = 128 };

/** Products of rows as they are, and, where rows have factors, of the rows times these. */
typedef struct orth_gram_survey {
    orth_gram plain;
    orth_gram scaled;
    int64_t bins[ORTH_GRAM_BINS]; ///< of the scaled ones; what lies outside counts at the end
} orth_gram_survey;

#define ORTH_GRAM_SURVEY_NONE                                                                      \
    ((orth_gram_survey){.plain = ORTH_GRAM_NONE, .scaled = ORTH_GRAM_NONE})

/** Rows to be multiplied. */
typedef struct orth_gram_rows {
    const float *w;      ///< (count, d)
    const float *factor; ///< (count) NULL on both sides: nothing is scaled
    int64_t count;
    int64_t first; ///< the number of the first row, for peaks
} orth_gram_rows;

/** Buffers for orth_gram_add: a tile for each thread, a result for each tile. */
typedef struct orth_gram_tiles {
    float *products;
    struct orth_gram_tile *results;
    int64_t capacity; ///< of results
} orth_gram_tiles;

/** Allocate for at most `n_a` rows of A and `n_b` of B a call. Local. */
orth_status orth_gram_create(int64_t n_a, int64_t n_b, orth_gram_tiles *out);
void orth_gram_free(orth_gram_tiles *tiles);

/**
 * Add the products a_i . b_j of the rows of A and B, of d values each, with i < j + shift
 * (A's count: of all pairs), tile by tile: all products are never in memory together. Of the tiles
 * of rows of A only every `step`-th counts, from tile `first` on, so that several callers can share
 * the work. Products are fp32, summed in fp32 along a row of a tile and then in double; the order
 * does not depend on the number of threads. Not collective.
 */
void orth_gram_add(const orth_gram_rows *a, const orth_gram_rows *b, int64_t d, int64_t shift,
                   int64_t first, int64_t step, orth_gram_tiles *tiles, orth_gram_survey *out);

/** Take in the greater: of equal ones that of the lower row a, then b. */
void orth_gram_peak_merge(const orth_gram_peak *from, orth_gram_peak *into);

#endif
