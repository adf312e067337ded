#include "probe_parts.h"

#include <orthant/base/fault.h>
#include <orthant/base/memory.h>
#include <orthant/eval/feed.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/par/end_job.h>

#include <string.h>

/* Of the memory, the part that labels may take. */
enum { LABEL_SHARE = 4 };

/* ---- memory ---- */

static int64_t tokens_of_group(const orth_probing *p)
{
    int64_t total = 0;
    for (int64_t row = 0; row < p->rows; row += p->batch) {
        int64_t left = p->rows - row, size = left < p->batch ? left : p->batch;
        total += orth_range_size(orth_grid_tokens(p->sae->grid, size));
    }
    return total;
}

static orth_status allocate_latents(orth_probing *p)
{
    int64_t n_own = orth_range_size(p->sae->own);
    ORTH_TRY(ORTH_ALLOCATE(n_own * MOMENTS, "moments of latents", &p->moments));
    ORTH_TRY(ORTH_ALLOCATE(n_own, "latents to probe", &p->active));
    ORTH_TRY(ORTH_ALLOCATE(n_own, "latents to probe", &p->silent));
    ORTH_TRY(ORTH_ALLOCATE(n_own, "probes", &p->search));
    ORTH_TRY(ORTH_ALLOCATE(n_own * 2, "counts of labels", &p->classes));
    return ORTH_ALLOCATE(n_own * ORTH_LOGISTIC_SUMS, "sums of probes", &p->sums);
}

static orth_status allocate_tasks(orth_probing *p)
{
    orth_probe_result *result = &p->result;
    ORTH_TRY(ORTH_ALLOCATE(p->chunk * p->tokens, "labels", &p->held));
    ORTH_TRY(ORTH_ALLOCATE(result->n_task, "tasks", &result->tasks));
    for (int64_t i = 0; i < result->n_task; i++)
        ORTH_TRY(ORTH_ALLOCATE(p->top, "best probes", &result->tasks[i].best));
    return ORTH_OK;
}

/* How many tasks' labels fit follows from sizes that all ranks know: they must do the same. */
static orth_status allocate(orth_probing *p)
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

static void free_probing(orth_probing *p)
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

static orth_status add_weightless(orth_probing *p, int64_t token)
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

static orth_status add_batch(orth_probing *p, int64_t first_token)
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

static orth_status run_feed(orth_probing *p, orth_feed *feed)
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
static orth_status collect(orth_probing *p, int64_t begin)
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

/* ---- tasks and shards ---- */

static orth_status read_labels(orth_probing *p, orth_range tasks)
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

/* What the latents in memory tell, for all tasks. Ranks of other shards are not waited for but
 * where labels are read. */
static orth_status probe_block(orth_probing *p)
{
    orth_status status = orth_probe_sort_latents(p);
    for (int64_t task = 0; task < p->result.n_task; task += p->chunk) {
        int64_t end = task + p->chunk;
        orth_range tasks = {task, end < p->result.n_task ? end : p->result.n_task};
        if (status != ORTH_OK)
            return orth_end_job(p->world, status);
        if (p->result.passes == 1 || p->chunk < p->result.n_task)
            ORTH_TRY(orth_agree(p->world, read_labels(p, tasks)));
        status = orth_probe_tasks(p, tasks);
    }
    return status == ORTH_OK ? status : orth_end_job(p->world, status);
}

/* The best of all shards, on all ranks. */
static orth_status merge_tasks(orth_probing *p)
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
            orth_probe_offer(p, task, &all[j]);
    }
    orth_free(counts);
    orth_free(all);
    return status;
}

static orth_status probe_all(orth_probing *p)
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
    orth_probing p = {.sae = sae,
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
