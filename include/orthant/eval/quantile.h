#ifndef ORTHANT_EVAL_QUANTILE_H
#define ORTHANT_EVAL_QUANTILE_H

#include <orthant/base/status.h>

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>

/** Counts of values in bins [edges[i], edges[i + 1]), the last one closed. Owned. */
typedef struct orth_histogram {
    int64_t bins;
    double *edges;   ///< (bins + 1)
    int64_t *counts; ///< (bins)
} orth_histogram;

/** `bins` bins of equal width from `first` on; 0 bins are allowed. Local. */
orth_status orth_histogram_create(double first, double width, int64_t bins, orth_histogram *out);

/** Count a value; what lies outside counts in the first or last bin. */
void orth_histogram_add(orth_histogram *histogram, double value);
void orth_histogram_free(orth_histogram *histogram);

/** Quantiles are numpy's: linear between the values of rank floor and ceil of share (n - 1). */

/** Non-negative integers, counted: exact, in memory that depends on the largest of them alone. */
typedef struct orth_counts {
    int64_t *count; ///< (size) of each integer
    int64_t size;   ///< the largest one and one more
    int64_t capacity;
} orth_counts;

/** Count `value` >= 0. Local. */
orth_status orth_counts_add(orth_counts *counts, int64_t value);

/** The counts of all ranks, on all ranks. Collective; a failure ends the run. */
orth_status orth_counts_merge(orth_counts *counts, MPI_Comm comm);

/** Of merged counts with at least one value: a quantile. */
double orth_counts_quantile(const orth_counts *counts, double share);
void orth_counts_free(orth_counts *counts);

/**
 * Non-negative doubles of which quantiles are wanted, spread over the ranks. Each is kept (8 bytes)
 * when the table is small enough, and quantiles are exact; otherwise they are counted in bins whose
 * width is 2^-12 of the value, 8 MiB a rank, and quantiles are exact to that.
 */
typedef struct orth_values {
    double *value; ///< (capacity) NULL when binned
    int64_t *bin;  ///< NULL when kept
    int64_t count;
    int64_t capacity;
} orth_values;

/** For at most `capacity` values on this rank; `keep` says whether they are kept. Local. */
orth_status orth_values_create(int64_t capacity, bool keep, orth_values *out);
void orth_values_add(orth_values *values, double value);

/** The quantiles at `n_share` shares of the values of all ranks (NaN when there are none), equal on
 * all ranks. Collective; a failure ends the run. */
orth_status orth_values_quantiles(const orth_values *values, const double *shares, int n_share,
                                  MPI_Comm comm, double *out);
void orth_values_free(orth_values *values);

#endif
