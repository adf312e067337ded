#ifndef ORTHANT_SAE_STEP_H
#define ORTHANT_SAE_STEP_H

#include <orthant/par/phase.h>
#include <orthant/sae/batch.h>
#include <orthant/sae/bound.h>
#include <orthant/sae/code.h>
#include <orthant/sae/compact.h>
#include <orthant/sae/dead.h>
#include <orthant/sae/decode.h>
#include <orthant/sae/encode.h>
#include <orthant/sae/loss.h>
#include <orthant/sae/model.h>
#include <orthant/sae/selection.h>
#include <orthant/sae/update.h>

/** Everything a step needs besides the model: buffers of the token group's tokens, made once. */
typedef struct orth_workspace {
    orth_batch batch;
    orth_encoder encoder;
    orth_selection selection;     ///< the model's
    orth_selection aux_selection; ///< AuxK's top-k over dead latents
    orth_code code;               ///< what the selection picked
    orth_code multi_code;         ///< multi-topk's larger set
    orth_code aux_code;
    orth_code_transposed columns, multi_columns, aux_columns;
    orth_product_scratch products;
    orth_dead dead;
    orth_compact compact; ///< AuxK's few dead latents
    orth_learner learner;
    float *residual;       ///< (n_token, d_model) x_hat - x of the own tokens (batch.part), then
                           ///< the gradient to x_hat of all
    float *multi_residual; ///< the same of multi-topk, NULL without
    float *aux_error;      ///< (n_token, d_model) AuxK's error, then its gradient; NULL without
    float *pull;           ///< (n_token) AFA's gradient; see orth_loss_afa
    double *square;        ///< (n_token) of the residual
    double *multi_square;  ///< of multi_residual, NULL without
    double *aux_square;    ///< of aux_error, NULL without
    double aux_scale;      ///< weight of |e_t|^2 of AuxK in the loss
    double *factor;        ///< (n_token) scratch
    double *sums;          ///< (d_model) scratch
    double *decoder_norm;  ///< (n_own) |W_dec,i|
    bool fixed;            ///< see orth_workspace_fix
    orth_branch branches[3];
    orth_bound_branch bounds[3]; ///< the same ones
    int n_branch;
    double bound; ///< of the gradient's norm; INFINITY without a clip
} orth_workspace;

/** What of a step was not finite. */
typedef enum orth_step_failure {
    ORTH_STEP_FINE,
    ORTH_STEP_LOSS,
    ORTH_STEP_GRADIENT
} orth_step_failure;

/** What a step tells. Equal on all ranks. */
typedef struct orth_step_report {
    orth_step_failure failed; ///< with ORTH_ERR_NONFINITE; see orth_blame_find
    orth_terms terms;
    double loss;
    double l0; ///< mean number of positive entries per token
    int64_t n_dead;
    double grad_norm;
    double fvu;         ///< fraction of variance unexplained in the batch; when asked for
    uint64_t code_hash; ///< of the batch's codes; when asked for
} orth_step_report;

typedef struct orth_step_options {
    double rate;         ///< learning rate
    int64_t first_token; ///< tokens seen before this batch, for code_hash
    bool fvu;
    bool code_hash;
} orth_step_options;

/** Allocate for global batches of at most `batch` tokens; `training` false leaves out what only
 * orth_step needs. Collective over the grid; agreed. */
orth_status orth_workspace_create(const orth_sae *sae, int64_t batch, bool training,
                                  orth_workspace *out);
/** The weights stay as they are from here on, as in an evaluation: keep what every forward pass
 * would derive from them, |W_dec,i| and W_enc as the encoder reads it (orth_encoder_hold). Results
 * keep their bits. Local; after a change of the weights call it again. */
orth_status orth_workspace_fix(const orth_sae *sae, orth_workspace *workspace);

void orth_workspace_free(orth_workspace *workspace);

/** Where this rank puts its part of a batch of `batch` tokens: the rows of workspace->batch.x and
 * .valid that orth_grid_reads names. */
float *orth_workspace_rows(orth_workspace *workspace, const orth_sae *sae, int64_t batch,
                           bool **valid);

/**
 * Codes and residual of a batch whose own parts are in place and normalised: afterwards
 * workspace->code holds the code, workspace->residual x_hat - x for the tokens of
 * batch.part, workspace->batch.x x - b_dec.
 * Collective over the grid; a failure ends the run.
 */
orth_status orth_forward(const orth_sae *sae, int64_t batch, orth_workspace *workspace,
                         orth_phase_timer *timer);

/**
 * One optimizer step on a batch of recipe.batch tokens whose own parts are in place and normalised.
 * ORTH_ERR_NONFINITE (agreed) when the loss is not finite, before anything but the counters is
 * changed, or when the gradient is not or its square, which the second moments hold, is beyond
 * fp32: then the model is spoilt. Collective over the grid; any other failure may be local and ends
 * the run.
 */
orth_status orth_step(orth_sae *sae, orth_workspace *workspace, const orth_step_options *options,
                      orth_phase_timer *timer, orth_step_report *report);

#endif
