#include "plan_parts.h"
#include "trainer_parts.h"

#include <orthant/base/log.h>
#include <orthant/base/memory.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const double GIB = 1024.0 * 1024.0 * 1024.0;
/* What topafa's codes come to, and where they start: half of the latents of a usual initialisation
 * are positive, and all of those may be selected. */
static const double USUAL_DENSITY = 0.18, FIRST_DENSITY = 0.5;

/* Data that is not there yet is no reason not to plan, where its width is given. */
static orth_status look_at_data(orth_plan_problem *p)
{
    const orth_config *config = &p->config;
    orth_dataset *data = NULL;
    orth_status status = ORTH_ERR_DATA;
    if (config->data_files.count > 0)
        status =
            orth_dataset_open((const char *const *)config->data_files.items,
                              config->data_files.count, config->data_dataset, MPI_COMM_SELF, &data);
    if (status == ORTH_OK) {
        p->d_model = orth_dataset_width(data);
        p->rows = orth_dataset_rows(data);
        p->row_bytes = orth_dataset_row_bytes(data);
        orth_dataset_close(data);
        if (p->options.d_model != 0 && p->options.d_model != p->d_model)
            return orth_fail(ORTH_ERR_USAGE,
                             "--d-model: %lld, but data.files have %lld values a token; leave the "
                             "option out",
                             (long long)p->options.d_model, (long long)p->d_model);
        return ORTH_OK;
    }
    if (p->options.d_model == 0 && config->data_files.count > 0) {
        char why[1024];
        snprintf(why, sizeof why, "%s", orth_error_text());
        orth_error_clear();
        return orth_fail(status, "%s, or give --d-model N", why);
    }
    orth_error_clear();
    if (p->options.d_model == 0)
        return orth_fail(ORTH_ERR_USAGE, "data.files is missing; give activation files, or their "
                                         "width by --d-model");
    p->d_model = p->options.d_model;
    p->row_bytes = 2 * p->d_model;
    return ORTH_OK;
}

static orth_status resolve_length(orth_plan_problem *p)
{
    const orth_config *config = &p->config;
    if (config->run_steps == 0 && config->run_tokens == 0 && p->rows == 0)
        return orth_fail(ORTH_ERR_USAGE,
                         "run.epochs: the rows of data.files are not known, because they cannot be "
                         "opened; give run.steps");
    return orth_trainer_steps(config, p->rows, config->recipe.batch, &p->steps);
}

/* Sizes left to "auto" become what training makes of them. */
static orth_status resolve_recipe(orth_plan_problem *p)
{
    orth_recipe *r = &p->config.recipe;
    if (r->n_latent == 0)
        r->n_latent = 16 * p->d_model;
    if (r->aux_k == 0)
        r->aux_k = p->d_model > 1 ? p->d_model / 2 : 1;
    ORTH_TRY(orth_trainer_check_sizes(r, p->d_model));
    p->entries = p->most_entries = (double)r->k;
    if (r->selection != ORTH_SELECT_TOPAFA)
        return ORTH_OK;
    double given = p->options.density, n = (double)r->n_latent;
    p->entries = n * (given > 0.0 ? given : USUAL_DENSITY);
    p->most_entries = n * (given > 0.0 ? given : FIRST_DENSITY);
    return ORTH_OK;
}

static void resolve_machine(const orth_plan_rates *rates, orth_plan *plan)
{
    orth_plan_options *o = &plan->problem.options;
    if (o->ranks_per_node == 0 || o->ranks_per_node > o->ranks)
        o->ranks_per_node = o->ranks;
    if (o->threads == 0)
        o->threads = (int)rates->threads / o->ranks_per_node;
    if (o->threads < 1)
        o->threads = 1;
    plan->node_memory = o->memory;
    if (plan->node_memory == 0.0)
        plan->node_memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    plan->rough = rates->rough;
    snprintf(plan->why_rough, sizeof plan->why_rough, "%s", rates->why_rough);
    double d_model = (double)plan->problem.d_model, measured = rates->d_model;
    if (!plan->rough && measured > 0.0 && (d_model > 2.0 * measured || measured > 2.0 * d_model)) {
        plan->rough = true;
        snprintf(plan->why_rough, sizeof plan->why_rough,
                 "measured with d_model %.0f; give bench --d-model %.0f", measured, d_model);
    }
    snprintf(plan->machine, sizeof plan->machine, "%s", rates->machine);
}

