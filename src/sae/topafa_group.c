/* Top-AFA over the ranks of a token group: rounds of tallies, then the judges. */
#include "topafa.h"

#include <orthant/base/memory.h>
#include <orthant/kern/table.h>
#include <orthant/par/collective.h>

#include <omp.h>
#include <stdlib.h>

/* One round: the tallies of the active tokens over the token group, and narrower ranges. */
static orth_status search_round(orth_selection *selection, int64_t n_active, bool first)
{
    topafa_state *state = selection->own_state;
    const topafa_group *group = &state->group;
    const topafa_guess *guess = first ? &state->guess : NULL;
    enum { MESSAGE_WORDS = sizeof(topafa_message) / sizeof(uint64_t) };
#pragma omp parallel for schedule(dynamic, 4)
    for (int64_t i = 0; i < n_active; i++) {
        const orth_afa_token token = topafa_token(selection, group->active[i]);
        orth_afa_window window =
            topafa_window(state->crossings + group->active[i], token.target_square, guess);
        orth_kernels_get()->afa->tally(&token, &window, &group->messages[i].tally);
        group->messages[i].positive = first ? topafa_positive(&token) : 0;
    }
    ORTH_TRY(orth_allreduce(group->messages, n_active * MESSAGE_WORDS, MPI_UINT64_T, MPI_SUM,
                            selection->grid->group));
    for (int64_t i = 0; i < n_active; i++) {
        topafa_crossing *where = state->crossings + group->active[i];
        orth_afa_window window = topafa_window(where, state->squares[group->active[i]], guess);
        if (first)
            where->positive = group->messages[i].positive;
        topafa_narrow(where, &window, &group->messages[i].tally, selection->n_latent);
    }
    return ORTH_OK;
}

static orth_status search(orth_selection *selection)
{
    topafa_state *state = selection->own_state;
    int64_t n_token = selection->candidates.n_token, n_active = n_token;
    for (int64_t slot = 0; slot < n_token; slot++) {
        state->crossings[slot] = topafa_start(TOPAFA_UNKNOWN);
        state->group.active[slot] = slot;
    }
    for (bool first = true; n_active > 0; first = false) {
        int64_t left = 0;
        ORTH_TRY(search_round(selection, n_active, first));
        for (int64_t i = 0; i < n_active; i++)
            if (topafa_goes_on(state->crossings + state->group.active[i], TOPAFA_JUDGED))
                state->group.active[left++] = state->group.active[i];
        n_active = left;
    }
    return ORTH_OK;
}

static orth_status reserve(orth_afa_entry **array, int64_t *capacity, int64_t count)
{
    if (count <= *capacity && *array)
        return ORTH_OK;
    orth_afa_entry *larger =
        orth_realloc(*array, (size_t)(count + count / 4 + 64) * sizeof *larger);
    if (!larger)
        return orth_fail(ORTH_ERR_ENVIRONMENT,
                         "selection: out of memory for %lld entries; use a smaller batch",
                         (long long)count);
    *array = larger;
    *capacity = count + count / 4 + 64;
    return ORTH_OK;
}

/* The own entries of every unsettled range in the order of tokens; counts go to `counts`. Ranges
 * hold few entries, and looking for them twice is cheaper than room for all. */
static orth_status pack_entries(orth_selection *selection)
{
    topafa_state *state = selection->own_state;
    topafa_group *group = &state->group;
    const orth_candidates *c = &selection->candidates;
    int64_t total = 0;
    for (int pass = 0; pass < 2; pass++) {
#pragma omp parallel for schedule(dynamic, 4)
        for (int64_t slot = 0; slot < c->n_token; slot++) {
            const topafa_crossing *where = state->crossings + slot;
            const orth_afa_token token = topafa_token(selection, slot);
            orth_afa_entry *found = state->scratch + omp_get_thread_num() * c->capacity;
            int64_t count = where->settled ? 0
                                           : orth_kernels_get()->afa->collect(&token, where->low,
                                                                              where->high, found);
            if (pass == 0)
                state->counts[slot] = count;
            else
                memcpy(group->send + group->active[slot], found, (size_t)count * sizeof *found);
        }
        for (int64_t slot = 0; slot < c->n_token && pass == 0; slot++) {
            group->active[slot] = total;
            total += state->counts[slot];
        }
        ORTH_TRY(reserve(&group->send, &group->send_capacity, total));
    }
    return ORTH_OK;
}

