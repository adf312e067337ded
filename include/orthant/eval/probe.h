#ifndef ORTHANT_EVAL_PROBE_H
#define ORTHANT_EVAL_PROBE_H

#include <orthant/eval/labels.h>
#include <orthant/io/dataset.h>
#include <orthant/sae/model.h>

#include <stdbool.h>
#include <stdint.h>

/**
 * One-dimensional probes (Gao et al. 2024, section 4.2): how well a single latent tells the tokens
 * of a class from the others. For a task and a latent i with values f over the labelled tokens
 *
 *     loss = mean cross-entropy of sigmoid(w f + b) at the (w, b) that minimise
 *            mean cross-entropy + (l2 / 2) (w r_i)^2,   r_i^2 = mean of f^2 over tokens with f > 0
 *
 * in nats. The term of l2 makes the minimum exist where a threshold separates the classes; measured
 * in units of r_i (of all tokens, labelled or not), it does not depend on the scale of the latent.
 * It is that of scikit-learn's
 * LogisticRegression(C = 1 / (l2 tokens)) on f / r_i. A latent that never fires has the loss of the
 * best constant, the entropy of the labels.
 */

/** A latent's probe for one task. */
typedef struct orth_probe_fit {
    int64_t latent;  ///< global; -1: none
    double weight;   ///< w
    double bias;     ///< b
    double loss;     ///< nats, without the term of l2
    double accuracy; ///< share of labelled tokens on the right side of 1/2
    bool converged;
} orth_probe_fit;

/** What was found for a task. */
typedef struct orth_probe_task {
    int64_t labelled;    ///< tokens of weight one with a label
    int64_t positive;    ///< of them with label 1
    double entropy;      ///< of the labels in nats: the loss without any latent
    int64_t unconverged; ///< latents whose search ended before its criterion was met
    int64_t n_best;
    orth_probe_fit *best; ///< (n_best) ascending loss, then latent; empty when all labels are equal
} orth_probe_task;

/** What was found. Owned. */
typedef struct orth_probe_result {
    int64_t n_task;
    orth_probe_task *tasks; ///< (n_task)
    int64_t tokens;         ///< of weight one, labelled or not
    int64_t skipped;        ///< rows with NaN or Inf, of weight zero
    int64_t passes;         ///< over the activations
} orth_probe_result;

typedef struct orth_probe_options {
    int64_t batch;  ///< consecutive rows of a batch (matters to batchtopk)
    bool skip;      ///< rows with NaN or Inf get weight zero; else they are an error
    double l2;      ///< > 0
    int64_t memory; ///< bytes a rank may keep of codes with their labels, about
    int64_t top;    ///< best latents to tell for each task, at least 1
} orth_probe_options;

/**
 * Fit every latent of a model for every task, by damped Newton steps: a latent's gradient and
 * Hessian are sums over its nonzero values, added over the token groups in rank order, and a closed
 * form for the tokens on which it is silent. A step is halved until the objective falls (Armijo);
 * the search ends when the Newton decrement promises less than 1e-20 nats.
 *
 * The codes are kept with their tokens' labels, which are read with each batch: 4 bytes an entry
 * and 4 for each 16 tasks, of which up to 128 are fitted at a time. Where they do not fit `memory`,
 * each rank goes over its latents block by block, with one more pass over the activations for each
 * block; so memory does not grow with the number of tokens, but that one latent must fit.
 * Equal on all ranks; on different grids to rounding. ORTH_ERR_DATA: another width than the
 * model's, labels that cannot be read. Collective over the
 * model's grid; agreed (a rank that fails alone in the middle ends the job). End with
 * orth_probe_free.
 */
orth_status orth_probe_latents(const orth_sae *sae, orth_dataset *dataset, orth_labels *labels,
                               const orth_probe_options *options, orth_probe_result *out);

/** Free. A zeroed struct is allowed. */
void orth_probe_free(orth_probe_result *result);

#endif
