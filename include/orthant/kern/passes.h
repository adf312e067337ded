#ifndef ORTHANT_KERN_PASSES_H
#define ORTHANT_KERN_PASSES_H

#include <stdint.h>

/**
 * Passes over one row of `d` floats with double arithmetic. Sums go in eight interleaved lanes,
 * element j to lane j % 8 in ascending order, added as ((0+4) + (2+6)) + ((1+5) + (3+7)); nothing
 * is fused, so that every kernel set gives the same bits. Chosen with the set (kern/table.h). Rows
 * need no alignment and do not overlap where one is written.
 */
typedef struct orth_passes {
    /** sum a_j b_j */
    double (*dot)(const float *a, const float *b, int64_t d);

    /** sum a_j */
    double (*sum)(const float *a, int64_t d);

    /** sum (a_j - mean)^2 */
    double (*spread)(const float *a, double mean, int64_t d);

    /** row_j = (row_j - mean) factor */
    void (*standardise)(double mean, double factor, float *row, int64_t d);

    /** sum (a_j - centre_j)^2 */
    double (*distance)(const float *a, const double *centre, int64_t d);

    /** w_j = factor w_j; returns sum g_j w_j of the new w. */
    double (*scale_dot)(double factor, float *w, const float *g, int64_t d);

    /** g_j = g_j - along w_j; returns sum g_j^2 of the new g. */
    double (*project)(double along, const float *w, float *g, int64_t d);

    /** row_j = row_j - x_j, in float; returns sum row_j^2 of the new row. */
    double (*subtract)(const float *x, float *row, int64_t d);

    /** row_j = row_j + x_j, in float; returns sum row_j^2 of the new row. */
    double (*add)(const float *x, float *row, int64_t d);

    /** sum_j = sum_j + factor row_j */
    void (*accumulate)(double factor, const float *row, double *sum, int64_t d);

    /** Of n entries e with f = value_e and s = f norm[index_e], lane by lane as elements of a row:
     * sums = {sum f^2, sum s^2, sum s}. */
    void (*entries)(int64_t n, const uint32_t *index, const float *value, const double *norm,
                    double sums[3]);

    /** row_j = factor row_j, then sum_j = sum_j + row_j */
    void (*scale_accumulate)(double factor, float *row, double *sum, int64_t d);
} orth_passes;

#endif
