/* A plan as text and as JSON: the same figures from the same fields. */
#include <orthant/run/plan.h>

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

enum { RANKS_TOLD = 64 };
static const double MIB = 1024.0 * 1024.0;

/* ---- text ---- */

static void print_density(const orth_plan_problem *p, FILE *out)
{
    double n = (double)p->config.recipe.n_latent;
    if (p->config.recipe.selection != ORTH_SELECT_TOPAFA)
        return;
    if (p->options.density > 0.0)
        fprintf(out, "density       %.3g %% (--density)\n", 100.0 * p->options.density);
    else
        fprintf(out, "density       %.3g %% for time, %.3g %% for memory (assumed; --density)\n",
                100.0 * p->entries / n, 100.0 * p->most_entries / n);
}

static void print_problem(const orth_plan *plan, FILE *out)
{
    const orth_plan_problem *p = &plan->problem;
    const orth_recipe *r = &p->config.recipe;
    const orth_plan_options *o = &p->options;
    fprintf(out,
            "model         %s, %" PRId64 " latents of %" PRId64
            " values, %.0f of them for a token\n",
            orth_selection_names[r->selection], r->n_latent, p->d_model, p->entries);
    print_density(p, out);
    fprintf(out, "run           %" PRId64 " steps of %" PRId64 " tokens\n", p->steps, r->batch);
    fprintf(out, "encoder       %s\n",
            orth_encode_names[plan->layouts[plan->chosen].memory.encode]);
    fprintf(out, "ranks         %d, %d a node, %d thread%s each\n", o->ranks, o->ranks_per_node,
            o->threads, o->threads == 1 ? "" : "s");
    fprintf(out, "rates         %s%s%s\n", plan->machine, plan->rough ? "; ROUGH: " : "",
            plan->why_rough);
}

/* A grid that fits and would take less than nine tenths of the chosen one's time. */
static void print_faster(const orth_plan *plan, FILE *out)
{
    const orth_plan_layout *best = &plan->layouts[plan->chosen];
    double step = best->time.step;
    for (int i = 0; i < plan->n_layout; i++)
        if (plan->layouts[i].fits && plan->layouts[i].time.step < best->time.step)
            best = &plan->layouts[i];
    if (best->time.step < 0.9 * step)
        fprintf(out, "%d x %d would take %.0f %% less time: set grid.n_group=%d, grid.n_shard=%d\n",
                best->n_group, best->n_shard, 100.0 * (1.0 - best->time.step / step), best->n_group,
                best->n_shard);
}

static void print_layouts(const orth_plan *plan, FILE *out)
{
    fprintf(out, "\n%-14s %14s %14s %14s %8s\n", "grid", "MiB a rank", "ms a step", "MiB received",
            "encoder");
    for (int i = 0; i < plan->n_layout; i++) {
        const orth_plan_layout *l = &plan->layouts[i];
        char name[32];
        snprintf(name, sizeof name, "%d x %d", l->n_group, l->n_shard);
        fprintf(out, "%-14s %14.1f %14.2f %14.3f %8s%s%s\n", name, l->memory.total / MIB,
                l->time.step * 1e3, (double)orth_plan_flow_bytes(&l->flow.step) / MIB,
                orth_encode_names[l->memory.encode], i == plan->chosen ? "  chosen" : "",
                l->fits ? "" : "  does not fit");
    }
    fprintf(out, "groups x shards; %s\n",
            plan->n_layout == 1 ? "the only one that the configuration allows"
                                : "training takes the one that moves the fewest rows of tokens, "
                                  "reconstructions and gradients");
    print_faster(plan, out);
}

static void print_memory(const orth_plan *plan, const orth_plan_memory *m, FILE *out)
{
    fprintf(out, "\nmemory of a rank, MiB\n");
    for (int i = 0; i < ORTH_STORE_COUNT; i++)
        if (m->store[i] > 0.0)
            fprintf(out, "  %-16s %12.1f\n", orth_plan_store_names[i], m->store[i] / MIB);
    fprintf(out, "  %-16s %12.1f\n", "total", m->total / MIB);
    if (m->dead > 0.0)
        fprintf(out, "  %-16s %12.1f more once latents are dead\n", "AuxK", m->dead / MIB);
    if (m->held > 0.0)
        fprintf(
            out,
            "  %-16s %12.1f more while train.clip may bind: the gradient is held for its norm\n",
            "clip", m->held / MIB);
    fprintf(out, "  %-16s %12.1f of %.1f\n", "a node",
            m->most * plan->problem.options.ranks_per_node / MIB, plan->node_memory / MIB);
}

