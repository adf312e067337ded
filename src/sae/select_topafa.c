/* Top-AFA (Lee et al. 2025, section 5): as many of the strongest latents as bring the norm of the
 * code nearest to that of the input, s_i = (relu(a_i) |W_dec,i|)^2 summed in descending order.
 *
 * The search for a token's cut is in topafa_cut.h. A rank that holds all latents finishes a token
 * while its candidates are in cache; the ranks of a token group search a block's tokens together,
 * and what is left of a token goes to the rank that judges it (topafa_group.c). */
#include "topafa.h"

#include <orthant/base/memory.h>
#include <orthant/kern/table.h>

#include <omp.h>
#include <stdlib.h>

/* The range of the own decoder norms, and t^2 of the block's tokens. */
static void open_block(orth_selection *selection)
{
    topafa_state *state = selection->own_state;
    const orth_candidates *c = &selection->candidates;
    const double *norm = selection->decoder_norm;
    state->norm_least = INFINITY;
    state->norm_most = 0.0;
    for (int64_t i = 0; i < orth_range_size(selection->own); i++) {
        state->norm_least = fmin(state->norm_least, norm[i]);
        state->norm_most = fmax(state->norm_most, norm[i]);
    }
    for (int64_t slot = 0; slot < c->n_token; slot++) {
        double target = selection->target[c->first_token + slot];
        state->squares[slot] = target * target;
    }
}

/* A token whose latents are all here. */
static void select_alone(orth_selection *selection, int64_t slot, orth_afa_entry *entries)
{
    topafa_state *state = selection->own_state;
    const orth_afa_kernels *kernels = orth_kernels_get()->afa;
    const orth_afa_token token = topafa_token(selection, slot);
    topafa_crossing *where = state->crossings + slot;
    const topafa_guess *guess = &state->guess;
    int64_t count = 0;
    *where = topafa_start(topafa_positive(&token));
    while (topafa_goes_on(where, TOPAFA_JUDGED)) {
        orth_afa_window window = topafa_window(where, token.target_square, guess);
        orth_afa_tally tally;
        kernels->tally(&token, &window, &tally);
        topafa_narrow(where, &window, &tally, selection->n_latent);
        guess = NULL;
    }
    if (!where->settled)
        count = kernels->collect(&token, where->low, where->high, entries);
    topafa_verdict verdict =
        topafa_judge(where, entries, count, selection->n_latent, token.target_square);
    state->cuts[slot] = verdict.cut;
    state->counts[slot] = (int64_t)verdict.selected;
}

/* Append what is selected of the block to the code; `counts` tells how many of each token. */
static orth_status append_selected(const orth_selection *selection)
{
    const topafa_state *state = selection->own_state;
    const orth_candidates *c = &selection->candidates;
    orth_code *code = selection->code;
    int64_t first = c->first_token, entries = code->start[first];
    for (int64_t slot = 0; slot < c->n_token; slot++) {
        code->start[first + slot] = entries;
        entries += state->counts[slot];
    }
    code->start[first + c->n_token] = entries;
    code->n_token = first + c->n_token;
    ORTH_TRY(orth_code_reserve(code, entries));
#pragma omp parallel for schedule(static)
    for (int64_t slot = 0; slot < c->n_token; slot++) {
        const orth_afa_token token = topafa_token(selection, slot);
        int64_t to = code->start[first + slot];
        orth_kernels_get()->afa->select(&token, state->cuts + slot, state->counts[slot],
                                        code->latent + to, code->value + to);
    }
    return ORTH_OK;
}

static orth_status topafa_close_block(orth_selection *selection)
{
    topafa_state *state = selection->own_state;
    const orth_candidates *c = &selection->candidates;
    open_block(selection);
    if (selection->grid->n_shard > 1) {
        ORTH_TRY(topafa_agree_cuts(selection));
    } else {
#pragma omp parallel for schedule(dynamic, 4)
        for (int64_t slot = 0; slot < c->n_token; slot++)
            select_alone(selection, slot, state->scratch + omp_get_thread_num() * c->capacity);
    }
    state->guess = topafa_expect(state->cuts, state->squares, c->n_token);
    return append_selected(selection);
}

static int64_t topafa_kept(const orth_selection *selection, int64_t n_latent)
{
    (void)selection;
    return n_latent;
}

static orth_status topafa_create(orth_selection *selection)
{
    const orth_candidates *c = &selection->candidates;
    topafa_state *state = NULL;
    ORTH_TRY(ORTH_ALLOCATE(1, "selection", &state));
    selection->own_state = state;
    ORTH_TRY(ORTH_ALLOCATE(c->block, "selection", &state->crossings));
    ORTH_TRY(ORTH_ALLOCATE(c->block, "selection", &state->cuts));
    ORTH_TRY(ORTH_ALLOCATE(c->block, "selection", &state->squares));
    ORTH_TRY(ORTH_ALLOCATE(c->block, "selection", &state->counts));
    ORTH_TRY(ORTH_ALLOCATE(omp_get_max_threads() * c->capacity, "selection", &state->scratch));
    return selection->grid->n_shard > 1 ? topafa_group_create(selection) : ORTH_OK;
}

static void topafa_free(orth_selection *selection)
{
    topafa_state *state = selection->own_state;
    if (!state)
        return;
    topafa_group_free(&state->group);
    orth_free(state->crossings);
    orth_free(state->cuts);
    orth_free(state->squares);
    orth_free(state->counts);
    orth_free(state->scratch);
    orth_free(state);
}

const orth_selection_ops orth_selection_topafa = {.name = "topafa",
                                                  .kept = topafa_kept,
                                                  .close_block = topafa_close_block,
                                                  .create = topafa_create,
                                                  .free = topafa_free};
