#include "info.h"

#include <orthant/base/memory.h>
#include <orthant/eval/quantile.h>
#include <orthant/io/dataset.h>
#include <orthant/par/agree.h>
#include <orthant/par/alive.h>
#include <orthant/par/collective.h>
#include <orthant/par/end_job.h>
#include <orthant/par/partition.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_VALUES = 1 << 20, KEPT_ROWS = 1 << 20 };

/* A dimension is an outlier when its root mean square is this many times the median one. */
static const double OUTLIER_FACTOR = 6;

/* Sums over this rank's rows; the arrays are the result's. */
typedef struct sums {
    int64_t counts[5]; ///< finite rows, others, rows of zeros, NaN, Inf
    int64_t first;     ///< first row with NaN or Inf, INT64_MAX when none
    double norms;      ///< of |x|
    double most[2];    ///< largest |value|, largest |x|
    double *values;    ///< (d_model) of x
    double *squares;   ///< (d_model) of x^2
    orth_values norm;  ///< |x| of each row
} sums;

static void add_nonfinite(sums *to, const float *x, int64_t d, int64_t row)
{
    to->counts[1]++;
    to->first = row < to->first ? row : to->first;
    for (int64_t j = 0; j < d; j++) {
        to->counts[3] += isnan(x[j]) != 0;
        to->counts[4] += isinf(x[j]) != 0;
    }
}

static void add_row(sums *to, const float *x, int64_t d, int64_t row)
{
    double square = 0, most = 0;
    for (int64_t j = 0; j < d; j++) {
        square += (double)x[j] * x[j];
        most = fmax(most, fabs((double)x[j]));
    }
    if (!isfinite(square)) {
        add_nonfinite(to, x, d, row);
        return;
    }
    double norm = sqrt(square);
    to->counts[0]++;
    to->counts[2] += square == 0;
    to->norms += norm;
    to->most[0] = fmax(to->most[0], most);
    to->most[1] = fmax(to->most[1], norm);
    orth_values_add(&to->norm, norm);
    for (int64_t j = 0; j < d; j++) {
        to->values[j] += x[j];
        to->squares[j] += (double)x[j] * x[j];
    }
}

static orth_status add_part(orth_dataset *dataset, orth_range part, sums *to)
{
    int64_t d = orth_dataset_width(dataset), block = BLOCK_VALUES / d + 1;
    int64_t *rows = NULL;
    float *x = NULL;
    orth_status status = ORTH_ALLOCATE(block, "row indices", &rows);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(block * d, "rows", &x);
    for (int64_t at = part.begin; status == ORTH_OK && at < part.end; at += block) {
        int64_t count = part.end - at < block ? part.end - at : block;
        for (int64_t i = 0; i < count; i++)
            rows[i] = at + i;
        status = orth_dataset_read(dataset, rows, count, x);
        for (int64_t i = 0; status == ORTH_OK && i < count; i++)
            add_row(to, x + i * d, d, at + i);
        orth_alive();
    }
    orth_free(x);
    orth_free(rows);
    return status;
}

/* Figures from the sums of all ranks, which are divided by the rows. */
static void conclude(const sums *all, orth_activation_stats *out)
{
    double rows = out->rows > 0 ? (double)out->rows : 1, square = 0, sum = 0, of_mean = 0;
    for (int64_t j = 0; j < out->d_model; j++) {
        all->values[j] /= rows;
        all->squares[j] /= rows;
        sum += all->values[j];
        square += all->squares[j];
        of_mean += all->values[j] * all->values[j];
    }
    out->mean = sum / (double)out->d_model;
    out->std = sqrt(fmax(square / (double)out->d_model - out->mean * out->mean, 0));
    out->norm_of_mean = sqrt(of_mean);
    out->mean_norm = all->norms / rows;
    out->max_abs = all->most[0];
    out->max_norm = all->most[1];
}