static int64_t kind_bytes(const orth_plan_flow *flow, int kind)
{
    int64_t bytes = 0;
    for (int comm = 0; comm < ORTH_COMM_COUNT; comm++)
        bytes += flow->bytes[kind][comm];
    return bytes;
}

static void print_flow(const orth_plan *plan, const orth_plan_layout *l, FILE *out)
{
    if (plan->problem.options.ranks == 1)
        return;
    fprintf(out, "\nbytes that rank %" PRId64 " receives in a step\n", l->flow_rank);
    for (int i = 0; i < ORTH_TRAFFIC_COUNT; i++)
        if (kind_bytes(&l->flow.step, i) > 0)
            fprintf(out, "  %-16s %12" PRId64 "\n", orth_plan_traffic_names[i],
                    kind_bytes(&l->flow.step, i));
    fprintf(out, "  %-16s %12" PRId64 "\n", "total", orth_plan_flow_bytes(&l->flow.step));
    fprintf(out, "  %-16s %12" PRId64 " more\n", "logged steps",
            orth_plan_flow_bytes(&l->flow.logged));
    if (l->memory.aux_block > 0)
        fprintf(out, "  %-16s %12" PRId64 " more once latents are dead\n", "AuxK",
                orth_plan_flow_bytes(&l->flow.dead));
}

static void print_time(const orth_plan *plan, const orth_plan_layout *l, FILE *out)
{
    const orth_plan_time *t = &l->time;
    const char *about = plan->rough ? "about " : "";
    fprintf(out, "\ntime of a step, ms%s\n", plan->rough ? " (rough)" : "");
    for (int i = 0; i < ORTH_PHASE_COUNT; i++)
        if (t->phase[i] > 0.0)
            fprintf(out, "  %-16s %12.3f\n", orth_phase_name((orth_phase)i), t->phase[i] * 1e3);
    fprintf(out, "  %-16s %12.3f\n", "total", t->step * 1e3);
    fprintf(out, "\nwhole run     %s%.2f hours, %.0f tokens a second\n", about, t->run / 3600.0,
            t->step > 0.0 ? (double)plan->problem.config.recipe.batch / t->step : 0.0);
    fprintf(out, "checkpoint    %.1f MiB, %s%.1f s\n", l->memory.checkpoint / MIB, about,
            t->checkpoint);
}

void orth_plan_print(const orth_plan *plan, FILE *out)
{
    const orth_plan_layout *chosen = &plan->layouts[plan->chosen];
    print_problem(plan, out);
    print_layouts(plan, out);
    print_memory(plan, &chosen->memory, out);
    print_flow(plan, chosen, out);
    print_time(plan, chosen, out);
}

/* ---- JSON: bytes and seconds ---- */

static json_t *problem_json(const orth_plan *plan)
{
    const orth_plan_problem *p = &plan->problem;
    const orth_recipe *r = &p->config.recipe;
    const orth_plan_options *o = &p->options;
    double n = (double)r->n_latent;
    bool assumed = r->selection == ORTH_SELECT_TOPAFA && !(o->density > 0.0);
    json_t *density = json_pack("{s:f,s:f,s:b}", "time", p->entries / n, "memory",
                                p->most_entries / n, "assumed", assumed);
    return json_pack("{s:s,s:I,s:I,s:I,s:I,s:f,s:o,s:i,s:i,s:i}", "selection",
                     orth_selection_names[r->selection], "n_latent", (json_int_t)r->n_latent,
                     "d_model", (json_int_t)p->d_model, "batch", (json_int_t)r->batch, "steps",
                     (json_int_t)p->steps, "entries", p->entries, "density", density, "ranks",
                     o->ranks, "ranks_per_node", o->ranks_per_node, "threads", o->threads);
}

static json_t *memory_json(const orth_plan *plan, const orth_plan_memory *m)
{
    json_t *object = json_object();
    for (int i = 0; i < ORTH_STORE_COUNT; i++)
        json_object_set_new(object, orth_plan_store_names[i], json_real(m->store[i]));
    json_object_set_new(object, "total", json_real(m->total));
    json_object_set_new(object, "dead_latents", json_real(m->dead));
    json_object_set_new(object, "held_gradient", json_real(m->held));
    json_object_set_new(object, "most", json_real(m->most));
    json_object_set_new(object, "node", json_real(m->most * plan->problem.options.ranks_per_node));
    json_object_set_new(object, "node_has", json_real(plan->node_memory));
    return object;
}

