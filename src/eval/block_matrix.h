#ifndef ORTHANT_SRC_EVAL_BLOCK_MATRIX_H
#define ORTHANT_SRC_EVAL_BLOCK_MATRIX_H

#include "scalapack.h"

#include <orthant/base/status.h>
#include <orthant/par/partition.h>

#include <stdbool.h>
#include <stdint.h>

/**
 * How a square matrix lies over the ranks: ScaLAPACK's block-cyclic layout on a grid of
 * rows x columns ranks, near to square. Ranks beyond it hold nothing, and take part in all
 * functions here; so do ranks of a matrix with fewer blocks than ranks.
 */
typedef struct orth_block_grid {
    MPI_Comm comm; ///< every rank; a duplicate, for BLACS too
    int context;   ///< BLACS's, -1 on ranks beyond the grid
    int ranks, rank;
    int n;                     ///< of the matrix
    int block;                 ///< side of a block
    int rows, columns;         ///< of the grid; rank = row * columns + column
    int row, column;           ///< of this rank, -1 beyond the grid
    int own_rows, own_columns; ///< of the matrix, on this rank
    int desc[DESC_LENGTH];     ///< of ScaLAPACK, for matrices of this layout
} orth_block_grid;

/** Lay out n x n matrices over all ranks of `comm`. ORTH_ERR_ENVIRONMENT when a rank's share is
 * beyond what ScaLAPACK counts. Collective; agreed. End with orth_block_grid_free. */
orth_status orth_block_grid_create(int64_t n, MPI_Comm comm, orth_block_grid *out);

/** Free. A zeroed struct is allowed. Collective. */
void orth_block_grid_free(orth_block_grid *grid);

/** Entries of this rank's share: own_rows x own_columns, column-major. */
int64_t orth_block_share(const orth_block_grid *grid);

/** The global row (or column) of local one `local` on grid row (or column) `place` of `places`. */
static inline int64_t orth_block_global(const orth_block_grid *grid, int64_t local, int place,
                                        int places)
{
    int64_t block = grid->block;
    return (local / block * places + place) * block + local % block;
}

/** How many of the global rows (or columns) below `end` lie on grid row (or column) `place` of
 * `places`. */
int64_t orth_block_count(const orth_block_grid *grid, int64_t end, int place, int places);

/**
 * Eigenvalues, ascending, and vectors of a symmetric matrix of which the lower triangle is given:
 * pdsyevd. `share` is destroyed; `values` (n) is filled on all ranks; column j of `vectors` (a
 * share) belongs to values[j]. Collective; agreed.
 */
orth_status orth_block_eigen(const orth_block_grid *grid, double *share, double *values,
                             double *vectors);

/**
 * energies[j] = v_j . (S v_j) for the columns v_j of `vectors`, S symmetric with its lower triangle
 * in `share`; energies (n) on all ranks, added in rank order. Collective; agreed.
 */
orth_status orth_block_energies(const orth_block_grid *grid, const double *share,
                                const double *vectors, double *energies);

/** Sum of the squares of all entries of a symmetric matrix whose lower triangle is in `share`: its
 * squared Frobenius norm. On all ranks; in rank order. Collective. */
orth_status orth_block_square_sum(const orth_block_grid *grid, const double *share, double *out);

#endif
