#include <orthant/eval/probe.h>

#include "logistic.h"

#include <orthant/base/fault.h>
#include <orthant/base/memory.h>
#include <orthant/eval/feed.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/par/end_job.h>
#include <orthant/sae/latent_lists.h>

#include <math.h>
#include <string.h>

/* Evaluations of a latent before the search gives up; of the memory, the part that labels may
 * take. */
enum { MOST_ROUNDS = 200, LABEL_SHARE = 4 };

/* Moments of a latent's values: how often it fires, and the sum of their squares. */
enum { MOMENT_COUNT, MOMENT_SQUARE, MOMENTS };

/* A probing under way. */
typedef struct probing {
    const orth_sae *sae;
    orth_dataset *dataset;
    orth_labels *labels;
    const orth_probe_options *options;
    MPI_Comm world;
    int64_t rows, batch;
    int64_t tokens; ///< of the own token group, in the whole table
    int64_t top;    ///< best latents of a task
    orth_workspace workspace;
    orth_latent_lists lists;
    int64_t *weightless; ///< (n_weightless) tokens of the group of weight zero
    int64_t n_weightless, weightless_room;
    bool weightless_known;
    int64_t chunk; ///< tasks whose labels are held at a time
    int8_t *held;  ///< (chunk, tokens) labels of the group's tokens
    /* Of the block of latents: */
    double *moments; ///< (n_own, MOMENTS)
    int64_t *active; ///< (n_own) latents of the shard that are searched for
    int64_t *silent; ///< (n_own) those that never fire
    int64_t n_active, n_silent;
    /* Of a task: */
    const int8_t *label; ///< (tokens)
    orth_probe_task *task;
    orth_logistic_search *search; ///< (n_own) by latent of the shard
    double *classes; ///< (n_own, 2) by latent: labelled tokens on which it fires, by label
    double *sums;    ///< (n_own, ORTH_LOGISTIC_SUMS) by place among the active ones
    orth_probe_result result;
} probing;

/* ---- memory ---- */

static int64_t tokens_of_group(const probing *p)
{
    int64_t total = 0;
    for (int64_t row = 0; row < p->rows; row += p->batch) {
        int64_t left = p->rows - row, size = left < p->batch ? left : p->batch;
        total += orth_range_size(orth_grid_tokens(p->sae->grid, size));
    }
    return total;
}

static orth_status allocate_latents(probing *p)
{
    int64_t n_own = orth_range_size(p->sae->own);
    ORTH_TRY(ORTH_ALLOCATE(n_own * MOMENTS, "moments of latents", &p->moments));
    ORTH_TRY(ORTH_ALLOCATE(n_own, "latents to probe", &p->active));
    ORTH_TRY(ORTH_ALLOCATE(n_own, "latents to probe", &p->silent));
    ORTH_TRY(ORTH_ALLOCATE(n_own, "probes", &p->search));
    ORTH_TRY(ORTH_ALLOCATE(n_own * 2, "counts of labels", &p->classes));
    return ORTH_ALLOCATE(n_own * ORTH_LOGISTIC_SUMS, "sums of probes", &p->sums);
}

static orth_status allocate_tasks(probing *p)
{
    orth_probe_result *result = &p->result;
    ORTH_TRY(ORTH_ALLOCATE(p->chunk * p->tokens, "labels", &p->held));
    ORTH_TRY(ORTH_ALLOCATE(result->n_task, "tasks", &result->tasks));
    for (int64_t i = 0; i < result->n_task; i++)
        ORTH_TRY(ORTH_ALLOCATE(p->top, "best probes", &result->tasks[i].best));
    return ORTH_OK;
}

