/* The k B largest positive pre-activations of the global batch (the top-AFA paper's third arm).
 * Each rank collects what can still be among its own k B largest; at the end a radix search over
 * the value bits, its counts added over all ranks, finds the cut. Ties go to the lower token, then
 * the lower latent. */
#include <orthant/sae/selection.h>

#include <orthant/base/memory.h>
#include <orthant/par/collective.h>

#include <omp.h>
#include <stdbool.h>
#include <string.h>

enum { DIGITS = 3, DIGIT_BITS = 11, DIGIT_VALUES = 1 << DIGIT_BITS };

typedef struct batchtopk_state {
    int64_t *ties;                   ///< (tokens of the group) entries at the cut, this rank
    int64_t *tie_sum;                ///< the same over the token group
    int64_t *tie_from;               ///< over the shards before this one
    int64_t (*counts)[DIGIT_VALUES]; ///< (threads)
} batchtopk_state;

/* Entries above `bits` are selected, and the first `ties` of those that equal it. */
typedef struct value_cut {
    uint32_t bits;
    int64_t ties;
    int64_t ties_found; ///< entries that equal it
} value_cut;

static uint32_t value_bits(const orth_code *code, int64_t entry)
{
    uint32_t bits;
    memcpy(&bits, code->value + entry, sizeof bits);
    return bits;
}

/* How many entries have each value of the digit at `shift`, among those whose `fixed` bits are
 * `prefix`: threads count their part of the entries. */
static void count_digit(const orth_code *code, int shift, uint32_t prefix, uint32_t fixed,
                        int64_t (*counts)[DIGIT_VALUES])
{
    int parts = omp_get_max_threads();
    int64_t entries = orth_code_entries(code);
#pragma omp parallel for schedule(static, 1)
    for (int p = 0; p < parts; p++) {
        orth_range own = orth_partition(entries, parts, p);
        memset(counts[p], 0, sizeof counts[p]);
        for (int64_t e = own.begin; e < own.end; e++) {
            uint32_t bits = value_bits(code, e);
            if ((bits & fixed) == prefix)
                counts[p][(bits >> shift) & (DIGIT_VALUES - 1)]++;
        }
    }
    for (int p = 1; p < parts; p++)
        for (int64_t value = 0; value < DIGIT_VALUES; value++)
            counts[0][value] += counts[p][value];
}

/* The value of the limit-th largest entry, over the ranks of `comm` (MPI_COMM_NULL: here alone).
 * There are more than `limit` entries. `counts` is scratch for each thread. */
static orth_status find_cut(const orth_code *code, int64_t limit, MPI_Comm comm,
                            int64_t (*counts)[DIGIT_VALUES], value_cut *out)
{
    uint32_t prefix = 0, fixed = 0;
    for (int digit = DIGITS - 1; digit >= 0; digit--) {
        int shift = digit * DIGIT_BITS;
        count_digit(code, shift, prefix, fixed, counts);
        if (comm != MPI_COMM_NULL)
            ORTH_TRY(orth_allreduce(counts[0], DIGIT_VALUES, MPI_INT64_T, MPI_SUM, comm));
        int64_t value = DIGIT_VALUES - 1;
        while (value > 0 && counts[0][value] < limit)
            limit -= counts[0][value--];
        prefix |= (uint32_t)value << shift;
        fixed |= (uint32_t)(DIGIT_VALUES - 1) << shift;
        *out = (value_cut){prefix, limit, counts[0][value]};
    }
    return ORTH_OK;
}

static int64_t count_ties(const orth_code *code, int64_t begin, int64_t end, uint32_t bits)
{
    int64_t count = 0;
    for (int64_t e = begin; e < end; e++)
        count += value_bits(code, e) == bits;
    return count;
}

/* Move what is kept of some tokens to the front of their entries, which begin at `begin`, and let
 * their `start` say so. `ties` of those that equal the cut are kept, or ties_of[token] of each.
 * Returns where they end. */
static int64_t keep_of_tokens(orth_code *code, orth_range tokens, int64_t begin,
                              const value_cut *cut, int64_t ties, const int64_t *ties_of)
{
    int64_t kept = begin;
    for (int64_t t = tokens.begin; t < tokens.end; t++) {
        int64_t end = code->start[t + 1];
        if (ties_of)
            ties = ties_of[t];
        for (int64_t e = begin; e < end; e++) {
            uint32_t bits = value_bits(code, e), latent = code->latent[e];
            float value = code->value[e];
            bool tie = bits == cut->bits && ties > 0;
            code->latent[kept] = latent;
            code->value[kept] = value;
            kept += bits > cut->bits || tie;
            ties -= tie;
        }
        begin = end;
        code->start[t + 1] = kept;
    }
    return kept;
}

/* Keep the entries above the cut and, of each token, the first ties_of[token] that equal it
 * (NULL: the first cut.ties of all). Threads pack their part of the tokens, then the parts move
 * together. */
static void keep_above(orth_code *code, const value_cut *cut, const int64_t *ties_of)
{
    int parts = omp_get_max_threads();
    int64_t begin[parts + 1], end[parts], ties[parts], kept = 0, left = cut->ties;
    for (int p = 0; p < parts; p++)
        begin[p] = code->start[orth_partition(code->n_token, parts, p).begin];
    begin[parts] = orth_code_entries(code);
#pragma omp parallel for schedule(static, 1)
    for (int p = 0; p < parts; p++)
        ties[p] = ties_of ? 0 : count_ties(code, begin[p], begin[p + 1], cut->bits);
    for (int p = 0; p < parts; p++) {
        int64_t found = ties[p];
        ties[p] = left;
        left = found < left ? left - found : 0;
    }
#pragma omp parallel for schedule(static, 1)
    for (int p = 0; p < parts; p++)
        end[p] = keep_of_tokens(code, orth_partition(code->n_token, parts, p), begin[p], cut,
                                ties[p], ties_of);
    for (int p = 0; p < parts; p++) {
        orth_range tokens = orth_partition(code->n_token, parts, p);
        int64_t count = end[p] - begin[p], back = begin[p] - kept;
        if (count > 0) { /* a code without entries may have no arrays */
            memmove(code->latent + kept, code->latent + begin[p], (size_t)count * sizeof(uint32_t));
            memmove(code->value + kept, code->value + begin[p], (size_t)count * sizeof(float));
        }
        for (int64_t t = tokens.begin; t < tokens.end; t++)
            code->start[t + 1] -= back;
        kept += count;
    }
}

