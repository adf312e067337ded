/* The k largest positive pre-activations of each token. Non-positive ones need no place: ReLU makes
 * them zero, and a zero entry is inert (so topk.relu_first changes nothing).
 *
 * Over a token group each rank judges a part of the block's tokens: it gets the k best keys of
 * every shard, finds the k-th best of all, and that cut goes back. Keys are unique (they contain
 * the global latent), so that the set is the same on every grid. */
#include <orthant/sae/selection.h>

#include <orthant/base/memory.h>
#include <orthant/kern/keys.h>
#include <orthant/par/collective.h>

#include <omp.h>
#include <string.h>

typedef struct topk_state {
    uint64_t *send;         ///< (block, k) keys on their way to the judges
    uint64_t *receive;      ///< (shards, largest part, k)
    int64_t *receive_count; ///< (shards, largest part) keys of each shard and judged token
    int64_t *receive_start; ///< where they start in `receive`
    uint64_t *cut;          ///< (block)
} topk_state;

static int64_t topk_kept(const orth_selection *selection, int64_t n_latent)
{
    int64_t twice = 2 * selection->k;
    return twice < n_latent ? twice : n_latent;
}

static bool topk_screened(const orth_selection *selection, int64_t *k)
{
    *k = selection->k;
    return selection->k > 0;
}

static void keep_largest(orth_candidates *c, int64_t slot, int64_t k, uint64_t *scratch)
{
    uint64_t *keys = c->keys + slot * c->capacity;
    int64_t count = c->count[slot];
    if (count <= k)
        return;
    if (k < 1) {
        c->count[slot] = 0;
        return;
    }
    memcpy(scratch, keys, (size_t)count * sizeof *keys);
    uint64_t cut = orth_keys_kth(scratch, count, k);
    c->count[slot] = orth_keys_filter(keys, count, cut);
    c->above[slot] = orth_key_value(cut);
}

static void topk_prune(orth_selection *selection, int64_t slot, uint64_t *scratch)
{
    keep_largest(&selection->candidates, slot, selection->k, scratch);
}

static void keep_largest_of_all(orth_selection *selection, int64_t k)
{
    orth_candidates *c = &selection->candidates;
#pragma omp parallel for schedule(static)
    for (int64_t slot = 0; slot < c->n_token; slot++)
        keep_largest(c, slot, k, c->scratch + omp_get_thread_num() * c->capacity);
}

/* Send every token's keys to its judge. Afterwards receive_count and receive_start are set. */
static orth_status gather_at_judges(orth_selection *selection)
{
    const orth_grid *grid = selection->grid;
    orth_candidates *c = &selection->candidates;
    topk_state *state = selection->own_state;
    int64_t tokens_to[grid->n_shard], tokens_from[grid->n_shard];
    int64_t keys_to[grid->n_shard], keys_from[grid->n_shard], sent = 0, received = 0;
    int64_t mine = orth_range_size(orth_partition(c->n_token, grid->n_shard, grid->shard_index));
    for (int s = 0; s < grid->n_shard; s++) {
        orth_range part = orth_partition(c->n_token, grid->n_shard, s);
        tokens_to[s] = orth_range_size(part);
        tokens_from[s] = mine;
        keys_to[s] = 0;
        for (int64_t slot = part.begin; slot < part.end; slot++) {
            memcpy(state->send + sent, c->keys + slot * c->capacity,
                   (size_t)c->count[slot] * sizeof *c->keys);
            sent += c->count[slot];
            keys_to[s] += c->count[slot];
        }
    }
    ORTH_TRY(orth_alltoall(c->count, tokens_to, state->receive_count, tokens_from, sizeof *c->count,
                           grid->group));
    for (int s = 0; s < grid->n_shard; s++) {
        int64_t before = received;
        for (int64_t t = 0; t < mine; t++) {
            state->receive_start[s * mine + t] = received;
            received += state->receive_count[s * mine + t];
        }
        keys_from[s] = received - before;
    }
    return orth_alltoall(state->send, keys_to, state->receive, keys_from, sizeof *state->send,
                         grid->group);
}

static uint64_t judge(const topk_state *state, int n_shard, int64_t mine, int64_t token, int64_t k,
                      uint64_t *scratch)
{
    int64_t total = 0;
    for (int s = 0; s < n_shard; s++) {
        int64_t count = state->receive_count[s * mine + token];
        memcpy(scratch + total, state->receive + state->receive_start[s * mine + token],
               (size_t)count * sizeof *scratch);
        total += count;
    }
    return total <= k ? 0 : orth_keys_kth(scratch, total, k);
}