/* Send the entries of every token to its judge; `received` tells how many came of each. */
static orth_status gather_at_judges(orth_selection *selection)
{
    const orth_grid *grid = selection->grid;
    topafa_state *state = selection->own_state;
    topafa_group *group = &state->group;
    int64_t n_token = selection->candidates.n_token, shards = grid->n_shard;
    int64_t mine = orth_range_size(orth_partition(n_token, shards, grid->shard_index));
    int64_t tokens_to[shards], tokens_from[shards], to[shards], from[shards], total = 0;
    ORTH_TRY(pack_entries(selection));
    for (int s = 0; s < shards; s++) {
        orth_range part = orth_partition(n_token, shards, s);
        tokens_to[s] = orth_range_size(part);
        tokens_from[s] = mine;
        to[s] = from[s] = 0;
        for (int64_t slot = part.begin; slot < part.end; slot++)
            to[s] += state->counts[slot];
    }
    ORTH_TRY(orth_alltoall(state->counts, tokens_to, group->received, tokens_from,
                           sizeof *state->counts, grid->group));
    for (int64_t i = 0; i < shards * mine; i++) {
        from[i / mine] += group->received[i];
        total += group->received[i];
    }
    ORTH_TRY(reserve(&group->receive, &group->receive_capacity, total));
    return orth_alltoall(group->send, to, group->receive, from, sizeof *group->send, grid->group);
}

/* One token's entries from all shards, brought together in `room`, and its cut. at[s] is where
 * shard s's lie. */
static orth_afa_cut judge_token(const orth_selection *selection, int64_t slot, int64_t token,
                                int64_t mine, const int64_t *at, orth_afa_entry *room)
{
    const topafa_state *state = selection->own_state;
    int64_t count = 0;
    for (int s = 0; s < selection->grid->n_shard; s++) {
        int64_t n = state->group.received[s * mine + token];
        memcpy(room + count, state->group.receive + at[s], (size_t)n * sizeof *room);
        count += n;
    }
    return topafa_judge(state->crossings + slot, room, count, selection->n_latent,
                        state->squares[slot])
        .cut;
}

/* Judge the own part of the block's tokens. */
static orth_status judge_part(orth_selection *selection)
{
    const orth_grid *grid = selection->grid;
    topafa_state *state = selection->own_state;
    topafa_group *group = &state->group;
    int shards = grid->n_shard;
    orth_range part = orth_partition(selection->candidates.n_token, shards, grid->shard_index);
    int64_t mine = orth_range_size(part), place = 0;
    for (int s = 0; s < shards; s++)
        for (int64_t t = 0; t < mine; t++) {
            group->at[t * shards + s] = place;
            place += group->received[s * mine + t];
        }
    for (int64_t t = 0, used = 0; t < mine; t++) {
        group->room[t] = used;
        for (int s = 0; s < shards; s++)
            used += group->received[s * mine + t];
    }
    ORTH_TRY(reserve(&group->send, &group->send_capacity, place));
#pragma omp parallel for schedule(dynamic, 4)
    for (int64_t t = 0; t < mine; t++)
        state->cuts[part.begin + t] =
            judge_token(selection, part.begin + t, t, mine, group->at + t * shards,
                        group->send + group->room[t]);
    return ORTH_OK;
}

orth_status topafa_agree_cuts(orth_selection *selection)
{
    const orth_grid *grid = selection->grid;
    topafa_state *state = selection->own_state;
    int64_t n_token = selection->candidates.n_token, counts[grid->n_shard];
    orth_range part = orth_partition(n_token, grid->n_shard, grid->shard_index);
    ORTH_TRY(search(selection));
    ORTH_TRY(gather_at_judges(selection));
    ORTH_TRY(judge_part(selection));
    for (int s = 0; s < grid->n_shard; s++)
        counts[s] = orth_range_size(orth_partition(n_token, grid->n_shard, s));
    ORTH_TRY(orth_allgather(state->cuts + part.begin, counts, sizeof *state->cuts, state->cuts,
                            grid->group));
#pragma omp parallel for schedule(static)
    for (int64_t slot = 0; slot < n_token; slot++) {
        const orth_afa_token token = topafa_token(selection, slot);
        state->counts[slot] =
            orth_kernels_get()->afa->select(&token, state->cuts + slot, 0, NULL, NULL);
    }
    return ORTH_OK;
}

orth_status topafa_group_create(orth_selection *selection)
{
    topafa_state *state = selection->own_state;
    topafa_group *group = &state->group;
    int64_t block = selection->candidates.block, shards = selection->grid->n_shard;
    int64_t part = orth_partition_largest(block, shards);
    ORTH_TRY(ORTH_ALLOCATE(block, "selection", &group->active));
    ORTH_TRY(ORTH_ALLOCATE(block, "selection", &group->messages));
    ORTH_TRY(ORTH_ALLOCATE(shards * part, "selection", &group->received));
    ORTH_TRY(ORTH_ALLOCATE(shards * part, "selection", &group->at));
    return ORTH_ALLOCATE(part, "selection", &group->room);
}

void topafa_group_free(topafa_group *group)
{
    orth_free(group->active);
    orth_free(group->messages);
    orth_free(group->received);
    orth_free(group->at);
    orth_free(group->room);
    free(group->send);
    free(group->receive);
}
