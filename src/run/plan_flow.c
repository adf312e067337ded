/* The messages of a step, in its order; to be kept in step with src/sae and src/run/trainer.c.
 * tests/cli/test_plan.py counts the real ones. */
#include "plan_parts.h"

#include <orthant/kern/afa.h>
#include <orthant/par/collective.h>
#include <orthant/par/grid.h>
#include <orthant/sae/bucket.h>

#include <string.h>

/* Of select_batchtopk.c: rounds of its search, and counters of a round. */
enum { DIGITS = 3, DIGIT_VALUES = 2048 };
/* Of par/collective.c: a message of a reduce-scatter, about. */
enum { REDUCED_BYTES = 256 << 10 };

const char *const orth_plan_traffic_names[] = {"tokens", "bounds",         "candidates", "search",
                                               "cuts",   "reconstruction", "upstream",   "gradient",
                                               "flags",  "metrics",        NULL};
const char *const orth_plan_comm_names[] = {"world", "group", "peers", NULL};

/* One rank, and what its calls are added to. */
typedef struct teller {
    const orth_plan_problem *problem;
    orth_grid grid;
    int64_t n_token, n_own;
    orth_plan_flow *flow;
} teller;

static int ranks_of(const teller *t, orth_plan_comm comm)
{
    if (comm == ORTH_COMM_WORLD)
        return t->grid.size;
    return comm == ORTH_COMM_GROUP ? t->grid.n_shard : t->grid.n_group;
}

static void add(teller *t, orth_plan_traffic kind, orth_plan_comm comm, int64_t bytes,
                int64_t messages)
{
    if (ranks_of(t, comm) == 1)
        return;
    t->flow->bytes[kind][comm] += bytes;
    t->flow->messages[kind][comm] += messages;
}

/* As orth_allreduce; there and back over a tree. */
static void allreduce(teller *t, orth_plan_traffic kind, orth_plan_comm comm, int64_t bytes)
{
    int64_t depth = 0;
    while ((1 << depth) < ranks_of(t, comm))
        depth++;
    add(t, kind, comm, bytes, 2 * depth);
}

/* As orth_agree where all is well. */
static void agree(teller *t)
{
    allreduce(t, ORTH_TRAFFIC_FLAGS, ORTH_COMM_WORLD, sizeof(int));
}

/* As orth_sum_f32 and orth_sum_f64. */
static void sum(teller *t, orth_plan_traffic kind, orth_plan_comm comm, int64_t count, int64_t size)
{
    int64_t messages = 0;
    int64_t bytes = orth_sum_received(count, size, ranks_of(t, comm), &messages);
    add(t, kind, comm, bytes, messages);
}

/* As orth_allgather in the token group: all parts but the own one. */
static void gather(teller *t, orth_plan_traffic kind, int64_t bytes)
{
    add(t, kind, ORTH_COMM_GROUP, bytes, t->grid.n_shard - 1);
}

/* Tokens of the group that other ranks of it prepare. */
static int64_t others_of(const teller *t)
{
    return t->n_token -
           orth_range_size(orth_partition(t->n_token, t->grid.n_shard, t->grid.shard_index));
}

