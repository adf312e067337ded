#ifndef ORTHANT_EXCHANGE_EXPORT_H
#define ORTHANT_EXCHANGE_EXPORT_H

#include <orthant/run/model_source.h>

#include <stdio.h>

/** What `orthant export` is asked for. */
typedef struct orth_export_options {
    const char *tool;         ///< of orth_sae_folder_tools
    const char *folder;       ///< to be made
    bool average;             ///< the averaged weights, divided by 1 - m^step
    const char *const *files; ///< activations to measure on
    int64_t n_file;           ///< 0: the run's own, where something must be measured
    const char *const *judge; ///< other activations on which what is lost is measured
    int64_t n_judge;          ///< 0: those on which the thresholds are
    int64_t batch;            ///< rows of a batch; 0: the model's train.batch
} orth_export_options;

/**
 * Write a model for another tool. A selection that the tool lacks becomes thresholds that are
 * measured on data (run/calibrate.h), and `out` (rank 0; NULL on the others) is told what that
 * loses in figures: L0, mse and fvu of both, on the activations of `judge` where there are some.
 * ORTH_ERR_USAGE when there are and no threshold is measured. With data the folder also gets firing
 * rates. Collective over `comm`; agreed.
 */
orth_status orth_export(const char *model, const char *const *overrides, int64_t n_override,
                        const orth_export_options *options, MPI_Comm comm, FILE *out);

#endif
