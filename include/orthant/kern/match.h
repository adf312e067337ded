#ifndef ORTHANT_KERN_MATCH_H
#define ORTHANT_KERN_MATCH_H

#include <orthant/base/status.h>

#include <stdint.h>

/** A nearest row. Starts as ORTH_MATCH_NONE. */
typedef struct orth_match_best {
    double cosine;
    int64_t row; ///< its number, -1: none yet
} orth_match_best;

#define ORTH_MATCH_NONE ((orth_match_best){-2.0, -1})

/** Rows whose nearest ones are sought. */
typedef struct orth_match_rows {
    const float *w;      ///< (count, d)
    const float *factor; ///< (count) 1 / |row|, 0 for a row of zeros
    int64_t count;
    int64_t first; ///< the number of the first row
} orth_match_rows;

/** Buffers of orth_match_add. */
typedef struct orth_match_tiles {
    float *products;
    float *most_b;              ///< of each strip of A, cosines in fp32
    orth_match_best *nearest_b; ///< of each strip of A
    int64_t capacity_a, capacity_b;
} orth_match_tiles;

/** Allocate for at most `n_a` rows of A and `n_b` of B a call. Local. */
orth_status orth_match_create(int64_t n_a, int64_t n_b, orth_match_tiles *out);
void orth_match_free(orth_match_tiles *tiles);

/** factor[i] = 1 / |row i|, 0 for a row of zeros. */
void orth_match_factors(const float *rows, int64_t n_row, int64_t d, float *factor);

/**
 * For each row of A the row of B with the greatest signed cosine, if it is greater than what
 * nearest_a has from earlier calls, and the other way round: nearest_a (A's count), nearest_b
 * (B's). Products go tile by tile in fp32; what is within their rounding of the greatest is
 * computed again in double (kern/norm.h), which decides, and of equal cosines the lowest row. So
 * the result is the same bits in whatever pieces and order the rows come, on any number of threads.
 * A row of zeros has cosine 0 with all. Not collective.
 */
void orth_match_add(const orth_match_rows *a, const orth_match_rows *b, int64_t d,
                    orth_match_tiles *tiles, orth_match_best *nearest_a,
                    orth_match_best *nearest_b);

#endif
