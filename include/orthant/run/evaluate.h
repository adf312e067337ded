#ifndef ORTHANT_RUN_EVALUATE_H
#define ORTHANT_RUN_EVALUATE_H

#include <orthant/eval/geometry.h>
#include <orthant/eval/latents.h>
#include <orthant/eval/quality.h>
#include <orthant/io/dataset.h>
#include <orthant/run/json_file.h>
#include <orthant/run/metrics.h>

#include <stdio.h>

/** What an evaluation found: all figures of `eval --json`. */
typedef struct orth_evaluation {
    int64_t step;    ///< of the model, or ORTH_STEP_UNKNOWN
    int64_t skipped; ///< rows with NaN or Inf, of weight zero
    orth_quality quality;
    orth_selection_kind selection;
    bool has_eps;
    orth_coherence eps;
    double eps_unit; ///< largest |cos| of two rows of W_dec or of one and b_dec; NaN without eps
    double eps_bias; ///< of one and b_dec
    double seconds;
} orth_evaluation;

typedef struct orth_evaluation_options {
    int64_t batch; ///< consecutive rows of a batch; the last has what is left
    bool skip;     ///< rows with NaN or Inf get weight zero; else they are an error
    bool eps;      ///< measure the dictionary's geometry (n^2 d / 2 multiplications)
    const orth_geometry *geometry; ///< with `eps`: what was measured before; NULL: measured now
    orth_latents *latents;         ///< told of every batch, and finished; NULL: none
    orth_workspace *workspace;     ///< to be used, made for `batch` at least; NULL: an own one
    orth_phase_timer *timer;       ///< NULL: none
} orth_evaluation_options;

/**
 * Evaluate a model on all rows of a table, in order. The model is not changed, so a run in training
 * can call it between two steps with its own workspace. Says (warning) how many rows were skipped.
 * Equal on all ranks; on different grids to rounding. Collective over the model's grid; agreed (a
 * rank that fails alone in the middle ends the job). End with orth_evaluation_free.
 */
orth_status orth_evaluate(const orth_sae *sae, orth_dataset *dataset,
                          const orth_evaluation_options *options, orth_evaluation *out);
void orth_evaluation_free(orth_evaluation *evaluation);

struct json_t;

/**
 * The figures as an object (jansson, owned by the caller), NaN and infinity as null. `arrays` false
 * leaves out histograms, `zf` and `quasi_orthogonality`. Of these:
 * zf {over, under: tokens with |f~| above and below |z|; bounds: an object for each eps = eps(n-1),
 * {eps, lower, upper: the curves |z| times these; within: share of the tokens; above, below: tokens
 * beyond them}; z, f: the points};
 * quasi_orthogonality {largest_ratio; with eps also eps_max, eps_bias, violations, within and
 * within_wide: shares of the tokens} (eval/quasi.h). Local.
 */
orth_status orth_evaluation_json(const orth_evaluation *evaluation, bool arrays,
                                 struct json_t **out);

/** Write the figures, and which models they are of, to a result file: one object for one model, of
 * several {"models": [an object each]}. Collective over `comm`; agreed. */
orth_status orth_evaluation_write(const orth_evaluation *evaluations, const char *const *models,
                                  int64_t count, orth_json_file *file, MPI_Comm comm);

/** The figures as a table to be read. Local. */
void orth_evaluation_print(const orth_evaluation *evaluation, FILE *out);

/** Several models side by side: a row each of L0, mse, fvu, median eLBO. Local. */
void orth_evaluation_print_all(const orth_evaluation *evaluations, const char *const *models,
                               int64_t count, FILE *out);

/**
 * Evaluate in mid-run: `<run_dir>/eval/step-%09d.json` gets everything, `metrics` (rank 0; NULL on
 * the others) the line {"step": ..., "eval": {...}} without arrays, the log a line. Collective over
 * the grid; agreed. ORTH_ERR_STORAGE when a file cannot be written.
 */
orth_status orth_evaluate_step(const orth_sae *sae, orth_dataset *dataset, const char *run_dir,
                               const orth_evaluation_options *options, orth_metrics_file *metrics);

#endif
