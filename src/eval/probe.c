#include "probe_parts.h"

#include <orthant/base/fault.h>
#include <orthant/base/memory.h>
#include <orthant/eval/feed.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/par/end_job.h>

#include <string.h>

/* Tasks at a time: more labels in an entry would leave room for few entries. */
enum { MOST_TASKS = 8 * ORTH_PROBE_MARKED };

/* ---- memory ---- */

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
    int64_t tokens = orth_partition_largest(p->batch, p->sae->grid->n_group);
    int64_t marks = orth_partition_largest(p->chunk, ORTH_PROBE_MARKED);
    ORTH_TRY(ORTH_ALLOCATE(p->chunk * tokens, "labels", &p->labels_of_batch));
    ORTH_TRY(ORTH_ALLOCATE(marks * tokens, "labels", &p->marks));
    ORTH_TRY(ORTH_ALLOCATE(2 * p->chunk, "counts of labels", &p->counts));
    ORTH_TRY(ORTH_ALLOCATE(result->n_task, "tasks", &result->tasks));
    for (int64_t i = 0; i < result->n_task; i++)
        ORTH_TRY(ORTH_ALLOCATE(p->top, "best probes", &result->tasks[i].best));
    return orth_latent_lists_create(orth_range_size(p->sae->own), p->options->memory, marks,
                                    &p->lists);
}

static orth_status allocate(orth_probing *p)
{
    p->result.n_task = orth_labels_tasks(p->labels);
    p->chunk = p->result.n_task < MOST_TASKS ? p->result.n_task : MOST_TASKS;
    ORTH_TRY(allocate_latents(p));
    return allocate_tasks(p);
}

static void free_probing(orth_probing *p)
{
    void *blocks[] = {p->labels_of_batch, p->marks,  p->counts,  p->moments, p->active,
                      p->silent,          p->search, p->classes, p->sums};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        orth_free(blocks[i]);
    orth_latent_lists_free(&p->lists);
    orth_workspace_free(&p->workspace);
    orth_probe_free(&p->result);
}

/* ---- a pass over the activations ---- */

/* The labels of the own group's tokens of the batch, as marks. Tokens of weight zero have none. */
static orth_status mark_batch(orth_probing *p, const orth_feed_batch *feed_batch)
{
    const orth_batch *batch = &p->workspace.batch;
    orth_range own = orth_grid_tokens(p->sae->grid, feed_batch->n_token);
    orth_range rows = {feed_batch->first_row + own.begin, feed_batch->first_row + own.end};
    int64_t n = batch->n_token, marks = p->lists.marks;
    ORTH_TRY(orth_labels_read(p->labels, rows, p->tasks, n, p->labels_of_batch));
    memset(p->marks, 0, (size_t)(n * marks) * sizeof *p->marks);
    for (int64_t place = 0; place < orth_range_size(p->tasks); place++) {
        const int8_t *label = p->labels_of_batch + place * n;
        int shift = (int)(2 * (place % ORTH_PROBE_MARKED));
        for (int64_t t = 0; t < n; t++) {
            if (label[t] < 0 || !batch->valid[t])
                continue;
            p->marks[t * marks + place / ORTH_PROBE_MARKED] |= (uint32_t)(label[t] + 1) << shift;
            p->counts[2 * place + label[t]]++;
        }
    }
    return ORTH_OK;
}

static orth_status add_batch(orth_probing *p, const orth_feed_batch *batch)
{
    ORTH_TRY(mark_batch(p, batch));
    if (p->result.passes == 0)
        p->result.tokens += p->workspace.batch.n_valid;
    return orth_latent_lists_add(&p->lists, &p->workspace.code, p->marks);
}

static orth_status run_feed(orth_probing *p, orth_feed *feed)
{
    orth_feed_batch batch;
    orth_status before = ORTH_OK;
    memset(p->counts, 0, (size_t)(2 * p->chunk) * sizeof *p->counts);
    for (;;) {
        ORTH_TRY(orth_feed_next(feed, &p->workspace, before, &batch));
        if (batch.n_token == 0)
            break;
        ORTH_TRY(orth_feed_forward(feed, &batch, &p->workspace, NULL));
        before = add_batch(p, &batch);
        orth_fault("eval.batch");
        orth_alive();
    }
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

/* What the latents in memory tell. Ranks of other shards are not waited for. */
static orth_status probe_block(orth_probing *p)
{
    orth_status status = orth_probe_sort_latents(p);
    if (status == ORTH_OK)
        status = orth_probe_tasks(p);
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

static orth_status probe_tasks(orth_probing *p)
{
    int64_t n_own = orth_range_size(p->sae->own), left, begin = 0;
    do {
        ORTH_TRY(collect(p, begin));
        ORTH_TRY(probe_block(p));
        begin = p->lists.end;
        left = n_own - begin;
        ORTH_TRY(orth_allreduce(&left, 1, MPI_INT64_T, MPI_MAX, p->world));
    } while (left > 0);
    return ORTH_OK;
}

static orth_status probe_all(orth_probing *p)
{
    for (int64_t task = 0; task < p->result.n_task; task += p->chunk) {
        int64_t end = task + p->chunk;
        p->tasks = (orth_range){task, end < p->result.n_task ? end : p->result.n_task};
        ORTH_TRY(probe_tasks(p));
    }
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
