#include <orthant/eval/latents.h>

#include "nearest_rows.h"

#include <orthant/base/memory.h>
#include <orthant/par/agree.h>
#include <orthant/par/alive.h>
#include <orthant/par/collective.h>
#include <orthant/sae/tally.h>

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Latents of each part that travel at a time. */
enum { MERGED = 1024, SLAB_BYTES = 16 << 20 };

_Static_assert(sizeof(orth_latent_example) == sizeof(orth_tally_example) &&
                   offsetof(orth_latent_example, value) == offsetof(orth_tally_example, value),
               "examples travel as they are counted");
_Static_assert(sizeof(orth_latent_neighbour) == sizeof(orth_near) &&
                   offsetof(orth_latent_neighbour, cosine) == offsetof(orth_near, cosine),
               "neighbours travel as they are found");

struct orth_latents {
    const orth_sae *sae;
    orth_latents_options options;
    orth_tally tally; ///< of the own shard; when finished of the own part, over all groups
    int64_t tokens;
    orth_near *near; ///< (size of the own part, neighbours)
};

orth_status orth_latents_create(const orth_sae *sae, const orth_latents_options *options,
                                orth_latents **out)
{
    orth_latents *latents = NULL;
    ORTH_TRY(ORTH_ALLOCATE(1, "latents", &latents));
    *latents = (orth_latents){.sae = sae, .options = *options};
    orth_status status =
        orth_tally_create(orth_range_size(sae->own), options->examples, &latents->tally);
    if (status == ORTH_OK)
        *out = latents;
    else
        orth_latents_free(latents);
    return status;
}

void orth_latents_add(orth_latents *latents, const orth_workspace *workspace, int64_t first_row)
{
    orth_tally_add(&latents->tally, &workspace->code, first_row + workspace->batch.first_token);
}

/* ---- over the token groups ---- */

/* What ranks of one shard send each other. */
typedef struct exchange {
    orth_tally_entry *sent, *received;
    orth_tally_example *sent_examples, *received_examples;
} exchange;

static orth_status create_exchange(const orth_latents *latents, exchange *x)
{
    int64_t room = (int64_t)latents->sae->grid->n_group * MERGED;
    int64_t examples = latents->options.examples;
    ORTH_TRY(ORTH_ALLOCATE(room, "tallies of latents", &x->sent));
    ORTH_TRY(ORTH_ALLOCATE(room, "tallies of latents", &x->received));
    ORTH_TRY(ORTH_ALLOCATE(room * examples, "examples of latents", &x->sent_examples));
    return ORTH_ALLOCATE(room * examples, "examples of latents", &x->received_examples);
}

static void free_exchange(exchange *x)
{
    orth_free(x->sent);
    orth_free(x->received);
    orth_free(x->sent_examples);
    orth_free(x->received_examples);
}

/* Latents [begin, begin + MERGED) of the part of the shard that group `g` merges; in the shard. */
static orth_range piece_of(const orth_latents *latents, int g, int64_t begin)
{
    orth_range part =
        orth_partition(orth_range_size(latents->sae->own), latents->sae->grid->n_group, g);
    int64_t end = begin + MERGED, size = orth_range_size(part);
    return (orth_range){part.begin + (begin < size ? begin : size),
                        part.begin + (end < size ? end : size)};
}

static void copy_entries(const orth_tally *tally, orth_range piece, exchange *x, int64_t at)
{
    size_t n = (size_t)orth_range_size(piece), examples = (size_t)tally->examples;
    if (n == 0)
        return;
    memcpy(x->sent + at, tally->entry + piece.begin, n * sizeof *x->sent);
    if (examples > 0)
        memcpy(x->sent_examples + at * tally->examples,
               tally->example + piece.begin * tally->examples,
               n * examples * sizeof *x->sent_examples);
}

