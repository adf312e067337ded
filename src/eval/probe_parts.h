#ifndef ORTHANT_SRC_EVAL_PROBE_PARTS_H
#define ORTHANT_SRC_EVAL_PROBE_PARTS_H

#include "logistic.h"

#include <orthant/eval/probe.h>
#include <orthant/sae/latent_lists.h>
#include <orthant/sae/step.h>

/* Private to src/eval/probe*.c. */

/* Moments of a latent's values: how often it fires, and the sum of their squares. */
enum { MOMENT_COUNT, MOMENT_SQUARE, MOMENTS };

/* A probing under way. */
typedef struct orth_probing {
    const orth_sae *sae;
    orth_dataset *dataset;
    orth_labels *labels;
    const orth_probe_options *options;
    MPI_Comm world;
    int64_t batch;
    int64_t top; ///< best latents of a task
    orth_workspace workspace;
    orth_latent_lists lists; ///< their marks are labels (orth_probe_label)
    int64_t chunk;           ///< tasks at a time
    orth_range tasks;        ///< those of now
    int8_t *labels_of_batch; ///< (chunk, tokens of the group in a batch)
    uint32_t *marks;         ///< (tokens of the group in a batch, lists.marks)
    int64_t *counts;         ///< (chunk, 2) tokens of the group with label 0 and 1
    /* Of the block of latents: */
    double *moments; ///< (n_own, MOMENTS)
    int64_t *active; ///< (n_own) latents of the shard that are searched for
    int64_t *silent; ///< (n_own) those that never fire
    int64_t n_active, n_silent;
    /* Of a task: */
    int64_t place; ///< in `tasks`
    orth_probe_task *task;
    orth_logistic_search *search; ///< (n_own) by latent of the shard
    double *classes; ///< (n_own, 2) by latent: labelled tokens on which it fires, by label
    double *sums;    ///< (n_own, ORTH_LOGISTIC_SUMS) by place among the active ones
    orth_probe_result result;
} orth_probing;

/** Tasks whose labels a mark has, two bits each: 0 for none, else the label and 1. */
enum { ORTH_PROBE_MARKED = 16 };

static inline int orth_probe_label(uint32_t mark, int64_t place)
{
    return (int)(mark >> 2 * (place % ORTH_PROBE_MARKED) & 3) - 1;
}

/** Which latents of the block fire at all, and how large their values are. Collective over the
 * ranks that share them; a failure ends the run. */
orth_status orth_probe_sort_latents(orth_probing *p);

/** Fit all latents of the block for the tasks of now and keep the best. A task whose labels are all
 * equal tells nothing of any latent. As above. */
orth_status orth_probe_tasks(orth_probing *p);

/** Put a fit in its place among the best of a task, if it is one of them. Local. */
void orth_probe_offer(const orth_probing *p, orth_probe_task *task, const orth_probe_fit *fit);

#endif
