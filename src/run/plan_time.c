/* Time of a step: work of each phase over the rate of a rank's threads, and messages. Nothing is
 * taken to overlap. */
#include "plan_parts.h"

#include <orthant/par/partition.h>

/* A message between processes of one node. */
static const double LOCAL_LATENCY = 1e-6;
/* Passes over the tokens, reads and writes counted each: centring and norms; residual, loss and its
 * gradient, sums. Eight together are what bench takes its rate from. AuxK has as many again. */
static const double EXCHANGE_PASSES = 3.0, LOSS_PASSES = 5.0, AUX_PASSES = 8.0;
/* Passes over weights and moments: each is read and written; likewise averages. */
static const double UPDATE_PASSES = 6.0, AVERAGE_PASSES = 2.0;

typedef struct pace {
    const orth_plan_problem *problem;
    const orth_plan_rates *rates;
    const orth_plan_layout *layout;
    int ranks_here; ///< of a node
    double share;   ///< of a node's rates that a rank has
    double one;     ///< the same for what one thread does
    double n_token;
    double n_own;
} pace;

static pace start_pace(const orth_plan_problem *p, const orth_plan_rates *rates,
                       const orth_plan_layout *layout)
{
    pace c = {.problem = p, .rates = rates, .layout = layout};
    c.ranks_here = p->options.ranks_per_node;
    c.share = (double)p->options.threads / rates->threads;
    c.one = 1.0 / rates->threads;
    /* More threads than cores take turns. */
    if (c.share > 1.0 / (double)c.ranks_here)
        c.share = 1.0 / (double)c.ranks_here;
    if (c.one > c.share)
        c.one = c.share;
    c.n_token = (double)orth_partition_largest(p->config.recipe.batch, layout->n_group);
    c.n_own = (double)orth_partition_largest(p->config.recipe.n_latent, layout->n_shard);
    return c;
}

/* Whether a communicator's ranks, as orth_grid numbers them, are on several nodes. */
static bool crosses_nodes(const pace *c, orth_plan_comm comm)
{
    if (c->problem->options.ranks <= c->ranks_here)
        return false;
    return comm != ORTH_COMM_GROUP || c->ranks_here % c->layout->n_shard != 0;
}

static double messages_time(const pace *c, orth_plan_traffic kind)
{
    const orth_plan_options *o = &c->problem->options;
    const orth_plan_flow *flow = &c->layout->flow.step;
    double seconds = 0.0;
    for (int comm = 0; comm < ORTH_COMM_COUNT; comm++) {
        bool far = crosses_nodes(c, (orth_plan_comm)comm);
        double rate = far ? o->bandwidth / (double)c->ranks_here : c->rates->exchange;
        seconds += (double)flow->messages[kind][comm] * (far ? o->latency : LOCAL_LATENCY) +
                   (double)flow->bytes[kind][comm] / rate;
    }
    return seconds;
}

/* The encoder's rate in the arithmetic that it will use. */
static double encode_rate(const pace *c)
{
    double rate = c->rates->encode[c->layout->memory.encode];
    return rate > 0.0 ? rate : c->rates->encode[ORTH_ENCODE_FP32];
}

/* The encoder's rate includes the selection of topk; top-AFA's looks at every value again. */
static double select_time(const pace *c)
{
    if (c->problem->config.recipe.selection != ORTH_SELECT_TOPAFA)
        return 0.0;
    return c->rates->select_topafa * c->n_token * c->n_own / c->share;
}

/* Entries of all codes that are decoded: multi-topk has a second one. */
static double sparse_seconds(const pace *c, const orth_plan_curve *curve, double flops_each)
{
    const orth_recipe *r = &c->problem->config.recipe;
    double entries[2] = {c->problem->entries, 0.0}, seconds = 0.0;
    if (r->multi_k > 1 && r->selection == ORTH_SELECT_TOPK)
        entries[1] = c->problem->entries * (double)r->multi_k;
    for (int i = 0; i < 2; i++) {
        double density = entries[i] / (double)r->n_latent;
        double flops = flops_each * c->n_token * density * c->n_own * (double)c->problem->d_model;
        if (flops > 0.0)
            seconds += flops / (orth_plan_curve_at(curve, density) * c->share);
    }
    return seconds;
}

/* The ranks of a token group share its tokens among them. */
static double token_passes(const pace *c, double passes)
{
    return passes * 4.0 * c->n_token / (double)c->layout->n_shard * (double)c->problem->d_model /
           (c->rates->elementwise * c->share);
}