/* The rank that receives the most sets the pace. */
static void busiest_rank(const orth_plan_problem *p, orth_plan_layout *layout)
{
    int64_t most = -1;
    for (int rank = 0; rank < p->options.ranks; rank++) {
        orth_plan_rank_flow flow;
        orth_plan_flow_of(p, layout->n_group, layout->n_shard, rank, &layout->memory, &flow);
        int64_t bytes = orth_plan_flow_bytes(&flow.step);
        if (bytes > most) {
            most = bytes;
            layout->flow = flow;
            layout->flow_rank = rank;
        }
    }
}

static orth_status lay_out(orth_plan *plan, const orth_plan_rates *rates, int n_shard)
{
    const orth_plan_problem *p = &plan->problem;
    orth_plan_layout *layout = &plan->layouts[plan->n_layout];
    *layout = (orth_plan_layout){.n_group = p->options.ranks / n_shard, .n_shard = n_shard};
    ORTH_TRY(orth_plan_memory_of(p, layout->n_group, n_shard, &layout->memory));
    busiest_rank(p, layout);
    orth_plan_time_of(p, rates, layout);
    double node = layout->memory.most * p->options.ranks_per_node;
    layout->fits = node <= plan->node_memory;
    plan->n_layout++;
    return ORTH_OK;
}

static bool allowed(const orth_plan_problem *p, int n_shard)
{
    const orth_config *config = &p->config;
    return p->options.ranks % n_shard == 0 &&
           (config->grid_n_shard == 0 || config->grid_n_shard == n_shard) &&
           (config->grid_n_group == 0 || config->grid_n_group == p->options.ranks / n_shard);
}

/* Every grid that the configuration leaves open, and the one that training takes. */
static orth_status lay_out_all(orth_plan *plan, const orth_plan_rates *rates)
{
    const orth_plan_problem *p = &plan->problem;
    int count = 0, n_group, n_shard, size = p->options.ranks;
    ORTH_TRY(orth_grid_choose(size, p->config.recipe.n_latent, p->config.recipe.batch,
                              p->config.grid_n_group, p->config.grid_n_shard, &n_group, &n_shard));
    for (int s = 1; s <= size; s++)
        count += allowed(p, s);
    ORTH_TRY(ORTH_ALLOCATE(count, "plan", &plan->layouts));
    for (int s = 1; s <= size; s++) {
        if (!allowed(p, s))
            continue;
        if (s == n_shard)
            plan->chosen = plan->n_layout;
        ORTH_TRY(lay_out(plan, rates, s));
    }
    return ORTH_OK;
}

static orth_status make(orth_plan *plan)
{
    orth_plan_rates rates;
    orth_plan_problem *p = &plan->problem;
    ORTH_TRY(look_at_data(p));
    ORTH_TRY(resolve_recipe(p));
    ORTH_TRY(resolve_length(p));
    ORTH_TRY(orth_plan_rates_load(p->options.bench, p->options.threads, &rates));
    resolve_machine(&rates, plan);
    p->program = (double)orth_peak_memory();
    return lay_out_all(plan, &rates);
}

orth_status orth_plan_make(const orth_config *config, const orth_plan_options *options,
                           orth_plan *out)
{
    *out = (orth_plan){.problem = {.config = *config, .options = *options}};
    orth_status status = make(out);
    if (status != ORTH_OK)
        orth_plan_free(out);
    return status;
}

void orth_plan_free(orth_plan *plan)
{
    orth_free(plan->layouts);
    memset(plan, 0, sizeof *plan);
}

orth_status orth_plan_check(const orth_plan *plan)
{
    const orth_plan_layout *chosen = &plan->layouts[plan->chosen], *better = NULL;
    const orth_plan_options *o = &plan->problem.options;
    double node = chosen->memory.most * o->ranks_per_node / GIB;
    char change[160];
    if (chosen->fits)
        return ORTH_OK;
    for (int i = 0; i < plan->n_layout; i++)
        if (plan->layouts[i].fits && (!better || plan->layouts[i].time.run < better->time.run))
            better = &plan->layouts[i];
    if (better)
        snprintf(change, sizeof change, "set grid.n_shard=%d", better->n_shard);
    else if (chosen->memory.held > 0.0)
        snprintf(
            change, sizeof change,
            "use more nodes, a smaller dictionary or train.clip=none, which holds no gradient");
    else
        snprintf(change, sizeof change, "use more nodes or a smaller dictionary or batch");
    return orth_fail(ORTH_ERR_USAGE,
                     "memory: grid %d x %d needs %.1f GiB for the %d ranks of a node, which has "
                     "%.1f GiB; %s",
                     chosen->n_group, chosen->n_shard, node, o->ranks_per_node,
                     plan->node_memory / GIB, change);
}
