#ifndef ORTHANT_KERN_TRIAL_H
#define ORTHANT_KERN_TRIAL_H

#include <orthant/base/status.h>

#include <stdbool.h>
#include <stdint.h>

/**
 * Trials: what the machine can do at most, and each kernel at work, to be timed by `orthant bench`.
 * One table (src/kern/trial.c): a new kernel is a function that allocates, one that runs, and a
 * line.
 */

/** What a trial is limited by. */
typedef enum orth_trial_limit {
    ORTH_TRIAL_FP32,   ///< dense fp32 products, operations a second
    ORTH_TRIAL_BF16,   ///< dense bf16 products with fp32 sums
    ORTH_TRIAL_INT8,   ///< dense int8 products with int32 sums
    ORTH_TRIAL_MEMORY, ///< bytes a second between memory and processor
    ORTH_TRIAL_LIMITS
} orth_trial_limit;

typedef struct orth_trial_sizes {
    int64_t n_token, n_latent, d_model; ///< of dense products
    int64_t k;                          ///< entries of a token in a thin code
    int64_t bytes;                      ///< of an array that does not fit into caches
    double operations;                  ///< of a trial of sparse products, about
} orth_trial_sizes;

/** A trial that is ready to run. */
typedef struct orth_trial orth_trial;

int orth_trial_count(void);

/** The name of trial `i`, what limits it, and whether it is no kernel of ours but tells the limit:
 * the fastest of those counts. */
const char *orth_trial_name(int i);
orth_trial_limit orth_trial_limited_by(int i);
bool orth_trial_sets_limit(int i);

/** Allocate and fill what trial `i` works on. *out is NULL where this program or processor lacks
 * what it needs. Local. */
orth_status orth_trial_open(int i, const orth_trial_sizes *sizes, orth_trial **out);

/** Run once, with all threads. */
void orth_trial_run(orth_trial *trial);

/** Operations (a multiplication and an addition are two) or bytes of one run. */
double orth_trial_work(const orth_trial *trial);

/** Free. NULL is allowed. */
void orth_trial_close(orth_trial *trial);

/** What oneDNN is built in: "oneDNN 2.6.3", or "" for none. */
const char *orth_trial_onednn(void);

#endif
