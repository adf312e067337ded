#ifndef ORTHANT_APP_INFO_H
#define ORTHANT_APP_INFO_H

#include <orthant/base/status.h>

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>

/** What `orthant info` found by reading all rows of an activation file. */
typedef struct orth_activation_stats {
    int64_t rows;        ///< rows without NaN or Inf: those that the figures are about
    int64_t nonfinite;   ///< rows with NaN or Inf
    int64_t first_row;   ///< the first of them, -1 when none
    int64_t zero_rows;   ///< rows of zeros alone
    double mean;         ///< over all values
    double std;          ///< over all values, about their mean
    double mean_norm;    ///< mean over the rows of |x|
    double *square_mean; ///< (d_model) mean square of each dimension; owned
    int64_t d_model;
} orth_activation_stats;

/**
 * Read a file's activations once, spread over the ranks, in bounded memory. Collective over
 * `world`; agreed; equal on all ranks. Free with orth_activation_stats_free.
 */
orth_status orth_activation_stats_read(const char *path, const char *dataset, MPI_Comm world,
                                       orth_activation_stats *out);
void orth_activation_stats_free(orth_activation_stats *stats);

/** Print what a folder of another tool holds (foreign/sae_folder.h). Collective over `world`;
 * agreed. */
orth_status orth_info_folder(const char *path, bool verify, MPI_Comm world, bool speaks);

/** Print a line "label  value" of a table on stdout; silent but on rank 0. */
void orth_info_line(bool speaks, const char *label, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** Print the figures on stdout. Not collective: rank 0 calls it. */
orth_status orth_activation_stats_print(const orth_activation_stats *stats);

#endif
