/* Top-AFA (Lee et al. 2025, section 5): as many of the strongest latents as bring the norm of the
 * code nearest to that of the input, s_i = (relu(a_i) |W_dec,i|)^2 summed in descending order.
 *
 * Sums are integers in units of t^2 / 2^38, so that they do not depend on the grid. The cut of a
 * token lies where its sum crosses t^2. A radix search over the bits of s finds it: each round bins
 * the sums of a range of s over the token group and narrows the range to the bin that the crossing
 * lies in; when few entries are left in it, they go to the rank that judges the token. */
#include <orthant/sae/selection.h>

#include <orthant/base/memory.h>
#include <orthant/kern/keys.h>
#include <orthant/par/collective.h>

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { BINS = 512, BIN_BITS = 9, JUDGED_ENTRIES = 384 };

static const uint64_t WHOLE = 1ull << 38;       /* t^2 in integer units */
static const uint64_t ENTRY_LIMIT = 1ull << 39; /* no entry counts for more than 2 t^2 */
static const uint64_t KEYS_END = 1ull << 63;    /* above the bits of every positive double */
static const double LAST_SUM = 1e8;             /* stands for the sum over all latents */

/* Where the crossing of one token lies. Ranges are of the bits of s. */
typedef struct crossing {
    uint64_t low, high; ///< the crossing entry's s is in [low, high)
    uint64_t before;    ///< sum of the entries at or above high
    uint64_t rest;      ///< sum of the entries below low
    int64_t positive;   ///< entries with s > 0, whole token group
    int64_t inside;     ///< entries in [low, high), whole token group
    int64_t settled;    ///< nothing to judge: all positive entries are selected
} crossing;

/* Selected are entries whose s is greater than `key`, or equal and whose latent is not above. */
typedef struct cut {
    uint64_t key;
    uint64_t latent;
} cut;

/* An entry on its way to its judge. */
typedef struct entry {
    uint64_t key;
    uint64_t latent;
} entry;

