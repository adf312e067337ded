#ifndef ORTHANT_SAE_BLAME_H
#define ORTHANT_SAE_BLAME_H

#include <orthant/sae/step.h>

/** What made a step fail with ORTH_ERR_NONFINITE. */
typedef struct orth_blame {
    char what[160]; ///< "the loss is not finite (mse nan, aux 0, afa 0)"
    bool before;    ///< a parameter was not finite before the step: its batch is not to blame
    int64_t token;  ///< index in the global batch of the first token to blame; -1: no single one
} orth_blame;

/**
 * After orth_step gave ORTH_ERR_NONFINITE, from what it left in the workspace. Loss: the first
 * token in the order of the batch whose code or squared error is not finite, unless a weight was
 * not. Gradient: which latent's (or b_dec's), and the first token t whose own part alone, at most
 * |u_t| |f_t| + (|u_t| + |pull_t| |f_t|) |x_t - b_dec| with the upstream gradient u_t, is beyond
 * fp32. A token counts the same on every grid, up to rounding. Equal on all ranks. Collective over
 * the grid; a failure ends the run.
 */
orth_status orth_blame_find(const orth_sae *sae, orth_workspace *workspace,
                            const orth_step_report *report, orth_blame *out);

#endif
