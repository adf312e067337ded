/* The screened products of the encoder (kern/screen.h), as it runs them, but nothing is kept. */
#include "trial_parts.h"

#include <orthant/base/memory.h>
#include <orthant/kern/screen.h>
#include <orthant/kern/table.h>

#include <math.h>
#include <omp.h>
#include <stddef.h>

/* Tokens of a block that stays in the cache while the latents pass; arrays of a panel. */
enum { BLOCK_PANELS = 16, WIDEST = 32, ARRAYS = 12 };

static int64_t panels(int64_t rows, int width)
{
    return (rows + width - 1) / width;
}

static const orth_screen *screen_of(const orth_trial *t)
{
    const orth_kernels *kernels = orth_kernels_get();
    return t->kind->limit == ORTH_TRIAL_INT8 ? kernels->screen_int8 : kernels->screen_bf16;
}

static orth_status screen_open(orth_trial *t)
{
    const orth_screen *screen = screen_of(t);
    int64_t d = t->sizes.d_model;
    if (!screen || !screen->faster || d > screen->widest)
        return ORTH_OK;
    int64_t row = screen->row_bytes(d) / (int64_t)sizeof(float);
    int64_t x = panels(t->sizes.n_token, screen->panel_tokens) * screen->panel_tokens;
    int64_t w = panels(t->sizes.n_latent, screen->panel_latents) * screen->panel_latents;
    float *rows = NULL;
    ORTH_TRY(ORTH_ALLOCATE(x * row, "trial", &t->a));
    ORTH_TRY(ORTH_ALLOCATE(w * row, "trial", &t->b));
    ORTH_TRY(ORTH_ALLOCATE(omp_get_max_threads() * ORTH_PANEL_TOKENS_MAX * WIDEST, "trial", &t->c));
    ORTH_TRY(ORTH_ALLOCATE(ARRAYS * WIDEST, "trial", &t->e));
    ORTH_TRY(orth_trial_fill(WIDEST * d, &rows));
    float *arrays = t->e;
    /* Each thread has arrays of its own to pack: what is in them is not used. */
#pragma omp parallel
    {
        float unused[3 * WIDEST];
        const orth_screen_rows out = {unused, unused + WIDEST, unused + 2 * WIDEST};
#pragma omp for schedule(static)
        for (int64_t i = 0; i < x; i += screen->panel_tokens)
            screen->pack_tokens(rows, NULL, screen->panel_tokens, d, t->a + i * row, &out);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < w; i += screen->panel_latents)
            screen->pack_latents(rows, NULL, screen->panel_latents, d, t->b + i * row, &out);
    }
    orth_free(rows);
    for (int i = 0; i < WIDEST; i++)
        arrays[4 * WIDEST + i] = INFINITY;
    t->work = 2.0 * (double)x * (double)w * (double)d;
    return ORTH_OK;
}

/* Every cut is above every bound. */
static void screen_run(orth_trial *t)
{
    const orth_screen *screen = screen_of(t);
    int64_t d = t->sizes.d_model, row = screen->row_bytes(d) / (int64_t)sizeof(float);
    int64_t x = panels(t->sizes.n_token, screen->panel_tokens);
    int64_t w = panels(t->sizes.n_latent, screen->panel_latents);
    const float *one = t->e, *cut = t->e + 4 * WIDEST;
    const orth_screen_tokens tokens = {one, one, cut, one};
    const orth_screen_latents latents = {one, one, one, one, one};
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t first = 0; first < x; first += BLOCK_PANELS) {
        float *upper = t->c + omp_get_thread_num() * ORTH_PANEL_TOKENS_MAX * WIDEST;
        uint32_t mask[ORTH_PANEL_TOKENS_MAX];
        int64_t end = first + BLOCK_PANELS < x ? first + BLOCK_PANELS : x;
        for (int64_t i = 0; i < w; i++)
            for (int64_t r = first; r < end; r++)
                screen->product(d, t->a + r * screen->panel_tokens * row,
                                t->b + i * screen->panel_latents * row, &tokens, &latents, upper,
                                WIDEST, mask);
    }
}

const orth_trial_kind orth_trial_screen_bf16 = {"screening, bf16", ORTH_TRIAL_BF16, false, 0,
                                                screen_open,       screen_run,      NULL};
const orth_trial_kind orth_trial_screen_int8 = {"screening, int8", ORTH_TRIAL_INT8, false, 0,
                                                screen_open,       screen_run,      NULL};