/* As orth_batch_exchange: rows, whether they are valid, and their two norms. */
static void exchange_tokens(teller *t)
{
    static const int64_t sizes[] = {sizeof(bool), sizeof(double), sizeof(double)};
    gather(t, ORTH_TRAFFIC_TOKENS, others_of(t) * t->problem->d_model * (int64_t)sizeof(float));
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        gather(t, ORTH_TRAFFIC_TOKENS, others_of(t) * sizes[i]);
    allreduce(t, ORTH_TRAFFIC_TOKENS, ORTH_COMM_WORLD, 2 * sizeof(int64_t));
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* From every other shard: how many entries each of the `mine` judged tokens has, then the entries,
 * at most `most` a token, and no more than the shard has latents. */
static void candidates(teller *t, orth_plan_traffic kind, int64_t mine, int64_t most, int64_t size)
{
    int64_t n = t->problem->config.recipe.n_latent, shards = t->grid.n_shard, larger = n % shards;
    int64_t entries = larger * smaller(most, n / shards + 1) +
                      (shards - larger) * smaller(most, n / shards) - smaller(most, t->n_own);
    add(t, kind, ORTH_COMM_GROUP, mine * ((shards - 1) * (int64_t)sizeof(int64_t) + entries * size),
        2 * (shards - 1));
}

/* Cuts of `k` keys of a token for each block: as topk_close_block, and, of kind `bounds`, as
 * topk_agree_floor. */
static void select_topk(teller *t, bool bounds, int64_t block, int64_t k)
{
    orth_plan_traffic sent = bounds ? ORTH_TRAFFIC_BOUNDS : ORTH_TRAFFIC_CANDIDATES;
    orth_plan_traffic answer = bounds ? ORTH_TRAFFIC_BOUNDS : ORTH_TRAFFIC_CUTS;
    for (int64_t first = 0; first < t->n_token; first += block) {
        int64_t n = smaller(block, t->n_token - first);
        int64_t mine = orth_range_size(orth_partition(n, t->grid.n_shard, t->grid.shard_index));
        candidates(t, sent, mine, k, sizeof(uint64_t));
        gather(t, answer, (n - mine) * (int64_t)sizeof(uint64_t));
    }
}

/* As topafa_agree_cuts: one round of the search, no judged entries. */
static void select_topafa(teller *t, int64_t block)
{
    for (int64_t first = 0; first < t->n_token; first += block) {
        int64_t n = smaller(block, t->n_token - first);
        int64_t mine = orth_range_size(orth_partition(n, t->grid.n_shard, t->grid.shard_index));
        /* topafa_message: a tally and a count */
        allreduce(t, ORTH_TRAFFIC_SEARCH, ORTH_COMM_GROUP,
                  n * (int64_t)(sizeof(orth_afa_tally) + sizeof(uint64_t)));
        candidates(t, ORTH_TRAFFIC_CANDIDATES, mine, 0, 0);
        gather(t, ORTH_TRAFFIC_CUTS, (n - mine) * (int64_t)sizeof(orth_afa_cut));
    }
}

static void select_entries(teller *t, const orth_plan_memory *memory)
{
    int64_t block = memory->block;
    const orth_recipe *r = &t->problem->config.recipe;
    if (r->selection == ORTH_SELECT_TOPAFA) {
        select_topafa(t, block);
    } else if (r->selection == ORTH_SELECT_BATCHTOPK) {
        allreduce(t, ORTH_TRAFFIC_SEARCH, ORTH_COMM_WORLD,
                  (1 + DIGITS * DIGIT_VALUES) * (int64_t)sizeof(int64_t));
    } else {
        int64_t larger = r->multi_k > 1 ? r->k * r->multi_k : r->k;
        larger = smaller(larger, r->n_latent);
        if (memory->encode != ORTH_ENCODE_FP32)
            select_topk(t, true, block, larger);
        select_topk(t, false, block, larger);
        if (r->multi_k > 1)
            select_topk(t, false, block, r->k);
    }
}

/* As orth_decode, where a rank gets the other shards' parts of its own tokens, and
 * gather_upstream, where all get the gradients of the others'. */
static void reconstruct(teller *t)
{
    int64_t row = t->problem->d_model * (int64_t)sizeof(float), others = t->grid.n_shard - 1;
    int64_t received = others * (t->n_token - others_of(t)) * row;
    add(t, ORTH_TRAFFIC_RECONSTRUCTION, ORTH_COMM_GROUP, received,
        others + received / REDUCED_BYTES);
    gather(t, ORTH_TRAFFIC_UPSTREAM, others_of(t) * row);
}

/* As orth_step up to the gradient. */
static void forward_and_losses(teller *t, const orth_plan_memory *memory)
{
    const orth_recipe *r = &t->problem->config.recipe;
    int64_t d = t->problem->d_model;
    exchange_tokens(t);
    select_entries(t, memory);
    reconstruct(t);
    if (r->multi_k > 1 && r->selection == ORTH_SELECT_TOPK)
        reconstruct(t);
    allreduce(t, ORTH_TRAFFIC_FLAGS, ORTH_COMM_PEERS, t->n_own);
    allreduce(t, ORTH_TRAFFIC_FLAGS, ORTH_COMM_GROUP, sizeof(int64_t));
    allreduce(t, ORTH_TRAFFIC_METRICS, ORTH_COMM_WORLD, 2 * sizeof(uint64_t));
    if (memory->aux_block > 0 && r->aux == ORTH_AUX_GAO) {
        sum(t, ORTH_TRAFFIC_METRICS, ORTH_COMM_WORLD, d, sizeof(double));
        sum(t, ORTH_TRAFFIC_METRICS, ORTH_COMM_WORLD, 2, sizeof(double));
    }
    if (r->afa_coefficient > 0.0)
        sum(t, ORTH_TRAFFIC_METRICS, ORTH_COMM_GROUP, t->n_token, sizeof(double));
    sum(t, ORTH_TRAFFIC_METRICS, ORTH_COMM_WORLD, 4, sizeof(double));
}

/* As orth_gradient_bound, where a clip norm asks for it, and orth_gradient_update. */
static void update(teller *t)
{
    int64_t d = t->problem->d_model;
    if (t->problem->config.recipe.clip > 0.0) {
        sum(t, ORTH_TRAFFIC_GRADIENT, ORTH_COMM_PEERS, 4, sizeof(double));
        sum(t, ORTH_TRAFFIC_GRADIENT, ORTH_COMM_GROUP, 2, sizeof(double));
    }
    int64_t messages = 0;
    int64_t bytes =
        orth_buckets_received(&t->grid, t->problem->config.recipe.n_latent, d, &messages);
    add(t, ORTH_TRAFFIC_GRADIENT, ORTH_COMM_PEERS, bytes, messages);
    sum(t, ORTH_TRAFFIC_GRADIENT, ORTH_COMM_WORLD, d, sizeof(double));
    sum(t, ORTH_TRAFFIC_GRADIENT, ORTH_COMM_WORLD, 1, sizeof(double));
}

/* As the trainer around a step: what is asked for, the rows read, rows that are not finite, what
 * was logged. */
static void around(teller *t)
{
    allreduce(t, ORTH_TRAFFIC_FLAGS, ORTH_COMM_WORLD, 4 * sizeof(int));
    agree(t);
    allreduce(t, ORTH_TRAFFIC_FLAGS, ORTH_COMM_WORLD, sizeof(int64_t));
    agree(t);
}

void orth_plan_flow_of(const orth_plan_problem *problem, int n_group, int n_shard, int rank,
                       const orth_plan_memory *memory, orth_plan_rank_flow *out)
{
    memset(out, 0, sizeof *out);
    teller t = {.problem = problem,
                .grid = {.size = n_group * n_shard,
                         .rank = rank,
                         .n_group = n_group,
                         .n_shard = n_shard,
                         .group_index = rank / n_shard,
                         .shard_index = rank % n_shard},
                .flow = &out->step};
    t.n_token = orth_range_size(orth_grid_tokens(&t.grid, problem->config.recipe.batch));
    t.n_own = orth_range_size(orth_grid_latents(&t.grid, problem->config.recipe.n_latent));
    around(&t);
    forward_and_losses(&t, memory);
    update(&t);
    t.flow = &out->logged; /* as batch_fvu */
    sum(&t, ORTH_TRAFFIC_METRICS, ORTH_COMM_WORLD, problem->d_model, sizeof(double));
    sum(&t, ORTH_TRAFFIC_METRICS, ORTH_COMM_WORLD, 2, sizeof(double));
    t.flow = &out->dead; /* as reconstruct_missing */
    if (memory->aux_block > 0) {
        select_topk(&t, false, memory->aux_block, problem->config.recipe.aux_k);
        reconstruct(&t);
    }
}

int64_t orth_plan_flow_bytes(const orth_plan_flow *flow)
{
    int64_t bytes = 0;
    for (int kind = 0; kind < ORTH_TRAFFIC_COUNT; kind++)
        for (int comm = 0; comm < ORTH_COMM_COUNT; comm++)
            bytes += flow->bytes[kind][comm];
    return bytes;
}
