#ifndef ORTHANT_SRC_SAE_TOPAFA_CUT_H
#define ORTHANT_SRC_SAE_TOPAFA_CUT_H

#include <orthant/kern/afa.h>

#include <stdbool.h>

/**
 * Where the cut of one token lies (RECIPES: topafa): at the entry with which the sum of the quanta,
 * strongest first, reaches t^2, or at the one before it, or at the last of all. A search narrows
 * the range of strengths that holds the first of these: each round tallies the entries of a window
 * of that range over the token group and goes on where the sum crosses. When few entries are left
 * they are judged one by one. Which windows are looked at changes the cost and never the cut.
 */
typedef struct topafa_crossing {
    uint64_t low, high; ///< the entry's strength is in [low, high)
    uint64_t before;    ///< sum of the quanta at or above high: less than t^2
    uint64_t n_before;  ///< number of those entries
    uint64_t inside;    ///< entries in [low, high); TOPAFA_UNKNOWN: not counted yet
    uint64_t positive;  ///< entries with s > 0
    bool settled;       ///< nothing to judge: all positive entries are selected
} topafa_crossing;

static const uint64_t TOPAFA_UNKNOWN = UINT64_MAX;

/** Where cuts are expected, in bits from those of t^2; low = high: not known. */
typedef struct topafa_guess {
    int64_t low, high;
} topafa_guess;

/** A token of which nothing is known but its number of positive entries. */
topafa_crossing topafa_start(uint64_t positive);

/** Whether another round is needed before at most `few` entries can be judged. */
bool topafa_goes_on(const topafa_crossing *c, uint64_t few);

/** The window of the next round; `guess` NULL: none. */
orth_afa_window topafa_window(const topafa_crossing *c, double target_square,
                              const topafa_guess *guess);

/** Draw the conclusion from a round's tally over the token group, of n_latent latents. */
void topafa_narrow(topafa_crossing *c, const orth_afa_window *window, const orth_afa_tally *tally,
                   int64_t n_latent);

/** What is decided: the cut, and how many entries of the token group it selects. */
typedef struct topafa_verdict {
    orth_afa_cut cut;
    uint64_t selected;
} topafa_verdict;

/** The cut, from all entries of [low, high) in ascending order of latent; reorders them. */
topafa_verdict topafa_judge(const topafa_crossing *c, orth_afa_entry *entries, int64_t count,
                            int64_t n_latent, double target_square);

/** What the cuts of some tokens let expect of others; their t^2 in `squares`. Cuts that select
 * everything tell nothing. */
topafa_guess topafa_expect(const orth_afa_cut *cuts, const double *squares, int64_t n);

#endif
