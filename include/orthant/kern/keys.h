#ifndef ORTHANT_KERN_KEYS_H
#define ORTHANT_KERN_KEYS_H

#include <stdint.h>
#include <string.h>

/**
 * A key orders candidates: the bits of a positive value above the complement of a latent, so that
 * the greater key is the greater value and, among equals, the lower latent.
 */
static inline uint64_t orth_key(float value, uint32_t latent)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint64_t)bits << 32 | (uint32_t)~latent;
}

static inline float orth_key_value(uint64_t key)
{
    uint32_t bits = (uint32_t)(key >> 32);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t orth_key_latent(uint64_t key)
{
    return ~(uint32_t)key;
}

/** Counting and filtering of unsigned keys, one set for each instruction set. */
typedef struct orth_key_kernels {
    /** How many of n keys are greater than the pivot; *equal: how many equal it. */
    int64_t (*count)(const uint64_t *keys, int64_t n, uint64_t pivot, int64_t *equal);
    /** Keep the keys >= cut, or those < cut, in their order; returns how many. */
    int64_t (*keep_from)(uint64_t *keys, int64_t n, uint64_t cut);
    int64_t (*keep_below)(uint64_t *keys, int64_t n, uint64_t cut);
} orth_key_kernels;

/** The k-th largest of n distinct or equal keys, 1 <= k <= n. `keys` is used up. Expected O(n). */
uint64_t orth_keys_kth(uint64_t *keys, int64_t n, int64_t k);

/** Keep the keys >= cut, in their order; returns how many. */
int64_t orth_keys_filter(uint64_t *keys, int64_t n, uint64_t cut);

#endif