/* How many tasks' labels fit follows from sizes that all ranks know: they must do the same. */
static orth_status allocate(probing *p)
{
    int64_t batches = orth_partition_largest(p->rows, p->batch);
    int64_t most = orth_partition_largest(p->batch, p->sae->grid->n_group) * batches;
    if (most > UINT32_MAX)
        return orth_fail(ORTH_ERR_DATA,
                         "probe: %lld tokens in a token group; use more groups (--set "
                         "grid.n_group) or fewer activations",
                         (long long)most);
    p->tokens = tokens_of_group(p);
    p->result.n_task = orth_labels_tasks(p->labels);
    p->chunk = p->options->memory / LABEL_SHARE / most;
    p->chunk = p->chunk < 1 ? 1 : p->chunk > p->result.n_task ? p->result.n_task : p->chunk;
    ORTH_TRY(allocate_latents(p));
    ORTH_TRY(allocate_tasks(p));
    return orth_latent_lists_create(orth_range_size(p->sae->own),
                                    p->options->memory - p->chunk * most, &p->lists);
}

static void free_probing(probing *p)
{
    void *blocks[] = {p->weightless, p->held,   p->moments, p->active,
                      p->silent,     p->search, p->classes, p->sums};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        orth_free(blocks[i]);
    orth_latent_lists_free(&p->lists);
    orth_workspace_free(&p->workspace);
    orth_probe_free(&p->result);
}

/* ---- a pass over the activations ---- */

static orth_status add_weightless(probing *p, int64_t token)
{
    if (p->n_weightless == p->weightless_room) {
        int64_t room = 2 * p->weightless_room + 1024, *larger = NULL;
        ORTH_TRY(ORTH_ALLOCATE(room, "skipped tokens", &larger));
        if (p->n_weightless > 0)
            memcpy(larger, p->weightless, (size_t)p->n_weightless * sizeof *larger);
        orth_free(p->weightless);
        p->weightless = larger;
        p->weightless_room = room;
    }
    p->weightless[p->n_weightless++] = token;
    return ORTH_OK;
}

static orth_status add_batch(probing *p, int64_t first_token)
{
    const orth_batch *batch = &p->workspace.batch;
    if (!p->weightless_known) {
        p->result.tokens += batch->n_valid;
        for (int64_t t = 0; t < batch->n_token; t++)
            if (!batch->valid[t])
                ORTH_TRY(add_weightless(p, first_token + t));
    }
    return orth_latent_lists_add(&p->lists, &p->workspace.code, first_token);
}

static orth_status run_feed(probing *p, orth_feed *feed)
{
    orth_feed_batch batch;
    orth_status before = ORTH_OK;
    int64_t first_token = 0;
    for (;;) {
        ORTH_TRY(orth_feed_next(feed, &p->workspace, before, &batch));
        if (batch.n_token == 0)
            break;
        ORTH_TRY(orth_feed_forward(feed, &batch, &p->workspace, NULL));
        before = add_batch(p, first_token);
        first_token += p->workspace.batch.n_token;
        orth_fault("eval.batch");
        orth_alive();
    }
    p->weightless_known = true;
    p->result.skipped = orth_feed_skipped(feed);
    p->result.passes++;
    return ORTH_OK;
}

/* Collect the lists of the latents from `begin` on, as many as fit on all ranks that share them. */
static orth_status collect(probing *p, int64_t begin)
{
    orth_feed *feed = NULL;
    orth_latent_lists_begin(&p->lists, begin);
    ORTH_TRY(orth_feed_open(p->dataset, p->sae, p->batch, p->options->skip, &feed));
    orth_status status = run_feed(p, feed);
    orth_feed_close(feed);
    ORTH_TRY(status);
    int64_t end = p->lists.end;
    ORTH_TRY(orth_allreduce(&end, 1, MPI_INT64_T, MPI_MIN, p->sae->grid->peers));
    orth_latent_lists_cut(&p->lists, end);
    return ORTH_OK;
}

static void visit_moments(void *context, int64_t i, int64_t latent, const orth_list_entry *entries,
                          int64_t count)
{
    double *moments = (double *)context + i * MOMENTS;
    (void)latent;
    for (int64_t e = 0; e < count; e++) {
        moments[MOMENT_COUNT] += 1.0;
        moments[MOMENT_SQUARE] += (double)entries[e].value * (double)entries[e].value;
    }
}

