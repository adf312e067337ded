#ifndef ORTHANT_RUN_RUN_FIGURES_H
#define ORTHANT_RUN_RUN_FIGURES_H

#include <orthant/base/status.h>
#include <orthant/sae/recipe.h>

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>

/** How far a run has come. */
typedef enum orth_run_state {
    ORTH_RUN_DONE,       ///< all its steps were made
    ORTH_RUN_UNFINISHED, ///< it goes on, was stopped or has failed
    ORTH_RUN_UNREADABLE  ///< what its folder holds cannot be used: `why` says it
} orth_run_state;

/** What a run folder tells of its end: config.yaml, metrics.jsonl and the newest eval/step-*.json.
 * A figure that is not there is NaN. */
typedef struct orth_run_figures {
    char *path; ///< of the folder, owned
    char *why;  ///< one phrase about a state that is not ORTH_RUN_DONE, owned; else NULL
    orth_run_state state;
    orth_selection_kind selection;
    int64_t n_latent; ///< 0: not known
    int64_t k;        ///< [model.k]; of topafa no more than a word
    int64_t steps;    ///< that the run was to make; 0: not known
    int64_t step;     ///< the last one in metrics.jsonl
    int64_t tokens;   ///< trained on up to that step
    double loss;      ///< of that line, like the next three
    double train_mse; ///< the reconstruction term as it enters the loss
    double train_fvu;
    double train_l0;
    bool evaluated;    ///< the newest evaluation's figures follow; else they are NaN
    int64_t eval_step; ///< of the model that it judged
    int64_t eval_tokens;
    double mse, nmse, fvu, l0;
    double elbo; ///< median
    int64_t dead;
} orth_run_figures;

/** The runs that a command line names. Owned. */
typedef struct orth_run_list {
    orth_run_figures *items;
    int64_t count;
} orth_run_list;

/**
 * Read what a run folder tells. A folder whose files are missing or damaged is a state, not an
 * error. Not collective. ORTH_ERR_ENVIRONMENT when memory fails. End with orth_run_figures_free.
 */
orth_status orth_run_figures_read(const char *path, orth_run_figures *out);

/**
 * The runs at `paths`: a run directory (one with config.yaml or metrics.jsonl), or a folder of
 * them, whose own folders are taken in the order of their names, one level deep; others in it are
 * passed over. Each run once. ORTH_ERR_USAGE: a path that does not exist or holds no run. Rank 0
 * reads, all ranks get the same. Collective over `comm`; agreed. End with orth_run_list_free.
 */
orth_status orth_run_list_read(const char *const *paths, int64_t n_path, MPI_Comm comm,
                               orth_run_list *out);

/** L0 as the laws of scaling take it: model.k, but the measured mean L0 where the number of latents
 * differs from token to token (topafa). NaN when it is not known. */
double orth_run_sparsity(const orth_run_figures *run);

/** Free. A zeroed struct is allowed. */
void orth_run_figures_free(orth_run_figures *run);
void orth_run_list_free(orth_run_list *list);

#endif
