#include "row_sums.h"

#include "alone.h"
#include "frame.h"

#include <orthant/base/memory.h>
#include <orthant/kern/norm.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>

#include <math.h>

typedef struct summing {
    const orth_sae *sae;
    const float *rows; ///< (n_row, d) of this rank
    int64_t n_row;
    double *factor; ///< (n_row) 1 / |w_i|, 0 for a row of zeros
    double *sum;    ///< (d)
} summing;

/* Over all rows: of |w|^2 and |w|^4. */
typedef struct powers {
    double second, fourth;
} powers;

static orth_status take_norms(summing *s, powers *all, orth_row_sums *out)
{
    double extremes[2] = {-INFINITY, -INFINITY}; /* of -|w| and |w| */
    double sums[4] = {0.0};
    for (int64_t i = 0; i < s->n_row; i++) {
        const float *row = s->rows + i * s->sae->d_model;
        double square = orth_dot_f64(row, row, s->sae->d_model), norm = sqrt(square);
        s->factor[i] = square > 0.0 ? 1.0 / norm : 0.0;
        sums[0] += norm;
        sums[1] += square;
        sums[2] += square * square;
        sums[3] += square > 0.0 ? 0.0 : 1.0;
        extremes[0] = fmax(extremes[0], -norm);
        extremes[1] = fmax(extremes[1], norm);
    }
    ORTH_TRY(orth_alone(s->sae->grid->world, orth_sum_f64(sums, 4, s->sae->grid->world)));
    ORTH_TRY(orth_alone(s->sae->grid->world,
                        orth_allreduce(extremes, 2, MPI_DOUBLE, MPI_MAX, s->sae->grid->world)));
    *all = (powers){sums[1], sums[2]};
    out->norm_min = -extremes[0];
    out->norm_max = extremes[1];
    out->norm_mean = sums[0] / (double)s->sae->recipe.n_latent;
    out->zero_rows = (int64_t)sums[3];
    return ORTH_OK;
}

/* Mean over the pairs of distinct rows: (total - diagonal) / (n (n - 1)). */
static double mean_off(const orth_sae *sae, double total, double diagonal)
{
    double n = (double)sae->recipe.n_latent;
    return n > 1.0 ? (total - diagonal) / (n * (n - 1.0)) : 0.0;
}

static orth_status mean_product(summing *s, const double *factor, double diagonal, double *out)
{
    int64_t d = s->sae->d_model;
    double square = 0.0;
    for (int64_t j = 0; j < d; j++)
        s->sum[j] = 0.0;
    orth_scatter_sums(s->rows, s->n_row, d, NULL, factor, s->sum);
    ORTH_TRY(orth_alone(s->sae->grid->world, orth_sum_f64(s->sum, d, s->sae->grid->world)));
    for (int64_t j = 0; j < d; j++)
        square += s->sum[j] * s->sum[j];
    *out = mean_off(s->sae, square, diagonal);
    return ORTH_OK;
}

static orth_status mean_square(const summing *s, const orth_block_grid *grid, const double *factor,
                               double diagonal, double *out)
{
    orth_outer_sum frame = {0};
    double total = 0.0;
    orth_status status = orth_frame_create(s->sae, grid, factor, &frame);
    if (status == ORTH_OK)
        status = orth_block_square_sum(grid, frame.share, &total);
    orth_outer_sum_free(&frame);
    *out = fmax(mean_off(s->sae, total, diagonal), 0.0);
    return status;
}

static orth_status measure(summing *s, const orth_block_grid *grid, orth_row_sums *out)
{
    powers all;
    ORTH_TRY(take_norms(s, &all, out));
    double unit = (double)(s->sae->recipe.n_latent - out->zero_rows);
    ORTH_TRY(mean_product(s, NULL, all.second, &out->mean));
    ORTH_TRY(mean_product(s, s->factor, unit, &out->mean_unit));
    if (!grid)
        return ORTH_OK;
    ORTH_TRY(mean_square(s, grid, NULL, all.fourth, &out->mean_square));
    return mean_square(s, grid, s->factor, unit, &out->mean_square_unit);
}

orth_status orth_row_sums_measure(const orth_sae *sae, bool squares, orth_row_sums *out)
{
    summing s = {.sae = sae};
    orth_block_grid grid = {0};
    orth_row_sums sums = {0};
    s.rows = orth_frame_rows(sae, &s.n_row);
    orth_status status = ORTH_ALLOCATE(s.n_row, "lengths of latents", &s.factor);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(sae->d_model, "sum of latents", &s.sum);
    status = orth_agree(sae->grid->world, status);
    if (status == ORTH_OK && squares)
        status = orth_block_grid_create(sae->d_model, sae->grid->world, &grid);
    if (status == ORTH_OK)
        status = measure(&s, squares ? &grid : NULL, &sums);
    if (status == ORTH_OK)
        *out = sums;
    orth_block_grid_free(&grid);
    orth_free(s.factor);
    orth_free(s.sum);
    return status;
}
