#ifndef ORTHANT_SRC_SAE_SCREENED_H
#define ORTHANT_SRC_SAE_SCREENED_H

#include <orthant/sae/encode.h>

/** Allocate for `block` tokens. Local. */
orth_status orth_screened_create(int64_t block, int64_t capacity, orth_screened_block *out);
void orth_screened_free(orth_screened_block *screened);

/** Start a token: nothing is kept, and no value <= floor can be selected. */
void orth_screened_open(orth_screened_block *screened, int64_t slot, float floor);

/** Keep what may be selected of a tile row of `count` screened products; `k` values per token are
 * selected (0: the cut does not rise). Called by any thread, one at a time for a token. */
void orth_screened_row(orth_screened_block *screened, int64_t slot, const float *row, int64_t count,
                       uint32_t first, int64_t k, const orth_screen_bound *tile);

/** Compute what is left of a token and give it to the selection as candidates; `latents` names the
 * encoded latents (NULL: their positions). Any thread. */
void orth_screened_close(orth_screened_block *screened, int64_t slot, int64_t k,
                         const orth_sae *sae, const uint32_t *latents, const float *x,
                         orth_selection *selection);

/** The lost tokens of a block of `n_token`, ascending, in screened->slots; returns how many. */
int64_t orth_screened_lost(orth_screened_block *screened, int64_t n_token);

#endif