/* {kind: {communicator: bytes}, ..., "total": bytes} */
static json_t *flow_json(const orth_plan_flow *flow)
{
    json_t *object = json_object();
    for (int kind = 0; kind < ORTH_TRAFFIC_COUNT; kind++) {
        json_t *by_comm = json_object();
        for (int comm = 0; comm < ORTH_COMM_COUNT; comm++)
            json_object_set_new(by_comm, orth_plan_comm_names[comm],
                                json_integer((json_int_t)flow->bytes[kind][comm]));
        json_object_set_new(object, orth_plan_traffic_names[kind], by_comm);
    }
    json_object_set_new(object, "total", json_integer((json_int_t)orth_plan_flow_bytes(flow)));
    return object;
}

static json_t *rank_flow_json(const orth_plan_rank_flow *flow)
{
    json_t *object = json_object();
    json_object_set_new(object, "step", flow_json(&flow->step));
    json_object_set_new(object, "logged", flow_json(&flow->logged));
    json_object_set_new(object, "dead_latents", flow_json(&flow->dead));
    return object;
}

static json_t *time_json(const orth_plan *plan, const orth_plan_time *t)
{
    json_t *object = json_object(), *phases = json_object();
    for (int i = 0; i < ORTH_PHASE_COUNT; i++)
        json_object_set_new(phases, orth_phase_name((orth_phase)i), json_real(t->phase[i]));
    json_object_set_new(object, "phase", phases);
    json_object_set_new(object, "step", json_real(t->step));
    json_object_set_new(object, "checkpoint", json_real(t->checkpoint));
    json_object_set_new(object, "run", json_real(t->run));
    json_object_set_new(object, "rough", json_boolean(plan->rough));
    json_object_set_new(object, "machine", json_string(plan->machine));
    return object;
}

static json_t *layouts_json(const orth_plan *plan)
{
    json_t *array = json_array();
    for (int i = 0; i < plan->n_layout; i++) {
        const orth_plan_layout *l = &plan->layouts[i];
        json_array_append_new(
            array, json_pack("{s:i,s:i,s:s,s:f,s:f,s:I,s:b}", "n_group", l->n_group, "n_shard",
                             l->n_shard, "encode", orth_encode_names[l->memory.encode], "memory",
                             l->memory.total, "step", l->time.step, "bytes",
                             (json_int_t)orth_plan_flow_bytes(&l->flow.step), "fits", l->fits));
    }
    return array;
}

/* Of every rank of the chosen grid, in order; of the first ones of very many. */
static json_t *ranks_json(const orth_plan *plan, const orth_plan_layout *l)
{
    json_t *array = json_array();
    for (int rank = 0; rank < plan->problem.options.ranks && rank < RANKS_TOLD; rank++) {
        orth_plan_rank_flow flow;
        orth_plan_flow_of(&plan->problem, l->n_group, l->n_shard, rank, &l->memory, &flow);
        json_array_append_new(array, rank_flow_json(&flow));
    }
    return array;
}

json_t *orth_plan_json(const orth_plan *plan)
{
    const orth_plan_layout *chosen = &plan->layouts[plan->chosen];
    json_t *object = json_object();
    json_object_set_new(object, "problem", problem_json(plan));
    json_object_set_new(object, "grid",
                        json_pack("{s:i,s:i,s:b}", "n_group", chosen->n_group, "n_shard",
                                  chosen->n_shard, "fits", chosen->fits));
    json_object_set_new(object, "encode", json_string(orth_encode_names[chosen->memory.encode]));
    json_object_set_new(object, "alternatives", layouts_json(plan));
    json_object_set_new(object, "memory", memory_json(plan, &chosen->memory));
    json_object_set_new(object, "bytes", rank_flow_json(&chosen->flow));
    json_object_set_new(object, "bytes_rank", json_integer((json_int_t)chosen->flow_rank));
    json_object_set_new(object, "bytes_by_rank", ranks_json(plan, chosen));
    json_object_set_new(object, "time", time_json(plan, &chosen->time));
    json_object_set_new(object, "checkpoint",
                        json_pack("{s:f}", "bytes", chosen->memory.checkpoint));
    return object;
}