/* Which latents of the block fire at all, and their scales r. */
static orth_status sort_latents(probing *p)
{
    int64_t begin = p->lists.begin, n = p->lists.end - begin;
    memset(p->moments, 0, (size_t)(n * MOMENTS) * sizeof *p->moments);
    for (int64_t i = 0; i < n; i++)
        p->active[i] = begin + i;
    orth_latent_lists_visit(&p->lists, p->active, n, visit_moments, p->moments);
    ORTH_TRY(orth_sum_f64(p->moments, n * MOMENTS, p->sae->grid->peers));
    p->n_active = p->n_silent = 0;
    for (int64_t i = 0; i < n; i++) {
        const double *moments = p->moments + i * MOMENTS;
        if (moments[MOMENT_COUNT] > 0.0)
            p->active[p->n_active++] = begin + i;
        else
            p->silent[p->n_silent++] = begin + i;
    }
    return ORTH_OK;
}

static double scale_of(const probing *p, int64_t latent)
{
    const double *moments = p->moments + (latent - p->lists.begin) * MOMENTS;
    return sqrt(moments[MOMENT_SQUARE] / moments[MOMENT_COUNT]);
}

/* ---- labels ---- */

static orth_status read_labels(probing *p, orth_range tasks)
{
    int64_t token = 0;
    for (int64_t row = 0; row < p->rows; row += p->batch) {
        int64_t left = p->rows - row, size = left < p->batch ? left : p->batch;
        orth_range own = orth_grid_tokens(p->sae->grid, size);
        orth_range rows = {row + own.begin, row + own.end};
        ORTH_TRY(orth_labels_read(p->labels, rows, tasks, p->tokens, p->held + token));
        token += orth_range_size(own);
    }
    for (int64_t task = 0; task < orth_range_size(tasks); task++)
        for (int64_t i = 0; i < p->n_weightless; i++)
            p->held[task * p->tokens + p->weightless[i]] = -1;
    return ORTH_OK;
}

static orth_status begin_task(probing *p, int64_t index, const int8_t *label)
{
    int64_t classes[2] = {0, 0};
    p->task = &p->result.tasks[index];
    p->label = label;
    for (int64_t t = 0; t < p->tokens; t++)
        if (label[t] >= 0)
            classes[label[t]]++;
    ORTH_TRY(orth_allreduce(classes, 2, MPI_INT64_T, MPI_SUM, p->sae->grid->peers));
    double n = (double)(classes[0] + classes[1]), share = (double)classes[1] / n;
    p->task->labelled = classes[0] + classes[1];
    p->task->positive = classes[1];
    p->task->entropy = classes[0] > 0 && classes[1] > 0
                           ? -share * log(share) - (1.0 - share) * log1p(-share)
                           : 0.0;
    return ORTH_OK;
}

/* ---- the search ---- */

static void visit_classes(void *context, int64_t i, int64_t latent, const orth_list_entry *entries,
                          int64_t count)
{
    const probing *p = context;
    double *classes = p->sums + i * 2;
    (void)latent;
    for (int64_t e = 0; e < count; e++)
        if (p->label[entries[e].token] >= 0)
            classes[p->label[entries[e].token]] += 1.0;
}

static void visit_entries(void *context, int64_t i, int64_t latent, const orth_list_entry *entries,
                          int64_t count)
{
    const probing *p = context;
    const orth_logistic_search *search = &p->search[latent];
    double w = search->try_w / scale_of(p, latent);
    for (int64_t e = 0; e < count; e++) {
        int8_t label = p->label[entries[e].token];
        if (label >= 0)
            orth_logistic_add(w, search->try_b, (double)entries[e].value, label,
                              p->sums + i * ORTH_LOGISTIC_SUMS);
    }
}

/* Sums of `width` numbers for the first `n` active latents, over all their tokens. */
static orth_status sum_over_tokens(probing *p, int64_t n, int64_t width, orth_list_visit *visit)
{
    memset(p->sums, 0, (size_t)(n * width) * sizeof *p->sums);
    orth_latent_lists_visit(&p->lists, p->active, n, visit, p);
    orth_alive();
    return orth_sum_f64(p->sums, n * width, p->sae->grid->peers);
}

/* The sums of one latent are in units of its values: bring them to units of r, add the tokens on
 * which it is silent, and go on. */