typedef struct topafa_state {
    crossing *crossings; ///< (block)
    uint64_t *bins;      ///< (block, BINS)
    int64_t *counts;     ///< (block)
    cut *cuts;           ///< (block)
    int64_t *received;   ///< (shards, largest part) entries of each shard and judged token
    int64_t *at;         ///< (largest part, shards) where those lie in `receive`
    int64_t *room;       ///< (largest part) where a judged token's entries are sorted in `send`
    entry *send, *receive;
    int64_t send_capacity, receive_capacity;
} topafa_state;

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static double value_of(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The bits of s for a candidate; they order as s does. */
static inline uint64_t strength(const orth_selection *selection, uint64_t key)
{
    int64_t latent = orth_key_latent(key) - selection->own.begin;
    double part = (double)orth_key_value(key) * selection->decoder_norm[latent];
    return bits_of(part * part);
}

/* q: s in integer units. */
static inline uint64_t quantum(uint64_t key, double target_square)
{
    if (key == 0)
        return 0;
    if (target_square == 0.0)
        return WHOLE;
    double units = value_of(key) * 0x1p38 / target_square;
    if (!(units < 0x1p39))
        return ENTRY_LIMIT;
    double rounded = nearbyint(units);
    return rounded < 1.0 ? 1 : (uint64_t)rounded;
}

static double target_square_of(const orth_selection *selection, int64_t slot)
{
    double target = selection->target[selection->candidates.first_token + slot];
    return target * target;
}

/* Eight bins an octave over the forty octaves below t^2, which hold nearly all of the sum. */
static uint64_t first_base(double target_square)
{
    uint64_t top = bits_of(target_square), span = 40ull << 52;
    return top > span ? top - span : 1;
}

static int narrow_shift(const crossing *c)
{
    int width = 64 - __builtin_clzll(c->high - c->low);
    return width > BIN_BITS ? width - BIN_BITS : 0;
}

static inline int64_t bin_of(const crossing *c, uint64_t key, bool first, uint64_t base, int shift)
{
    if (!first)
        return (int64_t)((key - c->low) >> shift);
    if (key < base)
        return 0;
    uint64_t bin = 1 + ((key - base) >> 49);
    return bin < BINS - 1 ? (int64_t)bin : BINS - 1;
}

static void bin_range(crossing *c, int64_t bin, bool first, uint64_t base, int shift)
{
    uint64_t low = c->low, high = c->high;
    if (!first) {
        c->low = low + ((uint64_t)bin << shift);
        uint64_t end = c->low + (1ull << shift);
        c->high = end < high ? end : high;
    } else if (bin == 0) {
        c->high = base;
    } else {
        c->low = base + ((uint64_t)(bin - 1) << 49);
        c->high = bin == BINS - 1 ? KEYS_END + 1 : c->low + (1ull << 49);
    }
}

/* Add the own entries of one token to its bins. */
static void fill_bins(orth_selection *selection, int64_t slot, bool first)
{
    topafa_state *state = selection->own_state;
    const orth_candidates *c = &selection->candidates;
    const crossing *where = state->crossings + slot;
    const uint64_t *keys = c->keys + slot * c->capacity;
    uint64_t *bins = state->bins + slot * BINS;
    double square = target_square_of(selection, slot);
    uint64_t base = first_base(square);
    int shift = narrow_shift(where);
    int64_t positive = 0;
    memset(bins, 0, BINS * sizeof *bins);
    for (int64_t i = 0; i < c->count[slot]; i++) {
        uint64_t key = strength(selection, keys[i]);
        positive += key > 0;
        if (key >= where->low && key < where->high)
            bins[bin_of(where, key, first, base, shift)] += quantum(key, square);
    }
    state->counts[slot] = positive;
}

/* Narrow a token's range to the bin where the sum crosses t^2. When it never does, all positive
 * entries are selected; but if all latents are positive, the last of them needs the judge, because
 * the sum over all latents counts as LAST_SUM. */
static void narrow(crossing *c, const uint64_t *bins, int64_t n_latent, bool first, uint64_t base)
{
    int shift = narrow_shift(c);
    uint64_t sum = c->before, total = c->before;
    int64_t chosen = -1, lowest = -1;
    for (int64_t bin = BINS - 1; bin >= 0; bin--) {
        total += bins[bin];
        if (bins[bin])
            lowest = bin;
    }
    for (int64_t bin = BINS - 1; bin >= 0 && chosen < 0; bin--) {
        if (sum + bins[bin] >= WHOLE)
            chosen = bin;
        else
            sum += bins[bin];
    }
    if (chosen < 0) {
        if (c->positive < n_latent || lowest < 0) {
            c->settled = 1;
            return;
        }
        chosen = lowest;
        sum = total - bins[lowest];
    }
    c->rest += total - sum - bins[chosen];
    c->before = sum;
    bin_range(c, chosen, first, base, shift);
}

/* One round for the block: bins over the token group, narrower ranges, entries left in them. The
 * largest number left of an unsettled token whose range can still be narrowed is returned. */
static orth_status search_round(orth_selection *selection, bool first, int64_t *most)
{
    topafa_state *state = selection->own_state;
    const orth_candidates *c = &selection->candidates;
    MPI_Comm group = selection->grid->group;
#pragma omp parallel for schedule(dynamic, 4)
    for (int64_t slot = 0; slot < c->n_token; slot++)
        fill_bins(selection, slot, first);
    ORTH_TRY(orth_allreduce(state->bins, c->n_token * BINS, MPI_UINT64_T, MPI_SUM, group));
    if (first)
        ORTH_TRY(orth_allreduce(state->counts, c->n_token, MPI_INT64_T, MPI_SUM, group));
#pragma omp parallel for schedule(dynamic, 4)
    for (int64_t slot = 0; slot < c->n_token; slot++) {
        crossing *where = state->crossings + slot;
        const uint64_t *keys = c->keys + slot * c->capacity;
        if (first)
            where->positive = state->counts[slot];
        if (!where->settled)
            narrow(where, state->bins + slot * BINS, selection->n_latent, first,
                   first_base(target_square_of(selection, slot)));
        int64_t inside = 0;
        for (int64_t i = 0; i < c->count[slot] && !where->settled; i++) {
            uint64_t key = strength(selection, keys[i]);
            inside += key >= where->low && key < where->high;
        }
        state->counts[slot] = inside;
    }
    ORTH_TRY(orth_allreduce(state->counts, c->n_token, MPI_INT64_T, MPI_SUM, group));
    *most = 0;
    for (int64_t slot = 0; slot < c->n_token; slot++) {
        const crossing *where = state->crossings + slot;
        state->crossings[slot].inside = state->counts[slot];
        if (!where->settled && where->high - where->low > 1 && where->inside > *most)
            *most = where->inside;
    }
    return ORTH_OK;
}

static int entry_order(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->key != y->key)
        return x->key > y->key ? -1 : 1;
    return x->latent < y->latent ? -1 : x->latent > y->latent;
}

static double distance(double sum)
{
    return fabs(sqrt(sum) - 0x1p19);
}

/* The cut of one token from the sorted entries of its range: the first minimum of |sqrt(c_j) - t|,
 * where only the entry that crosses, the one before it and the last latent of all can be it. */
