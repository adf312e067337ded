#include <orthant/eval/active_overlap.h>

#include "alone.h"

#include <orthant/base/memory.h>
#include <orthant/eval/feed.h>
#include <orthant/par/agree.h>
#include <orthant/par/alive.h>
#include <orthant/par/collective.h>

#include <math.h>
#include <string.h>

/* Tokens whose matches travel at a time. */
enum { TOKENS = 128 };

/* What is counted of a token: active latents, those whose match is active, different matches, those
 * of them that are active, active latents of the other model. */
enum { ACTIVE, HIT, MATCHES, BOTH, OTHER, COUNTS };

/* The match of an active latent. */
typedef struct pair {
    uint32_t token; ///< of the tokens that travel
    uint32_t match;
} pair;

typedef struct side {
    const orth_sae *sae;
    const int64_t *match;
    orth_feed *feed;
    orth_workspace workspace;
    int64_t *active;  ///< (n_own) the last token on which the latent was active, counted from 1
    int64_t *matched; ///< (n_own) and on which it was a match
    double sums[4];   ///< of shares and tokens with one, of jaccards and tokens with one
} side;

typedef struct overlap {
    const orth_grid *grid;
    side sides[2];
    int64_t clock;   ///< tokens compared so far
    int64_t *counts; ///< (n_shard) pairs of each rank
    int64_t *next;   ///< (n_shard) of them, the first of a token
    pair *pairs, *own;
    int64_t room, own_room;
    int64_t found[TOKENS][COUNTS];
    int64_t tokens;
} overlap;

/* ---- memory ---- */

static orth_status side_create(const orth_overlap_side *from, side *s)
{
    s->sae = from->sae;
    s->match = from->match;
    int64_t n_own = orth_range_size(s->sae->own);
    ORTH_TRY(ORTH_ALLOCATE(n_own, "active latents", &s->active));
    return ORTH_ALLOCATE(n_own, "active latents", &s->matched);
}

static void overlap_free(overlap *o)
{
    for (int i = 0; i < 2; i++) {
        side *s = &o->sides[i];
        orth_feed_close(s->feed);
        orth_workspace_free(&s->workspace);
        orth_free(s->active);
        orth_free(s->matched);
    }
    orth_free(o->counts);
    orth_free(o->next);
    orth_free(o->pairs);
    orth_free(o->own);
}

static orth_status make_room(pair **pairs, int64_t *room, int64_t count)
{
    if (count <= *room)
        return ORTH_OK;
    orth_free(*pairs);
    *pairs = NULL;
    *room = 0;
    ORTH_TRY(ORTH_ALLOCATE(count + count / 2, "active latents", pairs));
    *room = count + count / 2;
    return ORTH_OK;
}

/* ---- tokens ---- */

/* The matches of the latents that are active on tokens [begin, end), from all shards. */
static orth_status gather_pairs(overlap *o, const side *s, int64_t begin, int64_t end)
{
    const orth_code *code = &s->workspace.code;
    int64_t n = code->start[end] - code->start[begin], total = 0;
    ORTH_TRY(make_room(&o->own, &o->own_room, n));
    for (int64_t t = begin, at = 0; t < end; t++)
        for (int64_t e = code->start[t]; e < code->start[t + 1]; e++, at++) {
            int64_t latent = s->sae->own.begin + code->latent[e];
            o->own[at] = (pair){(uint32_t)(t - begin), (uint32_t)s->match[latent]};
        }
    memset(o->counts, 0, (size_t)o->grid->n_shard * sizeof *o->counts);
    o->counts[o->grid->shard_index] = n;
    ORTH_TRY(orth_allreduce(o->counts, o->grid->n_shard, MPI_INT64_T, MPI_SUM, o->grid->group));
    for (int r = 0; r < o->grid->n_shard; r++) {
        o->next[r] = total;
        total += o->counts[r];
    }
    ORTH_TRY(make_room(&o->pairs, &o->room, total));
    return orth_allgather(o->own, o->counts, sizeof *o->own, o->pairs, o->grid->group);
}

/* Of one token what this rank can tell: its own latents of `other`. */
static void count_token(overlap *o, const side *s, side *other, int64_t token, int64_t place)
{
    const orth_code *own = &s->workspace.code, *code = &other->workspace.code;
    orth_range latents = other->sae->own;
    int64_t *found = o->found[place], now = ++o->clock, end = 0;
    found[ACTIVE] = own->start[token + 1] - own->start[token];
    found[OTHER] = code->start[token + 1] - code->start[token];
    for (int64_t e = code->start[token]; e < code->start[token + 1]; e++)
        other->active[code->latent[e]] = now;
    for (int r = 0; r < o->grid->n_shard; r++) {
        end += o->counts[r];
        for (; o->next[r] < end && o->pairs[o->next[r]].token == (uint32_t)place; o->next[r]++) {
            int64_t match = (int64_t)o->pairs[o->next[r]].match - latents.begin;
            if (match < 0 || match >= orth_range_size(latents))
                continue;
            bool hit = other->active[match] == now, again = other->matched[match] == now;
            other->matched[match] = now;
            found[HIT] += hit;
            found[MATCHES] += !again;
            found[BOTH] += hit && !again;
        }
    }
}