/* A piece of each part to the rank that merges it. */
static orth_status merge_piece(const orth_latents *latents, int64_t begin, exchange *x,
                               orth_tally *merged)
{
    const orth_grid *grid = latents->sae->grid;
    int64_t counts[grid->n_group], own[grid->n_group], at = 0, examples = merged->examples;
    orth_range mine = piece_of(latents, grid->group_index, begin);
    for (int g = 0; g < grid->n_group; g++) {
        orth_range piece = piece_of(latents, g, begin);
        counts[g] = orth_range_size(piece);
        own[g] = orth_range_size(mine);
        copy_entries(&latents->tally, piece, x, at);
        at += counts[g];
    }
    ORTH_TRY(orth_alltoall(x->sent, counts, x->received, own, sizeof *x->sent, grid->peers));
    if (examples > 0)
        ORTH_TRY(orth_alltoall(x->sent_examples, counts, x->received_examples, own,
                               examples * (int64_t)sizeof *x->sent_examples, grid->peers));
    for (int g = 0; g < grid->n_group; g++)
        for (int64_t i = 0; i < own[g]; i++) {
            int64_t from = g * own[g] + i;
            orth_tally_merge(x->received + from, x->received_examples + from * examples, examples,
                             merged->entry + begin + i, merged->example + (begin + i) * examples);
        }
    return ORTH_OK;
}

static orth_status merge_groups(orth_latents *latents)
{
    const orth_sae *sae = latents->sae;
    orth_tally merged = {0};
    exchange x = {0};
    int64_t largest = orth_partition_largest(orth_range_size(sae->own), sae->grid->n_group);
    orth_status status =
        orth_tally_create(orth_range_size(sae->part), latents->options.examples, &merged);
    if (status == ORTH_OK)
        status = create_exchange(latents, &x);
    for (int64_t begin = 0; begin < largest && status == ORTH_OK; begin += MERGED)
        status = merge_piece(latents, begin, &x, &merged);
    free_exchange(&x);
    if (status != ORTH_OK) {
        orth_tally_free(&merged);
        return status;
    }
    orth_tally_free(&latents->tally);
    latents->tally = merged;
    return ORTH_OK;
}

orth_status orth_latents_finish(orth_latents *latents, int64_t tokens)
{
    const orth_sae *sae = latents->sae;
    int64_t n_part = orth_range_size(sae->part), count = latents->options.neighbours;
    latents->tokens = tokens;
    ORTH_TRY(merge_groups(latents));
    ORTH_TRY(ORTH_ALLOCATE(n_part * count, "neighbours of latents", &latents->near));
    for (int64_t i = 0; i < n_part * count; i++)
        latents->near[i].row = -1;
    return count > 0 ? orth_nearest_rows(sae, count, latents->near) : ORTH_OK;
}

/* ---- to rank 0 ---- */

double orth_latents_dense(const orth_latents *latents)
{
    return latents->options.dense;
}

int64_t orth_latents_slab_size(const orth_latents *latents)
{
    int64_t bytes = (int64_t)sizeof(orth_latent) + (int64_t)sizeof(orth_tally_entry) +
                    latents->options.examples * (int64_t)sizeof(orth_latent_example) +
                    latents->options.neighbours * (int64_t)sizeof(orth_latent_neighbour);
    return SLAB_BYTES / bytes + 1;
}

static orth_range intersection(orth_range a, orth_range b)
{
    orth_range both = {a.begin > b.begin ? a.begin : b.begin, a.end < b.end ? a.end : b.end};
    return both.begin < both.end ? both : (orth_range){both.begin, both.begin};
}

/* What a rank of the grid holds, from the grid alone. */
static orth_range part_of(const orth_sae *sae, int rank)
{
    const orth_grid *grid = sae->grid;
    orth_range shard = orth_partition(sae->recipe.n_latent, grid->n_shard, rank % grid->n_shard);
    orth_range part = orth_partition(orth_range_size(shard), grid->n_group, rank / grid->n_shard);
    return (orth_range){shard.begin + part.begin, shard.begin + part.end};
}

/* Elements of type `latent`, one of each own latent in the range, to their places on rank 0. Ranks
 * send one after another: a slab is small. */
static orth_status send_or_receive(const orth_latents *latents, orth_range range, const char *own,
                                   int64_t size, MPI_Datatype latent, char *all)
{
    const orth_sae *sae = latents->sae;
    const orth_grid *grid = sae->grid;
    orth_range mine = intersection(range, sae->part);
    int64_t count = orth_range_size(mine);
    const char *from = count > 0 ? own + (mine.begin - sae->part.begin) * size : own;
    if (grid->rank != 0) {
        if (count > 0)
            ORTH_MPI(MPI_Send(from, (int)count, latent, 0, 0, grid->world));
        return ORTH_OK;
    }
    if (count > 0)
        memcpy(all + (mine.begin - range.begin) * size, from, (size_t)(count * size));
    for (int rank = 1; rank < grid->size; rank++) {
        orth_range its = intersection(range, part_of(sae, rank));
        if (orth_range_size(its) > 0)
            ORTH_MPI(MPI_Recv(all + (its.begin - range.begin) * size, (int)orth_range_size(its),
                              latent, rank, 0, grid->world, MPI_STATUS_IGNORE));
    }
    return ORTH_OK;
}

