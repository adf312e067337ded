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

/** The points of all ranks on all ranks; rows that no rank added are left out. Collective; a
 * failure ends the run. */
orth_status orth_zf_finish(orth_zf *zf, MPI_Comm comm);
void orth_zf_free(orth_zf *zf);

#endif
