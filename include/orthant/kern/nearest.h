#ifndef ORTHANT_KERN_NEAREST_H
#define ORTHANT_KERN_NEAREST_H

#include <orthant/base/status.h>

#include <stdint.h>

/** A row that is near another one. */
typedef struct orth_near {
    int64_t row;   ///< -1: none yet
    double cosine; ///< signed
} orth_near;

/** Rows and what is known of them. */
typedef struct orth_near_rows {
    const float *rows;  ///< (n, d)
    const double *norm; ///< (n)
    int64_t n;
    int64_t first; ///< what row 0 is called
} orth_near_rows;

/** Buffers of orth_nearest_add. */
typedef struct orth_nearest {
    int64_t d;
    int64_t most;  ///< rows of B at a time
    float *panels; ///< B, packed
    float *zero;   ///< the bias of a panel
    float *tokens; ///< (threads) a panel of A
    float *tiles;  ///< (threads) products of two panels
} orth_nearest;

/** For calls with at most `most` rows of B, of width d. Local. */
orth_status orth_nearest_create(int64_t most, int64_t d, orth_nearest *out);
void orth_nearest_free(orth_nearest *nearest);

/**
 * Of each row of A the `count` rows with the largest cosines: nearest (A's n, count), the largest
 * first, ties to the lower name; the rows of B are added to what is there (at first: row -1). A row
 * is not near itself (the same name). Products are canonical (kern/table.h `chain`), so that the
 * result is the same bits in whatever pieces the rows come. A row of norm 0 has cosine 0. Threads
 * share the rows of A. Not collective.
 */
void orth_nearest_add(const orth_near_rows *a, const orth_near_rows *b, int64_t count,
                      orth_nearest *buffers, orth_near *nearest);

#endif
