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

/** The k-th largest of n distinct or equal keys, 1 <= k <= n; reorders `keys`. Expected O(n). */
uint64_t orth_keys_kth(uint64_t *keys, int64_t n, int64_t k);

/** Keep the keys >= cut, in their order; returns how many. */
int64_t orth_keys_filter(uint64_t *keys, int64_t n, uint64_t cut);

#endif
