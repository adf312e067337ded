#ifndef ORTHANT_APP_INFO_H
#define ORTHANT_APP_INFO_H

#include <orthant/base/status.h>

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>

struct json_t;

/** What `orthant info` found by reading all rows of an activation file. The figures are about the
 * rows without NaN or Inf. */
typedef struct orth_activation_stats {
    int64_t rows;      ///< without NaN or Inf
    int64_t nonfinite; ///< rows with NaN or Inf
    int64_t first_row; ///< the first of them, -1 when none
    int64_t nan, inf;  ///< values
    int64_t zero_rows; ///< rows of zeros alone
    double mean;       ///< over all values
    double std;        ///< over all values, about their mean
    double max_abs;    ///< largest |value|
    double mean_norm;  ///< mean over the rows of |x|
    double norm[3];    ///< |x| at 5, 50 and 95 % of the rows (numpy's quantiles; above 2^20 rows to
                       ///< a relative 2^-12)
    double max_norm;   ///< largest |x|
    double norm_of_mean; ///< |mean over the rows of x|
    double *mean_of;     ///< (d_model) mean of each dimension; owned
    double *square_mean; ///< (d_model) mean square of each dimension; owned
    int64_t d_model;
} orth_activation_stats;

/** A dimension whose root mean square is more than 6 times the median one. */
typedef struct orth_outlier {
    int64_t dimension;
    double times; ///< its root mean square over the median one
} orth_outlier;

/**
 * Read a file's activations once, spread over the ranks, in bounded memory. Collective over
 * `world`; agreed; equal on all ranks. Free with orth_activation_stats_free.
 */
orth_status orth_activation_stats_read(const char *path, const char *dataset, MPI_Comm world,
                                       orth_activation_stats *out);
void orth_activation_stats_free(orth_activation_stats *stats);

/** The outlier dimensions, the largest first; free with orth_free. None where the median is 0.
 * Local. */
orth_status orth_activation_outliers(const orth_activation_stats *stats, orth_outlier **out,
                                     int64_t *count);

/** Print the figures on stdout. Not collective: rank 0 calls it. */
orth_status orth_activation_stats_print(const orth_activation_stats *stats);

/** The figures as an object (jansson), owned by the caller; `dimensions` has the mean and the rms
 * of each. NULL without memory. Not collective. */
struct json_t *orth_activation_stats_json(const orth_activation_stats *stats);

/*
 * What each kind of thing holds, printed by the rank that speaks (0) and added to its `json` (NULL:
 * not wanted). `verify` reads all checksums. Collective over `world`; agreed.
 */

orth_status orth_info_checkpoint(const char *path, bool verify, MPI_Comm world, bool speaks,
                                 struct json_t *json);

/** The newest checkpoint of a run directory; `verify` reads all of them. */
orth_status orth_info_run(const char *path, bool verify, MPI_Comm world, bool speaks,
                          struct json_t *json);

/** A file of activations; `stats` reads all rows. */
orth_status orth_info_activations(const char *path, const char *dataset, bool stats, bool verify,
                                  MPI_Comm world, bool speaks, struct json_t *json);

/** A folder of another tool (foreign/sae_folder.h). */
orth_status orth_info_folder(const char *path, bool verify, MPI_Comm world, bool speaks,
                             struct json_t *json);

/** A file of tensors (foreign/tensor_file.h). */
orth_status orth_info_tensors(const char *path, bool verify, MPI_Comm world, bool speaks,
                              struct json_t *json);

/** Print a line "label  value" of a table on stdout; silent but on rank 0. */
void orth_info_line(bool speaks, const char *label, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
