#include "alone.h"
#include "block_matrix.h"

#include <orthant/base/memory.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>

#include <limits.h>
#include <math.h>

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/*
 * Doubles of workspace. What pdsyevd asks for covers neither the sorting of its divide and conquer
 * (pdlasrt: rows (block + columns)) nor the transformation back (pdormtr) where blocks are large
 * beside a rank's share, and its answer is a float where it passes through single precision.
 */
static int64_t workspace(const orth_block_grid *grid, double asked)
{
    int64_t n = grid->n, block = grid->block;
    int64_t rows = orth_block_count(grid, n, 0, grid->rows);
    int64_t columns = orth_block_count(grid, n, 0, grid->columns);
    int64_t conquer = 6 * n + 2 * rows * columns, sort = rows * (block + columns);
    int64_t reduce = 3 * n + larger(block * (rows + 1), 3 * block);
    int64_t back = larger(block * block, (rows + columns) * block) + block * block;
    int64_t most = larger(larger(conquer, sort), larger(reduce, back)) + 8 * n + 64;
    return larger(most, (int64_t)ceil(asked * (1.0 + 0x1p-20)) + 64);
}

static orth_status check_info(int info, const char *what)
{
    if (info < 0)
        return orth_fail(ORTH_ERR_INTERNAL,
                         "ScaLAPACK: pdsyevd %s: argument %d is wrong; report it", what, -info);
    if (info > 0)
        return orth_fail(ORTH_ERR_INTERNAL,
                         "ScaLAPACK: pdsyevd %s: an eigenvalue did not converge (%d); report it "
                         "with the matrix",
                         what, info);
    return ORTH_OK;
}

static int decompose(const orth_block_grid *grid, double *share, double *values, double *vectors,
                     double *work, int lwork, int *iwork, int liwork)
{
    const int one = 1;
    int info = 0;
    orth_wait_begin();
    pdsyevd_("V", "L", &grid->n, share, &one, &one, grid->desc, values, vectors, &one, &one,
             grid->desc, work, &lwork, iwork, &liwork, &info, 1, 1);
    orth_wait_end(0);
    return info;
}

static orth_status allocate_workspace(const orth_block_grid *grid, double *share, double *values,
                                      double *vectors, double **work, int *lwork, int **iwork,
                                      int *liwork)
{
    double asked = 0.0;
    int whole = 0;
    int info = decompose(grid, share, values, vectors, &asked, -1, &whole, -1);
    ORTH_TRY(check_info(info, "workspace query"));
    int64_t doubles = workspace(grid, asked);
    int64_t integers = larger(whole, 7 * (int64_t)grid->n + 8 * grid->columns + 2) + 64;
    if (doubles > INT_MAX || integers > INT_MAX)
        return orth_fail(ORTH_ERR_ENVIRONMENT,
                         "ScaLAPACK: a rank's workspace for %d x %d is more than it counts; use "
                         "more ranks",
                         grid->n, grid->n);
    *lwork = (int)doubles;
    *liwork = (int)integers;
    ORTH_TRY(ORTH_ALLOCATE(doubles, "workspace of the eigenvalues", work));
    return ORTH_ALLOCATE(integers, "workspace of the eigenvalues", iwork);
}

orth_status orth_block_eigen(const orth_block_grid *grid, double *share, double *values,
                             double *vectors)
{
    double *work = NULL;
    int *iwork = NULL, lwork = 0, liwork = 0;
    orth_status status = ORTH_OK;
    if (grid->row >= 0)
        status = allocate_workspace(grid, share, values, vectors, &work, &lwork, &iwork, &liwork);
    status = orth_agree(grid->comm, status);
    if (status == ORTH_OK && grid->row >= 0)
        status = check_info(decompose(grid, share, values, vectors, work, lwork, iwork, liwork),
                            "of a matrix");
    orth_free(iwork);
    orth_free(work);
    ORTH_TRY(orth_agree(grid->comm, status));
    return orth_alone(grid->comm, orth_broadcast(values, grid->n, MPI_DOUBLE, 0, grid->comm));
}

/* The own entries of vectors and of the product, column by column. */
static void add_energies(const orth_block_grid *grid, const double *vectors, const double *product,
                         double *energies)
{
    for (int64_t c = 0; c < grid->own_columns; c++) {
        double sum = 0.0;
        for (int64_t r = 0; r < grid->own_rows; r++)
            sum += vectors[c * grid->own_rows + r] * product[c * grid->own_rows + r];
        energies[orth_block_global(grid, c, grid->column, grid->columns)] = sum;
    }
}

orth_status orth_block_energies(const orth_block_grid *grid, const double *share,
                                const double *vectors, double *energies)
{
    const double alpha = 1.0, beta = 0.0;
    const int one = 1;
    double *product = NULL;
    orth_status status = ORTH_ALLOCATE(orth_block_share(grid), "projections", &product);
    ORTH_TRY(orth_agree(grid->comm, status));
    for (int64_t j = 0; j < grid->n; j++)
        energies[j] = 0.0;
    if (grid->row >= 0) {
        orth_wait_begin();
        pdsymm_("L", "L", &grid->n, &grid->n, &alpha, share, &one, &one, grid->desc, vectors, &one,
                &one, grid->desc, &beta, product, &one, &one, grid->desc, 1, 1);
        orth_wait_end(0);
        add_energies(grid, vectors, product, energies);
    }
    orth_free(product);
    return orth_alone(grid->comm, orth_sum_f64(energies, grid->n, grid->comm));
}