static int64_t limit_of(const orth_selection *selection)
{
    return selection->k * selection->batch->n_valid;
}

static orth_status batchtopk_close_block(orth_selection *selection)
{
    const batchtopk_state *state = selection->own_state;
    int64_t limit = limit_of(selection);
    ORTH_TRY(orth_selection_append(selection, selection->code));
    if (orth_code_entries(selection->code) <= limit + limit / 2)
        return ORTH_OK;
    value_cut cut;
    ORTH_TRY(find_cut(selection->code, limit, MPI_COMM_NULL, state->counts, &cut));
    keep_above(selection->code, &cut, NULL);
    memcpy(&selection->floor, &cut.bits, sizeof selection->floor);
    return ORTH_OK;
}

/* Once the floor is above zero few values pass it; until then half of them do. */
static bool batchtopk_screened(const orth_selection *selection, int64_t *k)
{
    *k = 0;
    return selection->floor > 0.0f;
}

/* How many of each token's own ties are among the first `cut.ties` of all, in the order (token in
 * the global batch, latent). The result is in state->ties. */
static orth_status share_ties(orth_selection *selection, const value_cut *cut)
{
    batchtopk_state *state = selection->own_state;
    const orth_grid *grid = selection->grid;
    const orth_code *code = selection->code;
    int64_t n_token = code->n_token, group_total = 0, groups[grid->n_group], before = 0;
    for (int64_t t = 0; t < n_token; t++) {
        state->ties[t] = 0;
        for (int64_t e = code->start[t]; e < code->start[t + 1]; e++)
            state->ties[t] += value_bits(code, e) == cut->bits;
        state->tie_sum[t] = state->ties[t];
        state->tie_from[t] = 0;
    }
    ORTH_TRY(orth_allreduce(state->tie_sum, n_token, MPI_INT64_T, MPI_SUM, grid->group));
    ORTH_MPI(
        MPI_Exscan(state->ties, state->tie_from, (int)n_token, MPI_INT64_T, MPI_SUM, grid->group));
    if (grid->shard_index == 0)
        memset(state->tie_from, 0, (size_t)n_token * sizeof *state->tie_from);
    for (int64_t t = 0; t < n_token; t++)
        group_total += state->tie_sum[t];
    ORTH_MPI(MPI_Allgather(&group_total, 1, MPI_INT64_T, groups, 1, MPI_INT64_T, grid->peers));
    for (int g = 0; g < grid->group_index; g++)
        before += groups[g];
    for (int64_t t = 0; t < n_token; t++) {
        int64_t left = cut->ties - before - state->tie_from[t];
        before += state->tie_sum[t];
        state->ties[t] = left < 0 ? 0 : left < state->ties[t] ? left : state->ties[t];
    }
    return ORTH_OK;
}

static orth_status batchtopk_close_batch(orth_selection *selection)
{
    batchtopk_state *state = selection->own_state;
    orth_code *code = selection->code;
    int64_t limit = limit_of(selection), entries = orth_code_entries(code);
    ORTH_TRY(orth_allreduce(&entries, 1, MPI_INT64_T, MPI_SUM, selection->grid->world));
    if (entries <= limit)
        return ORTH_OK;
    value_cut cut;
    ORTH_TRY(find_cut(code, limit, selection->grid->world, state->counts, &cut));
    if (cut.ties < cut.ties_found) {
        ORTH_TRY(share_ties(selection, &cut));
        keep_above(code, &cut, state->ties);
    } else {
        cut.ties = orth_code_entries(code);
        keep_above(code, &cut, NULL);
    }
    return ORTH_OK;
}

static int64_t batchtopk_kept(const orth_selection *selection, int64_t n_latent)
{
    (void)selection;
    return n_latent;
}

static orth_status batchtopk_create(orth_selection *selection)
{
    batchtopk_state *state = NULL;
    ORTH_TRY(ORTH_ALLOCATE(1, "selection", &state));
    selection->own_state = state;
    ORTH_TRY(ORTH_ALLOCATE(selection->n_token, "selection", &state->ties));
    ORTH_TRY(ORTH_ALLOCATE(selection->n_token, "selection", &state->tie_sum));
    ORTH_TRY(ORTH_ALLOCATE(omp_get_max_threads(), "selection", &state->counts));
    return ORTH_ALLOCATE(selection->n_token, "selection", &state->tie_from);
}

static void batchtopk_free(orth_selection *selection)
{
    batchtopk_state *state = selection->own_state;
    if (!state)
        return;
    orth_free(state->ties);
    orth_free(state->tie_sum);
    orth_free(state->tie_from);
    orth_free(state->counts);
    orth_free(state);
}

const orth_selection_ops orth_selection_batchtopk = {.name = "batchtopk",
                                                     .kept = batchtopk_kept,
                                                     .screened = batchtopk_screened,
                                                     .close_block = batchtopk_close_block,
                                                     .close_batch = batchtopk_close_batch,
                                                     .create = batchtopk_create,
                                                     .free = batchtopk_free};
