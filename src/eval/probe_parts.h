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
} orth_probing;

/** Which latents of the block fire at all, and how large their values are. Collective over the
 * ranks that share them; a failure ends the run. */
orth_status orth_probe_sort_latents(orth_probing *p);

/** Fit all latents of the block for the tasks [tasks.begin, tasks.end), whose labels are held, and
 * keep the best. A task whose labels are all equal tells nothing of any latent. As above. */
orth_status orth_probe_tasks(orth_probing *p, orth_range tasks);

/** Put a fit in its place among the best of a task, if it is one of them. Local. */
void orth_probe_offer(const orth_probing *p, orth_probe_task *task, const orth_probe_fit *fit);

#endif