static cut judge(const crossing *where, const entry *entries, int64_t count, int64_t n_latent,
                 double square)
{
    cut everything = {1, UINT64_MAX}, above_range = {where->high, UINT64_MAX};
    bool last_inside = where->positive == n_latent && where->rest == 0;
    double last = distance(LAST_SUM * 0x1p38 / square);
    uint64_t before = where->before, sum = before;
    int64_t j = 0;
    for (; j < count; j++) {
        sum = before + quantum(entries[j].key, square);
        if (sum >= WHOLE || j == count - 1)
            break;
        before = sum;
    }
    bool is_last = last_inside && j == count - 1;
    double here = is_last ? last : distance((double)sum);
    double best = here;
    cut result = {entries[j].key, entries[j].latent};
    if (before > 0 && distance((double)before) <= here) {
        best = distance((double)before);
        result = j > 0 ? (cut){entries[j - 1].key, entries[j - 1].latent} : above_range;
    }
    return last < best ? everything : result;
}

static orth_status reserve(entry **array, int64_t *capacity, int64_t count)
{
    if (count <= *capacity && *array)
        return ORTH_OK;
    entry *larger = realloc(*array, (size_t)(count + count / 4 + 64) * sizeof *larger);
    if (!larger)
        return orth_fail(ORTH_ERR_ENVIRONMENT,
                         "selection: out of memory for %lld entries; use a smaller batch",
                         (long long)count);
    *array = larger;
    *capacity = count + count / 4 + 64;
    return ORTH_OK;
}

/* Pack the own entries of every unsettled range in the order of tokens; counts go to `counts`. */
static orth_status pack_entries(orth_selection *selection, int64_t *packed)
{
    topafa_state *state = selection->own_state;
    const orth_candidates *c = &selection->candidates;
    int64_t total = 0;
    for (int64_t slot = 0; slot < c->n_token; slot++) {
        const crossing *where = state->crossings + slot;
        const uint64_t *keys = c->keys + slot * c->capacity;
        int64_t before = total;
        for (int64_t i = 0; i < c->count[slot] && !where->settled; i++) {
            uint64_t key = strength(selection, keys[i]);
            if (key < where->low || key >= where->high)
                continue;
            ORTH_TRY(reserve(&state->send, &state->send_capacity, total + 1));
            state->send[total++] = (entry){key, orth_key_latent(keys[i])};
        }
        state->counts[slot] = total - before;
    }
    *packed = total;
    return ORTH_OK;
}

/* Send the entries of every token to its judge; `received` tells how many came of each. */
static orth_status gather_at_judges(orth_selection *selection)
{
    const orth_grid *grid = selection->grid;
    topafa_state *state = selection->own_state;
    int64_t n_token = selection->candidates.n_token, shards = grid->n_shard;
    int64_t mine = orth_range_size(orth_partition(n_token, shards, grid->shard_index));
    int64_t tokens_to[shards], tokens_from[shards], to[shards], from[shards], total = 0, packed;
    ORTH_TRY(pack_entries(selection, &packed));
    for (int s = 0; s < shards; s++) {
        orth_range part = orth_partition(n_token, shards, s);
        tokens_to[s] = orth_range_size(part);
        tokens_from[s] = mine;
        to[s] = from[s] = 0;
        for (int64_t slot = part.begin; slot < part.end; slot++)
            to[s] += state->counts[slot];
    }
    ORTH_TRY(orth_alltoall(state->counts, tokens_to, state->received, tokens_from,
                           sizeof *state->counts, grid->group));
    for (int64_t i = 0; i < shards * mine; i++) {
        from[i / mine] += state->received[i];
        total += state->received[i];
    }
    ORTH_TRY(reserve(&state->send, &state->send_capacity, packed));
    ORTH_TRY(reserve(&state->receive, &state->receive_capacity, total));
    return orth_alltoall(state->send, to, state->receive, from, sizeof(entry), grid->group);
}

/* One token's entries from all shards, sorted in `room`, and its cut. at[s] is where shard s's lie.
 */
static cut judge_token(const orth_selection *selection, const crossing *where, int64_t token,
                       int64_t mine, const int64_t *at, double square, entry *room)
{
    const topafa_state *state = selection->own_state;
    int64_t count = 0;
    if (where->settled)
        return (cut){1, UINT64_MAX};
    for (int s = 0; s < selection->grid->n_shard; s++) {
        int64_t n = state->received[s * mine + token];
        memcpy(room + count, state->receive + at[s], (size_t)n * sizeof *room);
        count += n;
    }
    qsort(room, (size_t)count, sizeof *room, entry_order);
    return judge(where, room, count, selection->n_latent, square);
}

