#ifndef ORTHANT_SRC_SAE_SCREENED_H
#define ORTHANT_SRC_SAE_SCREENED_H

#include <orthant/sae/encode.h>

/** Allocate for `block` tokens. Local. */
orth_status orth_screened_create(int64_t block, int64_t capacity, orth_screened_block *out);
void orth_screened_free(orth_screened_block *screened);

/** Start a token whose row has N = size and R = rest: nothing is kept, and no value <= floor can be
 * selected, nor more than k values (0: not known). A token that is not `taken` keeps nothing. */
void orth_screened_open(orth_screened_block *screened, int64_t slot, int64_t d, float size,
                        float rest, float floor, int64_t k, bool taken);

/** Keep what may be selected of a token's products with a panel of latents; `k` values per token
 * are selected (0: the cut does not rise); `seen` latents have been multiplied by now. Called by
 * any thread, one at a time for a token. */
void orth_screened_keep(orth_screened_block *screened, int64_t slot, const float *upper,
                        uint32_t mask, uint32_t first, int64_t k, int64_t seen,
                        const orth_screen_latents *latents);

/** The same for n latents that a first stage has left, by the second; x, rows, index, `first` and
 * latents as in orth_screen_fine.keep. */
void orth_screened_refine(orth_screened_block *screened, int64_t slot, const orth_screen_fine *fine,
                          int64_t d, const void *x, const void *rows, int64_t n,
                          const uint32_t *index, uint32_t first, int64_t k, int64_t seen,
                          const orth_screen_latents *latents);

/** Fetch what orth_screened_refine will need of a token, its row x of `bytes` bytes included. */
void orth_screened_prefetch(const orth_screened_block *screened, int64_t slot, const char *x,
                            int64_t bytes);

/** All latents have been seen: raise the cut for the last time; a token whose cut was a guess that
 * fewer than k values reach is lost. Any thread. */
void orth_screened_confirm(orth_screened_block *screened, int64_t slot, int64_t k);

/** Give the selection the positive lower bounds of a token as candidates, named by global latents
 * as in orth_screened_close. Any thread. */
void orth_screened_lower(const orth_screened_block *screened, int64_t slot, const uint32_t *latents,
                         orth_selection *selection);

/** What is below `cut` of a token cannot be selected. Any thread. */
void orth_screened_raise(orth_screened_block *screened, int64_t slot, float cut);

/** Compute what is left of a token and give it to the selection as candidates; `latents` names the
 * encoded latents (NULL: their positions). Any thread. */
void orth_screened_close(orth_screened_block *screened, int64_t slot, const orth_sae *sae,
                         const uint32_t *latents, const float *x, orth_selection *selection);

/** The lost tokens of a block of `n_token`, ascending, in screened->slots; returns how many. No cut
 * is guessed any more once too many guesses were wrong. */
int64_t orth_screened_lost(orth_screened_block *screened, int64_t n_token);

#endif
