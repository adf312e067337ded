#ifndef ORTHANT_SRC_KERN_AFA_ROWS_H
#define ORTHANT_SRC_KERN_AFA_ROWS_H

/** Top-AFA's kernels candidate by candidate: what they mean (include/orthant/kern/table.h). */

#include <orthant/kern/afa.h>

#include <stddef.h>

static inline void rows_afa_tally(const orth_afa_token *token, const orth_afa_window *window,
                                  orth_afa_tally *tally)
{
    memset(tally, 0, sizeof *tally);
    for (int64_t i = 0; i < token->n; i++) {
        uint64_t strength = orth_afa_strength(token, token->keys[i]);
        if (strength < window->low || strength >= window->top)
            continue;
        orth_afa_bin *bin = strength >= window->high
                                ? &tally->above
                                : tally->bins + ((strength - window->low) >> window->shift);
        bin->sum += orth_afa_quantum(strength, token->target_square);
        bin->count++;
    }
}

static inline int64_t rows_afa_collect(const orth_afa_token *token, uint64_t low, uint64_t high,
                                       orth_afa_entry *entries)
{
    int64_t count = 0;
    for (int64_t i = 0; i < token->n; i++) {
        uint64_t strength = orth_afa_strength(token, token->keys[i]);
        if (strength >= low && strength < high)
            entries[count++] = (orth_afa_entry){strength, orth_key_latent(token->keys[i])};
    }
    return count;
}

static inline int64_t rows_afa_select(const orth_afa_token *token, const orth_afa_cut *cut,
                                      int64_t room, uint32_t *latents, float *values)
{
    int64_t count = 0;
    for (int64_t i = 0; i < token->n; i++) {
        uint64_t key = token->keys[i], strength = orth_afa_strength(token, key);
        if (strength < cut->strength ||
            (strength == cut->strength && orth_key_latent(key) > cut->latent))
            continue;
        if (count < room) {
            latents[count] = orth_key_latent(key) - token->first;
            values[count] = orth_key_value(key);
        }
        count++;
    }
    return count;
}

#endif
