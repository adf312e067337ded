#ifndef ORTHANT_SAE_SAMPLE_H
#define ORTHANT_SAE_SAMPLE_H

#include <orthant/base/status.h>
#include <orthant/par/partition.h>

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>

/** Rows of the sample at most; it serves input.norm scale, loss.mse_scale auto, the geometric
 * median. */
enum { ORTH_SAMPLE_ROWS = 32768, ORTH_SAMPLE_CHUNK = 256 };

/**
 * The first rows of epoch 0's order, spread over the ranks in chunks of ORTH_SAMPLE_CHUNK rows.
 * Sums over it are sums of chunk sums in the order of the chunks, so that they do not depend on the
 * number of ranks or threads.
 */
typedef struct orth_sample {
    MPI_Comm comm; ///< not owned
    int64_t total; ///< rows of the whole sample
    int64_t d_model;
    orth_range own; ///< rows of this rank
    float *x;       ///< (own rows, d_model)
    bool *valid;    ///< (own rows) false: not finite, left out
    int64_t count;  ///< valid rows of the whole sample
} orth_sample;

/** The rows of a sample of `total` rows that rank `rank` of `size` holds. Pure arithmetic. */
orth_range orth_sample_rows(int64_t total, int size, int rank);

/** mean (d_model) of the rows. Collective; agreed. */
orth_status orth_sample_mean(const orth_sample *sample, double *mean);

/** Mean over rows of |x - centre|^2; centre (d_model) or NULL for 0. Collective; agreed. */
orth_status orth_sample_mean_square(const orth_sample *sample, const double *centre, double *out);

/**
 * The geometric median (d_model) by Weiszfeld's iteration in double: from the mean, weights
 * 1 / max(distance, 1e-6), up to 100 iterations or until the objective stops changing (Gao et al.
 * 2024, appendix A). Collective; agreed.
 */
orth_status orth_sample_median(const orth_sample *sample, double *median);

#endif
