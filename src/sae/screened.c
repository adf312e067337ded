/* Certified screening of a block: what may be selected of each token, with bounds (kern/screen.h),
 * until all latents have been seen; then the canonical values of what is left. */
#include "screened.h"

#include <orthant/base/memory.h>
#include <orthant/kern/keys.h>
#include <orthant/kern/table.h>

#include <math.h>
#include <string.h>

/* The least positive value: everything positive may be selected. */
static const float ANY_POSITIVE = 0x1p-149f;

/* Values that are computed at a time; room that a panel of latents may need. */
enum { RECOMPUTED = 64, PANEL_ROOM = 32, REFINED = 16, CACHE_LINE = 64 };

/* Guessing ends when one of so many tokens is lost. */
enum { WRONG_GUESSES = 64 };

/* A guess is so many standard deviations, and two, on the safe side. */
static const double GUESS_MARGIN = 5.0;

orth_status orth_screened_create(int64_t block, int64_t capacity, orth_screened_block *out)
{
    orth_screened_block s = {.capacity = capacity, .guess = true};
    orth_status status = ORTH_ALLOCATE(block * capacity, "screening", &s.upper);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(block * capacity, "screening", &s.lower);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(block * capacity, "screening", &s.position);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(block, "screening", &s.count);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(block, "screening", &s.cut);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(block, "screening", &s.alpha);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(block, "screening", &s.beta);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(block, "screening", &s.unit);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(block, "screening", &s.fine_alpha);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(block, "screening", &s.fine_beta);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(block, "screening", &s.next);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(block, "screening", &s.guessed);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(block, "screening", &s.lost);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(block, "screening", &s.slots);
    if (status == ORTH_OK)
        *out = s;
    else
        orth_screened_free(&s);
    return status;
}

void orth_screened_free(orth_screened_block *s)
{
    void *arrays[] = {s->upper,     s->lower, s->position, s->count,  s->cut,
                      s->alpha,     s->beta,  s->lost,     s->slots,  s->fine_alpha,
                      s->fine_beta, s->next,  s->unit,     s->guessed};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        orth_free(arrays[i]);
    memset(s, 0, sizeof *s);
}

void orth_screened_open(orth_screened_block *s, int64_t slot, int64_t d, float size, float rest,
                        float floor, int64_t k, bool taken)
{
    orth_screen_token_bound(d, size, rest, s->alpha + slot, s->beta + slot);
    s->count[slot] = 0;
    s->cut[slot] = floor > 0.0f ? nextafterf(floor, INFINITY) : ANY_POSITIVE;
    if (!taken)
        s->cut[slot] = INFINITY;
    s->lost[slot] = false;
    s->guessed[slot] = false;
    s->next[slot] = k;
}

static orth_screened of_slot(const orth_screened_block *s, int64_t slot)
{
    int64_t at = slot * s->capacity;
    return (orth_screened){s->upper + at, s->lower + at, s->position + at, s->count[slot]};
}

/* How many values of the latents seen so far may be cut off below, so that most likely k of all
 * remain: latents are in no order, so that their share of the k is binomial. */
static int64_t likely_rank(const orth_screened_block *s, int64_t k, int64_t seen)
{
    double share = (double)k * (double)seen / (double)s->n_latent;
    double rank = ceil(share + GUESS_MARGIN * sqrt(share) + 2.0);
    return rank < (double)k ? (int64_t)rank : k;
}

/* After more has been kept: raise the cut now and then, and see that there is room for more. */
static void settle(orth_screened_block *s, int64_t slot, int64_t k, int64_t seen,
                   orth_screened *kept)
{
    if (k > 0 && (kept->count >= s->next[slot] || kept->count + PANEL_ROOM > s->room)) {
        int64_t rank = s->guess ? likely_rank(s, k, seen) : k;
        float cut = orth_kernels_get()->screen_raise(rank, s->cut[slot], kept);
        s->guessed[slot] |= rank < k && cut > s->cut[slot];
        s->cut[slot] = cut;
        s->next[slot] = kept->count + k;
    }
    s->count[slot] = kept->count;
    if (kept->count + PANEL_ROOM > s->room) {
        s->lost[slot] = true;
        s->cut[slot] = INFINITY;
    }
}

void orth_screened_keep(orth_screened_block *s, int64_t slot, const float *upper, uint32_t mask,
                        uint32_t first, int64_t k, int64_t seen, const orth_screen_latents *latents)
{
    orth_screened kept = of_slot(s, slot);
    if (s->cut[slot] == INFINITY)
        return;
    orth_kernels_get()->screen_keep(upper, mask, first, s->alpha[slot], s->beta[slot], latents,
                                    &kept);
    settle(s, slot, k, seen, &kept);
}

