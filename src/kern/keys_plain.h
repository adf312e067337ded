#ifndef ORTHANT_SRC_KERN_KEYS_PLAIN_H
#define ORTHANT_SRC_KERN_KEYS_PLAIN_H

/** Keys in plain C, compiled once for each instruction set by the file that includes this. */

#include <orthant/kern/keys.h>

static inline int64_t keys_count(const uint64_t *keys, int64_t n, uint64_t pivot, int64_t *equal)
{
    int64_t above = 0, same = 0;
    for (int64_t i = 0; i < n; i++) {
        above += keys[i] > pivot;
        same += keys[i] == pivot;
    }
    *equal = same;
    return above;
}

static inline int64_t keys_keep_from(uint64_t *keys, int64_t n, uint64_t cut)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++) {
        uint64_t key = keys[i];
        keys[kept] = key;
        kept += key >= cut;
    }
    return kept;
}

static inline int64_t keys_keep_below(uint64_t *keys, int64_t n, uint64_t cut)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++) {
        uint64_t key = keys[i];
        keys[kept] = key;
        kept += key < cut;
    }
    return kept;
}

#define ORTH_KEYS_PLAIN                                                                            \
    {                                                                                              \
        keys_count, keys_keep_from, keys_keep_below                                                \
    }

#endif
