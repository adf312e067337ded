#ifndef ORTHANT_IO_SHUFFLE_H
#define ORTHANT_IO_SHUFFLE_H

#include <stdbool.h>
#include <stdint.h>

/**
 * The order of tokens in an epoch: a bijection of [0, rows) that depends on (seed, epoch, rows)
 * alone. Blocks of 64 rows come in shuffled order; inside each window of 1024 blocks' worth of
 * positions the rows are shuffled. O(1) memory (keyed permutations by cycle-walking), so that any
 * rank can ask for any position.
 */
typedef struct orth_shuffle {
    int64_t rows;
    uint64_t seed;
    int64_t epoch;
    bool shuffled;      ///< false: the identity
    int64_t short_slot; ///< place in the shuffled order of the last, shorter block
} orth_shuffle;

/** Make the order of one epoch. */
orth_shuffle orth_shuffle_create(int64_t rows, int64_t seed, int64_t epoch, bool shuffled);

/** The row at `position` in [0, rows). */
int64_t orth_shuffle_row(const orth_shuffle *shuffle, int64_t position);

#endif