static orth_status bring(const orth_latents *latents, orth_range range, const void *own,
                         int64_t size, void *all)
{
    /* A latent is one element, so that counts stay within an int. */
    MPI_Datatype latent;
    if (size == 0)
        return ORTH_OK;
    ORTH_MPI(MPI_Type_contiguous((int)size, MPI_BYTE, &latent));
    ORTH_MPI(MPI_Type_commit(&latent));
    orth_status status = send_or_receive(latents, range, own, size, latent, all);
    ORTH_MPI(MPI_Type_free(&latent));
    return status;
}

static void describe(const orth_latents *latents, const orth_tally_entry *entry, int64_t n,
                     orth_latent *out)
{
    for (int64_t i = 0; i < n; i++) {
        double sum = orth_exact_value(entry[i].sum), count = (double)entry[i].count;
        double frequency = latents->tokens > 0 ? count / (double)latents->tokens : NAN;
        out[i] = (orth_latent){.count = entry[i].count,
                               .frequency = frequency,
                               .sum = sum,
                               .max = entry[i].max,
                               .mean = entry[i].count > 0 ? sum / count : NAN,
                               .dead = entry[i].count == 0,
                               .dense = frequency > latents->options.dense};
    }
}

static orth_status create_slab(const orth_latents *latents, orth_range range,
                               orth_tally_entry **entries, orth_latents_slab *slab)
{
    int64_t n = orth_range_size(range);
    *slab = (orth_latents_slab){.range = range,
                                .examples = latents->options.examples,
                                .neighbours = latents->options.neighbours};
    ORTH_TRY(ORTH_ALLOCATE(n, "tallies of latents", entries));
    ORTH_TRY(ORTH_ALLOCATE(n, "latents", &slab->latent));
    ORTH_TRY(ORTH_ALLOCATE(n * slab->examples, "examples of latents", &slab->example));
    return ORTH_ALLOCATE(n * slab->neighbours, "neighbours of latents", &slab->neighbour);
}

static orth_status gather(const orth_latents *latents, orth_range range, orth_tally_entry *entries,
                          orth_latents_slab *slab)
{
    const orth_latents_options *o = &latents->options;
    ORTH_TRY(bring(latents, range, latents->tally.entry, sizeof *entries, entries));
    ORTH_TRY(bring(latents, range, latents->tally.example,
                   o->examples * (int64_t)sizeof *slab->example, slab->example));
    ORTH_TRY(bring(latents, range, latents->near, o->neighbours * (int64_t)sizeof *slab->neighbour,
                   slab->neighbour));
    if (latents->sae->grid->rank == 0)
        describe(latents, entries, orth_range_size(range), slab->latent);
    return ORTH_OK;
}

orth_status orth_latents_gather(const orth_latents *latents, orth_range range,
                                orth_latents_slab *out)
{
    orth_latents_slab slab = {0};
    orth_tally_entry *entries = NULL;
    orth_status status = ORTH_OK;
    if (latents->sae->grid->rank == 0)
        status = create_slab(latents, range, &entries, &slab);
    status = orth_agree(latents->sae->grid->world, status);
    if (status == ORTH_OK)
        status = gather(latents, range, entries, &slab);
    orth_free(entries);
    if (status == ORTH_OK)
        *out = slab;
    else
        orth_latents_slab_free(&slab);
    return status;
}

void orth_latents_slab_free(orth_latents_slab *slab)
{
    orth_free(slab->latent);
    orth_free(slab->example);
    orth_free(slab->neighbour);
    memset(slab, 0, sizeof *slab);
}

void orth_latents_free(orth_latents *latents)
{
    if (!latents)
        return;
    orth_tally_free(&latents->tally);
    orth_free(latents->near);
    orth_free(latents);
}
