#include "block_matrix.h"
#include "alone.h"

#include <orthant/base/memory.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/par/end_job.h>

#include <limits.h>
#include <math.h>
#include <string.h>

/* The side of a block: as ScaLAPACK's kernels like it, smaller where every rank would not get two
 * blocks each way. */
enum { BLOCK = 64 };

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* BLACS looks at no status: what fails inside it has to end the job. */
static void end_on_failure(MPI_Comm *comm, int *code, ...)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    (void)comm;
    MPI_Error_string(*code, text, &length);
    orth_end_job(MPI_COMM_WORLD,
                 orth_fail(ORTH_ERR_ENVIRONMENT,
                           "MPI inside ScaLAPACK: %s; see whether a rank or a link died", text));
}

static orth_status own_communicator(MPI_Comm comm, orth_block_grid *grid)
{
    MPI_Errhandler handler;
    ORTH_MPI(MPI_Comm_dup(comm, &grid->comm));
    ORTH_MPI(MPI_Comm_create_errhandler(end_on_failure, &handler));
    ORTH_MPI(MPI_Comm_set_errhandler(grid->comm, handler));
    ORTH_MPI(MPI_Errhandler_free(&handler));
    ORTH_MPI(MPI_Comm_size(grid->comm, &grid->ranks));
    ORTH_MPI(MPI_Comm_rank(grid->comm, &grid->rank));
    return ORTH_OK;
}

/* The grid nearest to a square that leaves out few ranks, no larger than the matrix. */
static void choose_shape(orth_block_grid *grid)
{
    int side = (int)smaller((int64_t)sqrt((double)grid->ranks), grid->n);
    grid->rows = larger(side, 1) > 1 ? side : 1;
    grid->columns = (int)smaller(grid->ranks / grid->rows, grid->n);
    grid->block = (int)smaller(BLOCK, larger(grid->n / (2 * grid->columns), 1));
}

static void make_context(orth_block_grid *grid)
{
    int map[grid->ranks], handle = Csys2blacs_handle(grid->comm);
    for (int r = 0; r < grid->rows; r++)
        for (int c = 0; c < grid->columns; c++)
            map[c * grid->rows + r] = r * grid->columns + c;
    grid->context = handle;
    Cblacs_gridmap(&grid->context, map, grid->rows, grid->rows, grid->columns);
    Cfree_blacs_system_handle(handle);
    grid->row = grid->column = -1;
    if (grid->rank < grid->rows * grid->columns) {
        int rows, columns;
        Cblacs_gridinfo(grid->context, &rows, &columns, &grid->row, &grid->column);
    } else {
        grid->context = -1;
    }
}

static orth_status describe(orth_block_grid *grid)
{
    if (grid->row < 0)
        return ORTH_OK;
    grid->own_rows = (int)orth_block_count(grid, grid->n, grid->row, grid->rows);
    grid->own_columns = (int)orth_block_count(grid, grid->n, grid->column, grid->columns);
    int zero = 0, info, leading = (int)larger(grid->own_rows, 1);
    descinit_(grid->desc, &grid->n, &grid->n, &grid->block, &grid->block, &zero, &zero,
              &grid->context, &leading, &info);
    if (info != 0)
        return orth_fail(ORTH_ERR_INTERNAL,
                         "ScaLAPACK: descinit gave %d for a matrix of %d rows "
                         "over %d x %d ranks; report it",
                         info, grid->n, grid->rows, grid->columns);
    return ORTH_OK;
}

orth_status orth_block_grid_create(int64_t n, MPI_Comm comm, orth_block_grid *out)
{
    orth_block_grid grid = {.comm = MPI_COMM_NULL, .context = -1, .row = -1, .column = -1};
    ORTH_TRY(orth_alone(comm, own_communicator(comm, &grid)));
    grid.n = (int)smaller(n, INT_MAX);
    choose_shape(&grid);
    /* The largest thing counted in an int is pdsyevd's workspace: two shares and some rows. */
    int64_t rows = grid.n / grid.rows + 2 * BLOCK + 16;
    int64_t most = rows * (grid.n / grid.columns + 2 * BLOCK + 16);
    if (most > INT_MAX / 3) {
        MPI_Comm_free(&grid.comm);
        return orth_fail(ORTH_ERR_ENVIRONMENT,
                         "spectrum of %lld x %lld: a rank's share of it is more than ScaLAPACK "
                         "counts; use more ranks",
                         (long long)n, (long long)n);
    }
    make_context(&grid);
    orth_status status = orth_agree(grid.comm, describe(&grid));
    if (status == ORTH_OK)
        *out = grid;
    else
        orth_block_grid_free(&grid);
    return status;
}

void orth_block_grid_free(orth_block_grid *grid)
{
    if (grid->ranks == 0)
        return;
    if (grid->context >= 0)
        Cblacs_gridexit(grid->context);
    MPI_Comm_free(&grid->comm);
    memset(grid, 0, sizeof *grid);
}

int64_t orth_block_share(const orth_block_grid *grid)
{
    return (int64_t)grid->own_rows * grid->own_columns;
}

int64_t orth_block_count(const orth_block_grid *grid, int64_t end, int place, int places)
{
    int64_t block = grid->block, round = block * places;
    int64_t rest = end % round - place * block;
    return end / round * block + larger(0, smaller(rest, block));
}

orth_status orth_block_square_sum(const orth_block_grid *grid, const double *share, double *out)
{
    double sum = 0.0;
    for (int64_t c = 0; c < grid->own_columns; c++) {
        int64_t column = orth_block_global(grid, c, grid->column, grid->columns);
        for (int64_t r = 0; r < grid->own_rows; r++) {
            int64_t row = orth_block_global(grid, r, grid->row, grid->rows);
            double value = share[c * grid->own_rows + r];
            if (row >= column)
                sum += (row > column ? 2.0 : 1.0) * value * value;
        }
    }
    ORTH_TRY(orth_alone(grid->comm, orth_sum_f64(&sum, 1, grid->comm)));
    *out = sum;
    return ORTH_OK;
}