static void add_token(side *s, const int64_t *found)
{
    int64_t either = found[MATCHES] + found[OTHER] - found[BOTH];
    if (found[ACTIVE] > 0) {
        s->sums[0] += (double)found[HIT] / (double)found[ACTIVE];
        s->sums[1] += 1.0;
    }
    if (either > 0) {
        s->sums[2] += (double)found[BOTH] / (double)either;
        s->sums[3] += 1.0;
    }
}

/* One way. Of the ranks with the same tokens the first one adds them up. */
static orth_status compare_tokens(overlap *o, int from, int64_t begin, int64_t end)
{
    side *s = &o->sides[from], *other = &o->sides[1 - from];
    const bool *valid = s->workspace.batch.valid, *also = other->workspace.batch.valid;
    ORTH_TRY(gather_pairs(o, s, begin, end));
    memset(o->found, 0, sizeof o->found);
    for (int64_t t = begin; t < end; t++)
        count_token(o, s, other, t, t - begin);
    ORTH_TRY(
        orth_allreduce(o->found, (end - begin) * COUNTS, MPI_INT64_T, MPI_SUM, o->grid->group));
    for (int64_t t = begin; o->grid->shard_index == 0 && t < end; t++) {
        if (!valid[t] || !also[t])
            continue;
        add_token(s, o->found[t - begin]);
        o->tokens += from == 0;
    }
    return ORTH_OK;
}

static orth_status compare_batch(overlap *o)
{
    int64_t n = o->sides[0].workspace.batch.n_token;
    for (int64_t begin = 0; begin < n; begin += TOKENS) {
        int64_t end = begin + TOKENS < n ? begin + TOKENS : n;
        ORTH_TRY(compare_tokens(o, 0, begin, end));
        ORTH_TRY(compare_tokens(o, 1, begin, end));
        orth_alive();
    }
    return ORTH_OK;
}

static orth_status run_feeds(overlap *o)
{
    for (;;) {
        orth_feed_batch batch;
        for (int i = 0; i < 2; i++) {
            side *s = &o->sides[i];
            ORTH_TRY(orth_feed_next(s->feed, &s->workspace, &batch));
            if (batch.n_token == 0)
                return ORTH_OK;
        }
        ORTH_TRY(orth_alone(o->grid->world, compare_batch(o)));
    }
}

/* ---- the whole ---- */

static orth_status finish(overlap *o, orth_overlap *out)
{
    orth_overlap_way *ways[] = {&out->a_to_b, &out->b_to_a};
    for (int i = 0; i < 2; i++) {
        double *sums = o->sides[i].sums;
        ORTH_TRY(orth_sum_f64(sums, 4, o->grid->world));
        *ways[i] = (orth_overlap_way){sums[1] > 0.0 ? sums[0] / sums[1] : NAN,
                                      sums[3] > 0.0 ? sums[2] / sums[3] : NAN};
    }
    out->tokens = o->tokens;
    return orth_allreduce(&out->tokens, 1, MPI_INT64_T, MPI_SUM, o->grid->world);
}

static orth_status measure(overlap *o, const orth_overlap_side *const from[2], int64_t batch,
                           bool skip, orth_overlap *out)
{
    int64_t rows = orth_dataset_rows(from[0]->dataset);
    for (int i = 0; i < 2; i++) {
        side *s = &o->sides[i];
        int64_t size = batch < rows ? batch : rows;
        ORTH_TRY(orth_workspace_create(s->sae, size, false, &s->workspace));
        ORTH_TRY(orth_feed_open(from[i]->dataset, s->sae, size, skip, &s->feed));
    }
    ORTH_TRY(run_feeds(o));
    return orth_alone(o->grid->world, finish(o, out));
}

orth_status orth_active_overlap(const orth_overlap_side *a, const orth_overlap_side *b,
                                int64_t batch, bool skip, orth_overlap *out)
{
    const orth_overlap_side *const from[] = {a, b};
    overlap o = {.grid = a->sae->grid};
    orth_overlap found = {0};
    orth_status status = side_create(a, &o.sides[0]);
    if (status == ORTH_OK)
        status = side_create(b, &o.sides[1]);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(o.grid->n_shard, "active latents", &o.counts);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(o.grid->n_shard, "active latents", &o.next);
    status = orth_agree(o.grid->world, status);
    if (status == ORTH_OK)
        status = measure(&o, from, batch, skip, &found);
    overlap_free(&o);
    if (status == ORTH_OK)
        *out = found;
    return status;
}