static orth_status gather(const sums *own, MPI_Comm world, orth_activation_stats *out)
{
    static const double shares[3] = {0.05, 0.5, 0.95};
    sums all = *own;
    ORTH_TRY(orth_allreduce(all.counts, 5, MPI_INT64_T, MPI_SUM, world));
    ORTH_TRY(orth_allreduce(&all.first, 1, MPI_INT64_T, MPI_MIN, world));
    ORTH_TRY(orth_allreduce(all.most, 2, MPI_DOUBLE, MPI_MAX, world));
    ORTH_TRY(orth_sum_f64(&all.norms, 1, world));
    ORTH_TRY(orth_sum_f64(all.values, out->d_model, world));
    ORTH_TRY(orth_sum_f64(all.squares, out->d_model, world));
    ORTH_TRY(orth_values_quantiles(&own->norm, shares, 3, world, out->norm));
    out->rows = all.counts[0];
    out->nonfinite = all.counts[1];
    out->zero_rows = all.counts[2];
    out->nan = all.counts[3];
    out->inf = all.counts[4];
    out->first_row = all.first == INT64_MAX ? -1 : all.first;
    conclude(&all, out);
    return ORTH_OK;
}

static orth_status read_open(orth_dataset *dataset, MPI_Comm world, orth_activation_stats *out)
{
    int rank, size;
    ORTH_MPI(MPI_Comm_rank(world, &rank));
    ORTH_MPI(MPI_Comm_size(world, &size));
    out->d_model = orth_dataset_width(dataset);
    int64_t rows = orth_dataset_rows(dataset);
    orth_range part = orth_partition(rows, size, rank);
    sums own = {.first = INT64_MAX};
    orth_status status = ORTH_ALLOCATE(out->d_model, "sums", &out->mean_of);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(out->d_model, "sums", &out->square_mean);
    if (status == ORTH_OK)
        status = orth_values_create(orth_range_size(part), rows <= KEPT_ROWS, &own.norm);
    own.values = out->mean_of;
    own.squares = out->square_mean;
    if (status == ORTH_OK)
        status = add_part(dataset, part, &own);
    status = orth_agree(world, status);
    /* Between reductions a rank that fails cannot tell the others. */
    if (status == ORTH_OK && (status = gather(&own, world, out)) != ORTH_OK)
        status = orth_end_job(world, status);
    orth_values_free(&own.norm);
    return status;
}

orth_status orth_activation_stats_read(const char *path, const char *dataset, MPI_Comm world,
                                       orth_activation_stats *out)
{
    orth_dataset *table = NULL;
    ORTH_TRY(orth_dataset_open(&path, 1, dataset, world, &table));
    orth_activation_stats stats = {0};
    orth_status status = read_open(table, world, &stats);
    orth_dataset_close(table);
    status = orth_agree(world, status);
    if (status == ORTH_OK)
        *out = stats;
    else
        orth_activation_stats_free(&stats);
    return status;
}

void orth_activation_stats_free(orth_activation_stats *stats)
{
    orth_free(stats->mean_of);
    orth_free(stats->square_mean);
    *stats = (orth_activation_stats){0};
}

/* ---- outliers ---- */

static int descending(const void *a, const void *b)
{
    const orth_outlier *x = a, *y = b;
    if (x->times != y->times)
        return x->times < y->times ? 1 : -1;
    return x->dimension < y->dimension ? -1 : 1;
}

orth_status orth_activation_outliers(const orth_activation_stats *stats, orth_outlier **out,
                                     int64_t *count)
{
    orth_outlier *sorted = NULL;
    int64_t d = stats->d_model, found = 0;
    ORTH_TRY(ORTH_ALLOCATE(d, "dimensions", &sorted));
    for (int64_t j = 0; j < d; j++)
        sorted[j] = (orth_outlier){j, sqrt(stats->square_mean[j])};
    qsort(sorted, (size_t)d, sizeof *sorted, descending);
    double median = sorted[d / 2].times;
    for (; median > 0 && found < d && sorted[found].times > OUTLIER_FACTOR * median; found++)
        sorted[found].times /= median;
    *out = sorted;
    *count = found;
    return ORTH_OK;
}
