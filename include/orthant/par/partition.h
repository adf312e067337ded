#ifndef ORTHANT_PAR_PARTITION_H
#define ORTHANT_PAR_PARTITION_H

#include <stdint.h>

/** A half-open range of global indices. */
typedef struct orth_range {
    int64_t begin;
    int64_t end;
} orth_range;

/** Number of indices in the range. */
static inline int64_t orth_range_size(orth_range range)
{
    return range.end - range.begin;
}

/**
 * Part `index` of `total` items cut into `parts` contiguous parts whose sizes differ by at most
 * one, the larger ones first. Parts may be empty. Pure arithmetic.
 */
orth_range orth_partition(int64_t total, int64_t parts, int64_t index);

/** The size of the largest part: ceil(total / parts). */
int64_t orth_partition_largest(int64_t total, int64_t parts);

/** The part that holds item `item`. */
int64_t orth_partition_owner(int64_t total, int64_t parts, int64_t item);

#endif
