/* The fits of the latents in memory, task by task. */
#include "probe_parts.h"

#include <orthant/par/alive.h>
#include <orthant/par/collective.h>

#include <math.h>
#include <string.h>

/* Evaluations of a latent before the search gives up. */
enum { MOST_ROUNDS = 200 };

/* ---- latents and tasks ---- */

static void visit_moments(void *context, int64_t i, int64_t latent, const orth_list_block *block,
                          int64_t count)
{
    double *moments = (double *)context + i * MOMENTS;
    (void)latent;
    for (int64_t e = 0; e < count; e++) {
        moments[MOMENT_COUNT] += 1.0;
        moments[MOMENT_SQUARE] += (double)block->value[e] * (double)block->value[e];
    }
}

orth_status orth_probe_sort_latents(orth_probing *p)
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

static double scale_of(const orth_probing *p, int64_t latent)
{
    const double *moments = p->moments + (latent - p->lists.begin) * MOMENTS;
    return sqrt(moments[MOMENT_SQUARE] / moments[MOMENT_COUNT]);
}

/* The label of the task among the marks of entry e. */
static int label_of(const orth_probing *p, const orth_list_block *block, int64_t e)
{
    const uint32_t *marks = block->mark + e * p->lists.marks;
    return orth_probe_label(marks[p->place / ORTH_PROBE_MARKED], p->place);
}

static orth_status begin_task(orth_probing *p, int64_t place)
{
    int64_t classes[2] = {p->counts[2 * place], p->counts[2 * place + 1]};
    p->place = place;
    p->task = &p->result.tasks[p->tasks.begin + place];
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

static void visit_classes(void *context, int64_t i, int64_t latent, const orth_list_block *block,
                          int64_t count)
{
    const orth_probing *p = context;
    double *classes = p->sums + i * 2;
    (void)latent;
    for (int64_t e = 0; e < count; e++) {
        int label = label_of(p, block, e);
        if (label >= 0)
            classes[label] += 1.0;
    }
}

static void visit_entries(void *context, int64_t i, int64_t latent, const orth_list_block *block,
                          int64_t count)
{
    const orth_probing *p = context;
    const orth_logistic_search *search = &p->search[latent];
    double w = search->try_w / scale_of(p, latent);
    for (int64_t e = 0; e < count; e++) {
        int label = label_of(p, block, e);
        if (label >= 0)
            orth_logistic_add(w, search->try_b, (double)block->value[e], label,
                              p->sums + i * ORTH_LOGISTIC_SUMS);
    }
}

/* Sums of `width` numbers for the first `n` active latents, over all their tokens. */
static orth_status sum_over_tokens(orth_probing *p, int64_t n, int64_t width,
                                   orth_list_visit *visit)
{
    memset(p->sums, 0, (size_t)(n * width) * sizeof *p->sums);
    orth_latent_lists_visit(&p->lists, p->active, n, visit, p);
    orth_alive();
    return orth_sum_f64(p->sums, n * width, p->sae->grid->peers);
}

/* The sums of one latent are in units of its values: bring them to units of r, add the tokens on
 * which it is silent, and go on. */
static void advance(orth_probing *p, int64_t latent, double *sums)
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
static orth_status search_latents(orth_probing *p)
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

/* Insertion: the list stays sorted. */
void orth_probe_offer(const orth_probing *p, orth_probe_task *task, const orth_probe_fit *fit)
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

static void offer_all(orth_probing *p)
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
        orth_probe_offer(p, task, &fit);
        task->unconverged += !search->converged;
    }
    for (int64_t i = 0; i < p->n_silent; i++) {
        double most = (double)(task->positive > negative ? task->positive : negative);
        orth_probe_fit fit = {.latent = first + p->silent[i],
                              .bias = log((double)task->positive / (double)negative),
                              .loss = task->entropy,
                              .accuracy = most / (double)task->labelled,
                              .converged = true};
        orth_probe_offer(p, task, &fit);
    }
}

orth_status orth_probe_tasks(orth_probing *p)
{
    for (int64_t place = 0; place < orth_range_size(p->tasks); place++) {
        ORTH_TRY(begin_task(p, place));
        if (p->task->positive == 0 || p->task->positive == p->task->labelled)
            continue;
        ORTH_TRY(search_latents(p));
        offer_all(p);
    }
    return ORTH_OK;
}
