#ifndef ORTHANT_EVAL_ZF_H
#define ORTHANT_EVAL_ZF_H

#include <orthant/base/status.h>

#include <mpi.h>
#include <stdint.h>

/** The points of a ZF plot are at most so many. */
enum { ORTH_ZF_MOST = 20000 };

/**
 * Points (|z|, |f~|) of a table's tokens (Lee et al. 2025): all of them, or ORTH_ZF_MOST rows
 * evenly spaced, row floor(i rows / ORTH_ZF_MOST). In the order of the table.
 */
typedef struct orth_zf {
    int64_t rows;  ///< of the table
    int64_t count; ///< points
    double *z;     ///< (count)
    double *f;     ///< (count)
} orth_zf;

/** For a table of `rows` rows. Local. */
orth_status orth_zf_create(int64_t rows, orth_zf *out);

/** Take the token of global row `row` if it is one of the points. Local. */
void orth_zf_add(orth_zf *zf, int64_t row, double z, double f);

/** How many values of eps (n - 1) a ZF plot has bounds for, and these: 1/4, 1/2, 1. */
enum { ORTH_ZF_BOUNDS = 3 };
extern const double orth_zf_eps[ORTH_ZF_BOUNDS];

/** Tokens on either side of the lines of a ZF plot. */
typedef struct orth_zf_counts {
    int64_t over;                  ///< |f~| > |z|: over-activated
    int64_t under;                 ///< |f~| < |z|: under-activated
    int64_t above[ORTH_ZF_BOUNDS]; ///< |f~| > |z| / sqrt(1 - eps (n - 1)); none where that is 1
    int64_t below[ORTH_ZF_BOUNDS]; ///< |f~| < |z| / sqrt(1 + eps (n - 1))
} orth_zf_counts;

/**
 * Count a token, from the squares |z|^2 and |f~|^2. A dictionary whose unit rows have products of
 * at most eps makes abs(|x_hat|^2 - |f~|^2) <= eps (n - 1) |f~|^2, hence the bounds (Lee et al.
 * 2025, section 4). Local.
 */
void orth_zf_count(orth_zf_counts *counts, double z_square, double f_square);

/** The bounds at |z| = 1: *lower = 1 / sqrt(1 + eps), *upper = 1 / sqrt(1 - eps), infinite at 1. */
void orth_zf_bounds(double eps, double *lower, double *upper);

/** The points of all ranks on all ranks; rows that no rank added are left out. Collective; a
 * failure ends the run. */
orth_status orth_zf_finish(orth_zf *zf, MPI_Comm comm);
void orth_zf_free(orth_zf *zf);

#endif
