#ifndef ORTHANT_SRC_KERN_TRIAL_PARTS_H
#define ORTHANT_SRC_KERN_TRIAL_PARTS_H

/** The parts of kern/trial.h, shared by its files. */

#include <orthant/kern/trial.h>

typedef struct orth_trial_kind {
    const char *name;
    orth_trial_limit limit;
    bool sets_limit;
    double density; ///< share of the latents in a code; 0: k of them
    /** Allocate, and set work; work 0: not available here. */
    orth_status (*open)(orth_trial *trial);
    void (*run)(orth_trial *trial);
    void (*close)(orth_trial *trial); ///< frees `own`; NULL: it is one block
} orth_trial_kind;

struct orth_trial {
    const orth_trial_kind *kind;
    orth_trial_sizes sizes;
    double work;
    int64_t count; ///< of rows, values or whatever the trial goes through
    int64_t per;   ///< entries of one of them
    float *a, *b, *c, *e;
    uint32_t *index;
    uint64_t *keys;
    void *own;
};

/** An array of `count` values spread evenly over [-1, 1), each thread's part touched by it first.
 */
orth_status orth_trial_fill(int64_t count, float **out);

extern const orth_trial_kind orth_trial_onednn_fp32, orth_trial_onednn_bf16, orth_trial_onednn_int8;

extern const orth_trial_kind orth_trial_screen_bf16;
extern const orth_trial_kind orth_trial_screen_int8;

#endif
