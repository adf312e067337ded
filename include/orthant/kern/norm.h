#ifndef ORTHANT_KERN_NORM_H
#define ORTHANT_KERN_NORM_H

#include <stdint.h>

/** sum_j a_j b_j in double, in eight interleaved sums added in a fixed order: the same bits on
 * every machine, whatever the instruction set. */
double orth_dot_f64(const float *a, const float *b, int64_t d);

/** sum over rows of x (n_row, d) of each column, row after row, in double: sums (d). Threads share
 * the columns, so that the result does not depend on their number. `add` goes on from what is in
 * sums. */
void orth_column_sums(const float *x, int64_t n_row, int64_t d, int add, double *sums);

/** Row i of x (n_row, d) times factor[i], and sums (d) plus the columns of the result, row after
 * row, in one pass. Threads share the columns, as in orth_column_sums. */
void orth_scale_rows(const double *factor, float *x, int64_t n_row, int64_t d, double *sums);

#endif