static void advance(probing *p, int64_t latent, double *sums)
{
    const orth_probe_task *task = p->task;
    const double *classes = p->classes + latent * 2;
    double scale = scale_of(p, latent);
    sums[ORTH_LOGISTIC_W] /= scale;
    sums[ORTH_LOGISTIC_WW] /= scale * scale;
    sums[ORTH_LOGISTIC_WB] /= scale;
    orth_logistic_add_silent(p->search[latent].try_b,
                             (double)(task->labelled - task->positive) - classes[0],
                             (double)task->positive - classes[1], sums);
    orth_logistic_advance(&p->search[latent], sums, (double)task->labelled, p->options->l2);
}

/* All latents of the block for one task. Those that are found leave the list of active ones, which
 * is put in order again at the end; ranks that share the latents hold the same bits and decide
 * alike. */
static orth_status search_latents(probing *p)
{
    int64_t left = p->n_active, found = 0;
    double b = log((double)p->task->positive / (double)(p->task->labelled - p->task->positive));
    ORTH_TRY(sum_over_tokens(p, left, 2, visit_classes));
    for (int64_t i = 0; i < left; i++) {
        memcpy(p->classes + p->active[i] * 2, p->sums + i * 2, 2 * sizeof *p->sums);
        orth_logistic_begin(b, &p->search[p->active[i]]);
    }
    for (int round = 0; round < MOST_ROUNDS && left > 0; round++) {
        ORTH_TRY(sum_over_tokens(p, left, ORTH_LOGISTIC_SUMS, visit_entries));
        int64_t kept = 0;
        for (int64_t i = 0; i < left; i++) {
            int64_t latent = p->active[i];
            advance(p, latent, p->sums + i * ORTH_LOGISTIC_SUMS);
            if (!p->search[latent].done)
                p->active[kept++] = latent;
        }
        left = kept;
    }
    for (int64_t latent = p->lists.begin; latent < p->lists.end; latent++)
        if (p->moments[(latent - p->lists.begin) * MOMENTS + MOMENT_COUNT] > 0.0)
            p->active[found++] = latent;
    return ORTH_OK;
}

/* ---- the best ---- */

static bool better(const orth_probe_fit *a, const orth_probe_fit *b)
{
    return a->loss < b->loss || (a->loss == b->loss && a->latent < b->latent);
}

/* Insertion into the task's list, which stays sorted. */
static void offer(const probing *p, orth_probe_task *task, const orth_probe_fit *fit)
{
    int64_t at = task->n_best;
    if (at == p->top && !better(fit, &task->best[at - 1]))
        return;
    if (at < p->top)
        task->n_best++;
    else
        at--;
    for (; at > 0 && better(fit, &task->best[at - 1]); at--)
        task->best[at] = task->best[at - 1];
    task->best[at] = *fit;
}

static void offer_all(probing *p)
{
    orth_probe_task *task = p->task;
    int64_t first = p->sae->own.begin, negative = task->labelled - task->positive;
    for (int64_t i = 0; i < p->n_active; i++) {
        const orth_logistic_search *search = &p->search[p->active[i]];
        orth_probe_fit fit = {.latent = first + p->active[i],
                              .weight = search->w / scale_of(p, p->active[i]),
                              .bias = search->b,
                              .loss = search->loss,
                              .accuracy = search->right,
                              .converged = search->converged};
        offer(p, task, &fit);
        task->unconverged += !search->converged;
    }
    for (int64_t i = 0; i < p->n_silent; i++) {
        double most = (double)(task->positive > negative ? task->positive : negative);
        orth_probe_fit fit = {.latent = first + p->silent[i],
                              .bias = log((double)task->positive / (double)negative),
                              .loss = task->entropy,
                              .accuracy = most / (double)task->labelled,
                              .converged = true};
        offer(p, task, &fit);
    }
}

/* A task whose labels are all equal tells nothing of any latent. */
static orth_status probe_tasks(probing *p, orth_range tasks)
{
    for (int64_t index = tasks.begin; index < tasks.end; index++) {
        ORTH_TRY(begin_task(p, index, p->held + (index - tasks.begin) * p->tokens));
        if (p->task->positive == 0 || p->task->positive == p->task->labelled)
            continue;
        ORTH_TRY(search_latents(p));
        offer_all(p);
    }
    return ORTH_OK;
}

