#include "outer_sum.h"

#include "alone.h"

#include <orthant/base/memory.h>
#include <orthant/par/agree.h>
#include <orthant/par/alive.h>
#include <orthant/par/collective.h>

#include <string.h>

/* Entries of a panel: 16 MiB of doubles. */
enum { PANEL = 1 << 21 };

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static orth_status allocate(orth_outer_sum *sum)
{
    const orth_block_grid *grid = sum->grid;
    int64_t d = grid->n, panel = sum->width * d;
    ORTH_TRY(ORTH_ALLOCATE(orth_block_share(grid), "share of a d x d matrix", &sum->share));
    ORTH_TRY(ORTH_ALLOCATE(panel, "panel of a d x d matrix", &sum->panel));
    ORTH_TRY(ORTH_ALLOCATE(panel, "panel of a d x d matrix", &sum->sent));
    /* What a rank owns of a panel, from every rank. */
    int64_t round = (int64_t)grid->block * grid->columns;
    int64_t columns = grid->row < 0 ? 0 : (sum->width / round + 2) * grid->block;
    columns = smaller(columns, grid->own_columns);
    ORTH_TRY(ORTH_ALLOCATE(columns * grid->own_rows * grid->ranks, "panel of a d x d matrix",
                           &sum->received));
    ORTH_TRY(ORTH_ALLOCATE(grid->ranks, "counts", &sum->to));
    ORTH_TRY(ORTH_ALLOCATE(grid->ranks, "counts", &sum->from));
    return orth_scatter_create(&sum->tiles);
}

orth_status orth_outer_sum_create(const orth_block_grid *grid, orth_outer_sum *out)
{
    orth_outer_sum sum = {.grid = grid};
    sum.width = smaller(PANEL / grid->n + 1, grid->n);
    orth_status status = orth_agree(grid->comm, allocate(&sum));
    if (status == ORTH_OK)
        *out = sum;
    else
        orth_outer_sum_free(&sum);
    return status;
}

void orth_outer_sum_end_panels(orth_outer_sum *sum)
{
    orth_free(sum->panel);
    orth_free(sum->sent);
    orth_free(sum->received);
    orth_free(sum->to);
    orth_free(sum->from);
    orth_scatter_free(&sum->tiles);
    sum->panel = sum->sent = sum->received = NULL;
    sum->to = sum->from = NULL;
}

void orth_outer_sum_free(orth_outer_sum *sum)
{
    orth_outer_sum_end_panels(sum);
    orth_free(sum->share);
    memset(sum, 0, sizeof *sum);
}

/* The parts of the panel of columns [first, end) that grid place (row, column) owns: local columns
 * and the local rows from the panel's first column on. */
typedef struct part {
    orth_range columns;
    orth_range rows;
} part;

static part part_of(const orth_block_grid *grid, int64_t first, int64_t end, int row, int column)
{
    return (part){
        .columns = {orth_block_count(grid, first, column, grid->columns),
                    orth_block_count(grid, end, column, grid->columns)},
        .rows = {orth_block_count(grid, first, row, grid->rows),
                 orth_block_count(grid, grid->n, row, grid->rows)},
    };
}

/* Pack the part of one owner behind what is packed; returns its entries. */
static int64_t pack(const orth_outer_sum *sum, int64_t first, int64_t end, int owner, double *out)
{
    const orth_block_grid *grid = sum->grid;
    int row = owner / grid->columns, column = owner % grid->columns;
    int64_t count = 0, d = grid->n;
    part p = part_of(grid, first, end, row, column);
    for (int64_t c = p.columns.begin; c < p.columns.end; c++) {
        const double *from =
            sum->panel + (orth_block_global(grid, c, column, grid->columns) - first) * d;
        for (int64_t r = p.rows.begin; r < p.rows.end; r++)
            out[count++] = from[orth_block_global(grid, r, row, grid->rows)];
    }
    return count;
}

static void unpack(orth_outer_sum *sum, const part *p)
{
    const orth_block_grid *grid = sum->grid;
    const double *from = sum->received;
    for (int rank = 0; rank < grid->ranks; rank++)
        for (int64_t c = p->columns.begin; c < p->columns.end; c++) {
            double *to = sum->share + c * grid->own_rows + p->rows.begin;
            int64_t count = orth_range_size(p->rows);
            for (int64_t r = 0; r < count; r++)
                to[r] += from[r];
            from += count;
        }
}

/* Bring the panel of columns [first, end) to its owners. */
static orth_status deliver(orth_outer_sum *sum, int64_t first, int64_t end)
{
    const orth_block_grid *grid = sum->grid;
    int64_t packed = 0, own = 0;
    part p = {0};
    if (grid->row >= 0) {
        p = part_of(grid, first, end, grid->row, grid->column);
        own = orth_range_size(p.columns) * orth_range_size(p.rows);
    }
    for (int rank = 0; rank < grid->ranks; rank++) {
        bool owns = rank < grid->rows * grid->columns;
        sum->to[rank] = owns ? pack(sum, first, end, rank, sum->sent + packed) : 0;
        packed += sum->to[rank];
        sum->from[rank] = own;
    }
    ORTH_TRY(orth_alone(grid->comm, orth_alltoall(sum->sent, sum->to, sum->received, sum->from,
                                                  sizeof *sum->sent, grid->comm)));
    unpack(sum, &p);
    return ORTH_OK;
}

orth_status orth_outer_sum_add(orth_outer_sum *sum, const float *x, int64_t n_row,
                               const double *centre, const double *factor)
{
    int64_t d = sum->grid->n;
    for (int64_t first = 0; first < d; first += sum->width) {
        int64_t end = smaller(first + sum->width, d);
        orth_scatter_panel(x, n_row, d, centre, factor, first, end - first, &sum->tiles,
                           sum->panel);
        ORTH_TRY(deliver(sum, first, end));
        orth_alive();
    }
    return ORTH_OK;
}

void orth_outer_sum_finish(orth_outer_sum *sum, double weight, const double *s, double scale)
{
    const orth_block_grid *grid = sum->grid;
    for (int64_t c = 0; c < grid->own_columns; c++) {
        double along = weight * s[orth_block_global(grid, c, grid->column, grid->columns)];
        double *column = sum->share + c * grid->own_rows;
        for (int64_t r = 0; r < grid->own_rows; r++)
            column[r] =
                scale * (column[r] + along * s[orth_block_global(grid, r, grid->row, grid->rows)]);
    }
}