/* The reader converts the own rows on one thread; a file that is in memory is read meanwhile. */
static double read_time(const pace *c)
{
    double rows = c->n_token / (double)c->layout->n_shard;
    double bytes = rows * ((double)c->problem->row_bytes + 8.0 * (double)c->problem->d_model);
    return bytes / (c->rates->elementwise * c->one);
}

static double update_time(const pace *c)
{
    double passes = UPDATE_PASSES + (c->problem->config.recipe.ema > 0.0 ? AVERAGE_PASSES : 0.0);
    /* Token groups share the rows of a shard among them. */
    double rows = c->n_own / (double)c->layout->n_group;
    double bytes = passes * 4.0 * 2.0 * rows * (double)c->problem->d_model;
    return bytes / (c->rates->update * c->share);
}

static void work_phases(const pace *c, double *phase)
{
    bool aux = c->layout->memory.aux_block > 0;
    phase[ORTH_PHASE_READ] = read_time(c);
    phase[ORTH_PHASE_EXCHANGE] = token_passes(c, EXCHANGE_PASSES);
    phase[ORTH_PHASE_ENCODE] =
        2.0 * c->n_token * (double)c->problem->d_model * c->n_own / (encode_rate(c) * c->share);
    phase[ORTH_PHASE_SELECT] = select_time(c);
    phase[ORTH_PHASE_DECODE] = sparse_seconds(c, &c->rates->decode, 2.0);
    phase[ORTH_PHASE_LOSS] = token_passes(c, LOSS_PASSES + (aux ? AUX_PASSES : 0.0));
    phase[ORTH_PHASE_GRADIENT] = sparse_seconds(c, &c->rates->gradient, 6.0);
    phase[ORTH_PHASE_UPDATE] = update_time(c);
}

static void message_phases(const pace *c, double *phase)
{
    static const orth_phase phase_of[] = {
        [ORTH_TRAFFIC_TOKENS] = ORTH_PHASE_EXCHANGE,
        [ORTH_TRAFFIC_BOUNDS] = ORTH_PHASE_ENCODE,
        [ORTH_TRAFFIC_CANDIDATES] = ORTH_PHASE_SELECT,
        [ORTH_TRAFFIC_SEARCH] = ORTH_PHASE_SELECT,
        [ORTH_TRAFFIC_CUTS] = ORTH_PHASE_SELECT,
        [ORTH_TRAFFIC_RECONSTRUCTION] = ORTH_PHASE_DECODE,
        [ORTH_TRAFFIC_UPSTREAM] = ORTH_PHASE_GRADIENT,
        [ORTH_TRAFFIC_GRADIENT] = ORTH_PHASE_REDUCE,
        [ORTH_TRAFFIC_FLAGS] = ORTH_PHASE_OTHER,
        [ORTH_TRAFFIC_METRICS] = ORTH_PHASE_LOSS,
    };
    for (int kind = 0; kind < ORTH_TRAFFIC_COUNT; kind++)
        phase[phase_of[kind]] += messages_time(c, (orth_plan_traffic)kind);
}

/* Seconds of checkpoints for each step; the one at the end is counted apart. */
static double checkpoints_per_step(const orth_plan_problem *p, double step, double checkpoint)
{
    const orth_interval *every = &p->config.checkpoint_every;
    if (every->steps > 0 && every->steps < p->steps)
        return checkpoint / (double)every->steps;
    if (every->seconds > 0.0 && every->seconds < step * (double)p->steps)
        return checkpoint * step / every->seconds;
    return 0.0;
}

void orth_plan_time_of(const orth_plan_problem *problem, const orth_plan_rates *rates,
                       orth_plan_layout *layout)
{
    pace c = start_pace(problem, rates, layout);
    orth_plan_time time = {.step = 0.0};
    work_phases(&c, time.phase);
    message_phases(&c, time.phase);
    for (int i = 0; i < ORTH_PHASE_COUNT; i++)
        time.step += time.phase[i];
    time.checkpoint =
        layout->memory.checkpoint /
        (problem->config.checkpoint_verify ? rates->storage_verified : rates->storage);
    time.phase[ORTH_PHASE_CHECKPOINT] = checkpoints_per_step(problem, time.step, time.checkpoint);
    time.step += time.phase[ORTH_PHASE_CHECKPOINT];
    time.run = time.step * (double)problem->steps + time.checkpoint;
    layout->time = time;
}