void orth_screened_refine(orth_screened_block *s, int64_t slot, const orth_screen_fine *fine,
                          int64_t d, const void *x, const void *rows, int64_t n,
                          const uint32_t *index, uint32_t first, int64_t k, int64_t seen,
                          const orth_screen_latents *latents)
{
    for (int64_t e = 0; e < n && s->cut[slot] != INFINITY; e += REFINED) {
        orth_screened kept = of_slot(s, slot);
        fine->keep(d, x, rows, n - e < REFINED ? n - e : REFINED, index + e, first,
                   s->fine_alpha[slot], s->fine_beta[slot], s->cut[slot], latents, &kept);
        settle(s, slot, k, seen, &kept);
    }
}

void orth_screened_prefetch(const orth_screened_block *s, int64_t slot, const char *x,
                            int64_t bytes)
{
    orth_screened kept = of_slot(s, slot);
    for (int64_t at = 0; at < bytes; at += CACHE_LINE)
        __builtin_prefetch(x + at, 0, 2);
    __builtin_prefetch(kept.upper + kept.count, 1);
    __builtin_prefetch(kept.lower + kept.count, 1);
    __builtin_prefetch(kept.position + kept.count, 1);
}

void orth_screened_confirm(orth_screened_block *s, int64_t slot, int64_t k)
{
    orth_screened kept = of_slot(s, slot);
    int64_t certain = 0;
    if (k == 0 || s->cut[slot] == INFINITY)
        return;
    s->cut[slot] = orth_kernels_get()->screen_raise(k, s->cut[slot], &kept);
    s->count[slot] = kept.count;
    for (int64_t e = 0; e < kept.count; e++)
        certain += kept.lower[e] >= s->cut[slot];
    s->lost[slot] = s->guessed[slot] && certain < k;
}

void orth_screened_lower(const orth_screened_block *s, int64_t slot, const uint32_t *latents,
                         orth_selection *selection)
{
    orth_candidates *c = &selection->candidates;
    orth_screened kept = of_slot(s, slot);
    uint64_t *keys = c->keys + slot * c->capacity;
    c->count[slot] = 0;
    for (int64_t e = 0; e < kept.count && !s->lost[slot]; e++) {
        int64_t row = latents ? (int64_t)latents[kept.position[e]] : (int64_t)kept.position[e];
        if (kept.lower[e] > 0.0f)
            keys[c->count[slot]++] =
                orth_key(kept.lower[e], (uint32_t)(row + selection->own.begin));
    }
}

void orth_screened_raise(orth_screened_block *s, int64_t slot, float cut)
{
    orth_screened kept = of_slot(s, slot);
    if (s->lost[slot] || !(cut > s->cut[slot]))
        return;
    s->cut[slot] = orth_kernels_get()->screen_raise(INT64_MAX, cut, &kept);
    s->count[slot] = kept.count;
}

void orth_screened_close(orth_screened_block *s, int64_t slot, const orth_sae *sae,
                         const uint32_t *latents, const float *x, orth_selection *selection)
{
    const orth_kernels *kernels = orth_kernels_get();
    orth_candidates *c = &selection->candidates;
    orth_screened kept = of_slot(s, slot);
    uint64_t *keys = c->keys + slot * c->capacity;
    uint32_t named = latents ? 0 : (uint32_t)selection->own.begin;
    float value[RECOMPUTED];
    c->count[slot] = 0;
    for (int64_t e = 0; e < kept.count; e += RECOMPUTED) {
        int64_t count = kept.count - e < RECOMPUTED ? kept.count - e : RECOMPUTED;
        uint32_t row[RECOMPUTED];
        for (int64_t i = 0; i < count; i++)
            row[i] = latents ? latents[kept.position[e + i]] : kept.position[e + i];
        kernels->chain_rows(count, row, sae->weights.W_enc, sae->weights.b_enc, x, sae->d_model,
                            value);
        for (int64_t i = 0; i < count; i++)
            if (!(value[i] <= selection->floor))
                keys[c->count[slot]++] = orth_key(fabsf(value[i]), named + kept.position[e + i]);
    }
}

int64_t orth_screened_lost(orth_screened_block *s, int64_t n_token)
{
    int64_t count = 0, guessed = 0;
    for (int64_t slot = 0; slot < n_token; slot++)
        if (s->lost[slot]) {
            s->slots[count++] = (uint32_t)slot;
            guessed += s->guessed[slot];
        }
    if (guessed * WRONG_GUESSES > n_token)
        s->guess = false;
    return count;
}
