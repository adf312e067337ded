#ifndef ORTHANT_KERN_SCATTER_H
#define ORTHANT_KERN_SCATTER_H

#include <orthant/base/status.h>

#include <stdint.h>

/** Buffers of orth_scatter_panel, for each thread two tiles. */
typedef struct orth_scatter_tiles {
    double *tiles;
} orth_scatter_tiles;

/** Allocate for the threads there are. Local. */
orth_status orth_scatter_create(orth_scatter_tiles *out);
void orth_scatter_free(orth_scatter_tiles *tiles);

/**
 * Columns [first, first + count) of the scatter matrix of the rows of x (n_row, d), in double:
 * panel[c d + i] = sum_r (f_r (x_r,i - m_i)) (f_r (x_r,first+c - m_first+c)), i >= first (what is
 * above may be left as it was); `centre` m (d) NULL: 0; `factor` f (n_row) NULL: 1; panel
 * (count, d). Without rows zeros. The order of additions is the library's, and does not depend on
 * the number of threads. Not collective.
 */
void orth_scatter_panel(const float *x, int64_t n_row, int64_t d, const double *centre,
                        const double *factor, int64_t first, int64_t count,
                        const orth_scatter_tiles *tiles, double *panel);

/** sums_j += sum_r f_r (x_r,j - m_j), row after row; centre and factor as above. Not collective. */
void orth_scatter_sums(const float *x, int64_t n_row, int64_t d, const double *centre,
                       const double *factor, double *sums);

#endif
