#ifndef ORTHANT_REPORT_REPORT_H
#define ORTHANT_REPORT_REPORT_H

#include <orthant/base/status.h>

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>

/** What a report is made of, and what is written. Borrowed. */
typedef struct orth_report_options {
    const char *const *runs; ///< (n_run) run directories, checkpoints, exported folders
    int64_t n_run;
    const char *const *data; ///< (n_data) activation files or globs; none: each run's
                             ///< data.eval_files
    int64_t n_data;
    const char *const *overrides; ///< (n_override) "key=value", as orth_model_open takes them
    int64_t n_override;
    int64_t batch;     ///< consecutive rows of a batch; 0: the model's train.batch
    int64_t latents;   ///< at most so many of each model are in the latent browser; 0: none
    int64_t examples;  ///< top activating tokens of each of them
    int64_t context;   ///< tokens shown before and after such a token
    bool pairs;        ///< look at all pairs of latents (n^2 d multiplications, and again for the
                       ///< neighbours in the latent browser)
    bool spectra;      ///< eigenvalues of the frame operator and of the covariance (d^3)
    const char *page;  ///< HTML file; NULL: none
    const char *json;  ///< the data of the page alone; NULL: not wanted
    const char *plots; ///< folder for static plots; NULL: not wanted
} orth_report_options;

/**
 * Make the report of some runs: read how they were made and how they trained, evaluate the newest
 * checkpoint of each on held-out tokens, and write one HTML page that needs nothing but itself. A
 * run without checkpoint has training curves only; a run whose own data.eval_files are not there
 * has what it recorded itself; both are said on the page. Files that cannot be written are refused
 * before the work, and nothing is written when a run is broken. Memory: on rank 0 that of the page,
 * on the others that of an evaluation.
 * ORTH_ERR_USAGE, ORTH_ERR_DATA, ORTH_ERR_CORRUPT, ORTH_ERR_STORAGE; ORTH_ERR_ENVIRONMENT when
 * gnuplot is missing (the plots' scripts and data are written then). Collective over `world`;
 * agreed.
 */
orth_status orth_report_make(const orth_report_options *options, MPI_Comm world);

/**
 * Visit the files in a folder of plots that a report may replace: those whose names end as a plot's
 * do. The first error ends it. A folder that is not there has none. Not collective.
 * ORTH_ERR_STORAGE.
 */
orth_status orth_report_plots_each(const char *folder,
                                   orth_status (*visit)(void *context, const char *path),
                                   void *context);

#endif
