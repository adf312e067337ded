/* JumpReLU (Rajamanoharan et al. 2024): every positive pre-activation above its latent's own
 * threshold, unchanged. Each latent decides alone, so that nothing is exchanged and the set is the
 * same on every grid. A threshold of 0 is a plain ReLU. */
#include <orthant/sae/selection.h>

#include <orthant/kern/keys.h>

#include <math.h>

static int64_t jumprelu_kept(const orth_selection *selection, int64_t n_latent)
{
    (void)selection;
    return n_latent;
}

/* The lowest own threshold. */
static float jumprelu_floor(const orth_selection *selection)
{
    int64_t n = orth_range_size(selection->own);
    float lowest = n > 0 ? selection->threshold[0] : 0.0f;
    for (int64_t i = 1; i < n; i++)
        lowest = fminf(lowest, selection->threshold[i]);
    return fmaxf(lowest, 0.0f);
}

static orth_status jumprelu_close_block(orth_selection *selection)
{
    orth_candidates *c = &selection->candidates;
#pragma omp parallel for schedule(static)
    for (int64_t slot = 0; slot < c->n_token; slot++) {
        uint64_t *keys = c->keys + slot * c->capacity;
        int64_t kept = 0;
        for (int64_t i = 0; i < c->count[slot]; i++) {
            uint64_t key = keys[i];
            int64_t latent = (int64_t)orth_key_latent(key) - selection->own.begin;
            keys[kept] = key;
            kept += orth_key_value(key) > selection->threshold[latent];
        }
        c->count[slot] = kept;
    }
    return orth_selection_append(selection, selection->code);
}

const orth_selection_ops orth_selection_jumprelu = {.name = "jumprelu",
                                                    .kept = jumprelu_kept,
                                                    .floor = jumprelu_floor,
                                                    .close_block = jumprelu_close_block};