/* What the latents in memory tell, for all tasks. Ranks of other shards are not waited for but
 * where labels are read. */
static orth_status probe_block(probing *p)
{
    orth_status status = sort_latents(p);
    for (int64_t task = 0; task < p->result.n_task; task += p->chunk) {
        int64_t end = task + p->chunk;
        orth_range tasks = {task, end < p->result.n_task ? end : p->result.n_task};
        if (status != ORTH_OK)
            return orth_end_job(p->world, status);
        if (p->result.passes == 1 || p->chunk < p->result.n_task)
            ORTH_TRY(orth_agree(p->world, read_labels(p, tasks)));
        status = probe_tasks(p, tasks);
    }
    return status == ORTH_OK ? status : orth_end_job(p->world, status);
}

/* The best of all shards, on all ranks. */
static orth_status merge_tasks(probing *p)
{
    const orth_grid *grid = p->sae->grid;
    int64_t top = p->top, *counts = NULL;
    orth_probe_fit *all = NULL;
    orth_status status = ORTH_ALLOCATE(grid->n_shard, "counts of probes", &counts);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(top * grid->n_shard, "best probes", &all);
    status = orth_agree(p->world, status);
    for (int64_t i = 0; status == ORTH_OK && i < p->result.n_task; i++) {
        orth_probe_task *task = &p->result.tasks[i];
        memset(counts, 0, (size_t)grid->n_shard * sizeof *counts);
        counts[grid->shard_index] = task->n_best;
        int64_t total = 0;
        status = orth_allreduce(counts, grid->n_shard, MPI_INT64_T, MPI_SUM, grid->group);
        if (status == ORTH_OK)
            status = orth_allgather(task->best, counts, sizeof *all, all, grid->group);
        if (status == ORTH_OK)
            status = orth_allreduce(&task->unconverged, 1, MPI_INT64_T, MPI_SUM, grid->group);
        for (int s = 0; s < grid->n_shard; s++)
            total += counts[s];
        task->n_best = 0;
        for (int64_t j = 0; status == ORTH_OK && j < total; j++)
            offer(p, task, &all[j]);
    }
    orth_free(counts);
    orth_free(all);
    return status;
}

static orth_status probe_all(probing *p)
{
    int64_t n_own = orth_range_size(p->sae->own), left, begin = 0;
    do {
        ORTH_TRY(collect(p, begin));
        ORTH_TRY(probe_block(p));
        begin = p->lists.end;
        left = n_own - begin;
        ORTH_TRY(orth_allreduce(&left, 1, MPI_INT64_T, MPI_MAX, p->world));
    } while (left > 0);
    return merge_tasks(p);
}

orth_status orth_probe_latents(const orth_sae *sae, orth_dataset *dataset, orth_labels *labels,
                               const orth_probe_options *options, orth_probe_result *out)
{
    int64_t rows = orth_dataset_rows(dataset), n_latent = sae->recipe.n_latent;
    probing p = {.sae = sae,
                 .dataset = dataset,
                 .labels = labels,
                 .options = options,
                 .world = sae->grid->world,
                 .rows = rows,
                 .batch = options->batch < rows ? options->batch : rows,
                 .top = options->top < n_latent ? options->top : n_latent};
    orth_status status = orth_agree(p.world, allocate(&p));
    if (status == ORTH_OK)
        status = orth_workspace_create(sae, p.batch, false, &p.workspace);
    if (status == ORTH_OK)
        status = probe_all(&p);
    if (status == ORTH_OK) {
        *out = p.result;
        p.result = (orth_probe_result){0};
    }
    free_probing(&p);
    return status;
}

void orth_probe_free(orth_probe_result *result)
{
    for (int64_t i = 0; result->tasks && i < result->n_task; i++)
        orth_free(result->tasks[i].best);
    orth_free(result->tasks);
    memset(result, 0, sizeof *result);
}
