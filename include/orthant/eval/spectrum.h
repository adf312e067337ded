#ifndef ORTHANT_EVAL_SPECTRUM_H
#define ORTHANT_EVAL_SPECTRUM_H

#include <orthant/sae/model.h>

/** The eigenvalues of a symmetric positive semidefinite d x d matrix, and what they say. Equal on
 * all ranks. */
typedef struct orth_spectrum {
    int64_t d;
    double *eigenvalues;   ///< (d) descending; rounding may leave the last ones below 0. Owned
    double trace;          ///< their sum
    int64_t rank;          ///< those above d 2^-52 times the largest
    double condition;      ///< largest / smallest; INFINITY when rank < d
    double effective_rank; ///< exp(-sum p log p), p = eigenvalue / trace (Roy and Vetterli 2007)
    double participation;  ///< participation ratio (sum p)^2 / sum p^2
} orth_spectrum;

/** Fill in everything but `d` and `eigenvalues` from these. NaN where the trace is 0. Local. */
void orth_spectrum_summarise(orth_spectrum *spectrum);

/** Free. A zeroed struct is allowed. */
void orth_spectrum_free(orth_spectrum *spectrum);

/**
 * The spectrum of the frame operator W_dec^T W_dec (d x d), W_dec as stored. A tight frame has d
 * equal eigenvalues, n / d for unit rows. n d^2 multiplications and an eigenvalue problem
 * (ScaLAPACK's pdsyevd, about 10 d^3), both spread over the ranks, in double; a rank holds about
 * 4 d^2 / ranks doubles and 48 MiB. Equal on all ranks; on different grids to rounding.
 * ORTH_ERR_CORRUPT when a weight is not finite. Collective over the grid; agreed (a rank that fails
 * alone in the middle ends the job). End with orth_spectrum_free.
 */
orth_status orth_frame_spectrum(const orth_sae *sae, orth_spectrum *out);

#endif