/* Find the k-th best key of the whole token group for every token of the block: state->cut. */
static orth_status find_cuts(orth_selection *selection, int64_t k)
{
    const orth_grid *grid = selection->grid;
    orth_candidates *c = &selection->candidates;
    topk_state *state = selection->own_state;
    ORTH_TRY(gather_at_judges(selection));
    orth_range part = orth_partition(c->n_token, grid->n_shard, grid->shard_index);
    int64_t mine = orth_range_size(part), counts[grid->n_shard];
    uint64_t *scratch = NULL;
    ORTH_TRY(ORTH_ALLOCATE(omp_get_max_threads() * grid->n_shard * k, "selection", &scratch));
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < mine; t++)
        state->cut[part.begin + t] = judge(state, grid->n_shard, mine, t, k,
                                           scratch + omp_get_thread_num() * grid->n_shard * k);
    orth_free(scratch);
    for (int s = 0; s < grid->n_shard; s++)
        counts[s] = orth_range_size(orth_partition(c->n_token, grid->n_shard, s));
    return orth_allgather(state->cut + part.begin, counts, sizeof *state->cut, state->cut,
                          grid->group);
}

/* Cut every token of the block at the k-th best key of the whole token group. */
static orth_status agree_cuts(orth_selection *selection, int64_t k)
{
    orth_candidates *c = &selection->candidates;
    const topk_state *state = selection->own_state;
    ORTH_TRY(find_cuts(selection, k));
#pragma omp parallel for schedule(static)
    for (int64_t slot = 0; slot < c->n_token; slot++)
        c->count[slot] =
            orth_keys_filter(c->keys + slot * c->capacity, c->count[slot], state->cut[slot]);
    return ORTH_OK;
}

static orth_status topk_agree_floor(orth_selection *selection)
{
    orth_candidates *c = &selection->candidates;
    const topk_state *state = selection->own_state;
    keep_largest_of_all(selection, selection->k);
    ORTH_TRY(find_cuts(selection, selection->k));
    for (int64_t slot = 0; slot < c->n_token; slot++)
        c->above[slot] = orth_key_value(state->cut[slot]);
    return ORTH_OK;
}

static orth_status close_level(orth_selection *selection, int64_t k, orth_code *code)
{
    keep_largest_of_all(selection, k);
    if (selection->grid->n_shard > 1)
        ORTH_TRY(agree_cuts(selection, k));
    return orth_selection_append(selection, code);
}

static orth_status topk_close_block(orth_selection *selection)
{
    ORTH_TRY(close_level(selection, selection->k, selection->code));
    if (selection->k_inner)
        ORTH_TRY(close_level(selection, selection->k_inner, selection->code_inner));
    return ORTH_OK;
}

static orth_status topk_create(orth_selection *selection)
{
    int64_t shards = selection->grid->n_shard, k = selection->k;
    int64_t block = selection->candidates.block, part = orth_partition_largest(block, shards);
    topk_state *state = NULL;
    if (shards == 1)
        return ORTH_OK;
    if (k > selection->candidates.capacity)
        k = selection->candidates.capacity;
    ORTH_TRY(ORTH_ALLOCATE(1, "selection", &state));
    selection->own_state = state;
    ORTH_TRY(ORTH_ALLOCATE(block * k, "selection", &state->send));
    ORTH_TRY(ORTH_ALLOCATE(shards * part * k, "selection", &state->receive));
    ORTH_TRY(ORTH_ALLOCATE(shards * part, "selection", &state->receive_count));
    ORTH_TRY(ORTH_ALLOCATE(shards * part, "selection", &state->receive_start));
    return ORTH_ALLOCATE(block, "selection", &state->cut);
}

static void topk_free(orth_selection *selection)
{
    topk_state *state = selection->own_state;
    if (!state)
        return;
    orth_free(state->send);
    orth_free(state->receive);
    orth_free(state->receive_count);
    orth_free(state->receive_start);
    orth_free(state->cut);
    orth_free(state);
}

const orth_selection_ops orth_selection_topk = {.name = "topk",
                                                .kept = topk_kept,
                                                .prune = topk_prune,
                                                .screened = topk_screened,
                                                .agree_floor = topk_agree_floor,
                                                .close_block = topk_close_block,
                                                .create = topk_create,
                                                .free = topk_free};