/* Judge the own part of the block's tokens. */
static orth_status judge_part(orth_selection *selection)
{
    const orth_grid *grid = selection->grid;
    topafa_state *state = selection->own_state;
    int shards = grid->n_shard;
    orth_range part = orth_partition(selection->candidates.n_token, shards, grid->shard_index);
    int64_t mine = orth_range_size(part), place = 0;
    for (int s = 0; s < shards; s++)
        for (int64_t t = 0; t < mine; t++) {
            state->at[t * shards + s] = place;
            place += state->received[s * mine + t];
        }
    for (int64_t t = 0, used = 0; t < mine; t++) {
        state->room[t] = used;
        for (int s = 0; s < shards; s++)
            used += state->received[s * mine + t];
    }
    ORTH_TRY(reserve(&state->send, &state->send_capacity, place));
#pragma omp parallel for schedule(dynamic, 4)
    for (int64_t t = 0; t < mine; t++)
        state->cuts[part.begin + t] = judge_token(
            selection, state->crossings + part.begin + t, t, mine, state->at + t * shards,
            target_square_of(selection, part.begin + t), state->send + state->room[t]);
    return ORTH_OK;
}

static void keep_selected(orth_selection *selection, int64_t slot)
{
    const topafa_state *state = selection->own_state;
    orth_candidates *c = &selection->candidates;
    uint64_t *keys = c->keys + slot * c->capacity;
    cut limit = state->cuts[slot];
    int64_t kept = 0;
    for (int64_t i = 0; i < c->count[slot]; i++) {
        uint64_t key = strength(selection, keys[i]);
        uint64_t candidate = keys[i];
        keys[kept] = candidate;
        kept += key > limit.key || (key == limit.key && orth_key_latent(candidate) <= limit.latent);
    }
    c->count[slot] = kept;
}

static orth_status topafa_close_block(orth_selection *selection)
{
    const orth_grid *grid = selection->grid;
    topafa_state *state = selection->own_state;
    const orth_candidates *c = &selection->candidates;
    int64_t most, counts[grid->n_shard];
    for (int64_t slot = 0; slot < c->n_token; slot++)
        state->crossings[slot] = (crossing){.low = 1, .high = KEYS_END + 1};
    ORTH_TRY(search_round(selection, true, &most));
    while (most > JUDGED_ENTRIES)
        ORTH_TRY(search_round(selection, false, &most));
    ORTH_TRY(gather_at_judges(selection));
    ORTH_TRY(judge_part(selection));
    orth_range part = orth_partition(c->n_token, grid->n_shard, grid->shard_index);
    for (int s = 0; s < grid->n_shard; s++)
        counts[s] = orth_range_size(orth_partition(c->n_token, grid->n_shard, s));
    ORTH_TRY(orth_allgather(state->cuts + part.begin, counts, sizeof *state->cuts, state->cuts,
                            grid->group));
#pragma omp parallel for schedule(dynamic, 4)
    for (int64_t slot = 0; slot < c->n_token; slot++)
        keep_selected(selection, slot);
    return orth_selection_append(selection, selection->code);
}

static int64_t topafa_kept(const orth_selection *selection, int64_t n_latent)
{
    (void)selection;
    return n_latent;
}

static orth_status topafa_create(orth_selection *selection)
{
    int64_t block = selection->candidates.block, shards = selection->grid->n_shard;
    topafa_state *state = NULL;
    ORTH_TRY(ORTH_ALLOCATE(1, "selection", &state));
    selection->own_state = state;
    ORTH_TRY(ORTH_ALLOCATE(block, "selection", &state->crossings));
    ORTH_TRY(ORTH_ALLOCATE(block * BINS, "selection", &state->bins));
    ORTH_TRY(ORTH_ALLOCATE(block, "selection", &state->counts));
    ORTH_TRY(ORTH_ALLOCATE(block, "selection", &state->cuts));
    int64_t part = orth_partition_largest(block, shards);
    ORTH_TRY(ORTH_ALLOCATE(shards * part, "selection", &state->received));
    ORTH_TRY(ORTH_ALLOCATE(shards * part, "selection", &state->at));
    return ORTH_ALLOCATE(part, "selection", &state->room);
}

static void topafa_free(orth_selection *selection)
{
    topafa_state *state = selection->own_state;
    if (!state)
        return;
    orth_free(state->crossings);
    orth_free(state->bins);
    orth_free(state->counts);
    orth_free(state->cuts);
    orth_free(state->received);
    orth_free(state->at);
    orth_free(state->room);
    free(state->send);
    free(state->receive);
    orth_free(state);
}

const orth_selection_ops orth_selection_topafa = {.name = "topafa",
                                                  .kept = topafa_kept,
                                                  .close_block = topafa_close_block,
                                                  .create = topafa_create,
                                                  .free = topafa_free};
