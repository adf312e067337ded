#ifndef ORTHANT_BENCH_BENCH_H
#define ORTHANT_BENCH_BENCH_H

#include <orthant/base/status.h>
#include <orthant/par/phase.h>
#include <orthant/run/config.h>
#include <orthant/run/json_file.h>
#include <orthant/sae/recipe.h>

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/** What to measure. */
typedef struct orth_bench_options {
    int64_t batch, d_model, n_latent, k; ///< of the step and of the yardstick's product
    int64_t n_group, n_shard;            ///< 0: what training would choose
    int64_t repetitions;                 ///< of which the median counts
    int64_t bytes;      ///< of an array that does not fit into caches, and of the reader's file
    double operations;  ///< of a trial of sparse products
    const char *folder; ///< where files are written, and removed again
    const char *only;   ///< NULL: everything; else machine, kernels, steps, series, reader or
                        ///< checkpoint, with the machine's limits always
    bool quick;         ///< small sizes: rates are rough
} orth_bench_options;

enum { ORTH_BENCH_KERNELS = 48, ORTH_BENCH_STEPS = 16, ORTH_BENCH_SERIES = 8 };

/** One kernel, with all threads of all ranks at once. */
typedef struct orth_bench_kernel {
    const char *name;
    double rate;     ///< operations or bytes a second
    bool bytes;      ///< which of them
    double of_limit; ///< share of the machine's limit; NaN where that is not known
} orth_bench_kernel;

/** One whole training step (orth_step) on random tokens in memory. */
typedef struct orth_bench_step {
    char name[32];
    orth_selection_kind selection;
    orth_encode_kind encode;
    int64_t batch, d_model, n_latent;
    double density; ///< share of the latents in a code, as it came out
    double seconds; ///< median
    double in_S;    ///< of the yardstick, as measured right before and after
    double tokens_per_s;
    /** One batch of `orthant eval` without eps, from memory; and its tokens a second as a share of
     * those that the step takes through its phases encode and select. */
    double evaluation_seconds, evaluation_of_encode;
    double phase[ORTH_PHASE_COUNT]; ///< medians, adding up to `seconds`; mean over the ranks
    double bytes_moved;  ///< by all ranks, estimated: every array of the step once for each pass
    int64_t peak_memory; ///< of a rank that does nothing else; the largest
} orth_bench_step;

/** The step with one size doubled, against the step without. */
typedef struct orth_bench_doubling {
    const char *name; ///< n_latent, batch, d_model
    int64_t batch, d_model, n_latent;
    double base_seconds, seconds, ratio; ///< ratio: the median of those of neighbouring runs
} orth_bench_doubling;

/** Everything; equal on all ranks. Rates are those of all ranks together; NaN: not measured. */
typedef struct orth_bench_report {
    orth_bench_options options; ///< resolved
    bool measured;              ///< the machine's limits at least, whatever failed then
    int ranks;
    int64_t cores, threads;
    char isa[64], blas[256];
    char sgemm[32], bf16[32], int8[32]; ///< what was fastest
    double limit[4];                    ///< by orth_trial_limit: operations or bytes a second
    double allreduce, exchange, write;  ///< bytes a second
    double yardstick;                   ///< S in seconds
    orth_bench_kernel kernels[ORTH_BENCH_KERNELS];
    int n_kernel;
    orth_bench_step steps[ORTH_BENCH_STEPS];
    int n_step;
    orth_bench_doubling series[ORTH_BENCH_SERIES];
    int n_series;
    double reader_warm, reader_cold, reader_of_step; ///< bytes a second of the file; ratio
    double checkpoint, checkpoint_verified, checkpoint_of_write; ///< bytes a second; ratio
    int64_t checkpoint_bytes;
} orth_bench_report;

/** The sizes of `orthant bench`, and of `--quick`. */
orth_bench_options orth_bench_defaults(bool quick);

/**
 * Measure. Says on the log what it is at. ORTH_ERR_USAGE for a grid that does not fit the ranks and
 * for sizes out of range, ORTH_ERR_STORAGE for a folder that cannot be written, which is tried
 * first. Whatever fails, the report holds what was measured before. Collective; agreed.
 */
orth_status orth_bench(const orth_bench_options *options, MPI_Comm world, orth_bench_report *out);

/** Print as a text table. Not collective. */
void orth_bench_print(const orth_bench_report *report, FILE *out);

/**
 * Write as one JSON object. `rates` are what `orthant plan` computes with, all of them of all ranks
 * together and derived from the phases of the steps: encode: 2 B d n operations in the phases
 * encode and select; select_*_ns_per_value: the phase select for each of B n values; decode 2,
 * gradient 6 operations for each stored entry and dimension; update: weights and moments, read and
 * written once; elementwise: 32 bytes for each value of each rank's tokens in the phases exchange,
 * loss and other; exchange: bytes that each rank receives in an allgather of tokens, times ranks
 * (of one rank: a copy in memory). What was not measured is null. Collective; agreed.
 */
orth_status orth_bench_write(const orth_bench_report *report, orth_json_file *file, MPI_Comm world);

#endif
