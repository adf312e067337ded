#include "info.h"

#include <orthant/base/memory.h>
#include <orthant/io/dataset.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/par/partition.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_VALUES = 1 << 20, OUTLIERS_SHOWN = 8 };

/* A dimension is an outlier when its root mean square is this many times the median one. */
static const double OUTLIER_FACTOR = 6;

/* Sums over this rank's rows; `squares` is the array of the result. */
typedef struct sums {
    int64_t counts[3]; ///< finite rows, others, rows of zeros
    int64_t first;     ///< first row with NaN or Inf, INT64_MAX when none
    double values[2];  ///< of x, of |x|
    double *squares;   ///< (d_model) of x^2
} sums;

static void add_row(sums *to, const float *x, int64_t d, int64_t row)
{
    double sum = 0, square = 0;
    for (int64_t j = 0; j < d; j++) {
        sum += x[j];
        square += (double)x[j] * x[j];
    }
    if (!isfinite(square)) {
        to->counts[1]++;
        to->first = row < to->first ? row : to->first;
        return;
    }
    to->counts[0]++;
    to->counts[2] += square == 0;
    to->values[0] += sum;
    to->values[1] += sqrt(square);
    for (int64_t j = 0; j < d; j++)
        to->squares[j] += (double)x[j] * x[j];
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
    }
    orth_free(x);
    orth_free(rows);
    return status;
}

static orth_status gather(const sums *own, MPI_Comm world, orth_activation_stats *out)
{
    sums all = *own;
    int64_t d = out->d_model;
    ORTH_TRY(orth_allreduce(all.counts, 3, MPI_INT64_T, MPI_SUM, world));
    ORTH_TRY(orth_allreduce(&all.first, 1, MPI_INT64_T, MPI_MIN, world));
    ORTH_TRY(orth_sum_f64(all.values, 2, world));
    ORTH_TRY(orth_sum_f64(all.squares, d, world));
    out->rows = all.counts[0];
    out->nonfinite = all.counts[1];
    out->zero_rows = all.counts[2];
    out->first_row = all.first == INT64_MAX ? -1 : all.first;
    double rows = out->rows > 0 ? (double)out->rows : 1, square = 0;
    for (int64_t j = 0; j < d; j++) {
        all.squares[j] /= rows;
        square += all.squares[j] / (double)d;
    }
    out->mean = all.values[0] / (rows * (double)d);
    out->std = sqrt(fmax(square - out->mean * out->mean, 0));
    out->mean_norm = all.values[1] / rows;
    return ORTH_OK;
}

static orth_status read_open(orth_dataset *dataset, MPI_Comm world, orth_activation_stats *out)
{
    int rank, size;
    ORTH_MPI(MPI_Comm_rank(world, &rank));
    ORTH_MPI(MPI_Comm_size(world, &size));
    out->d_model = orth_dataset_width(dataset);
    sums own = {.first = INT64_MAX};
    orth_status status = ORTH_ALLOCATE(out->d_model, "sums", &out->square_mean);
    own.squares = out->square_mean;
    if (status == ORTH_OK)
        status = add_part(dataset, orth_partition(orth_dataset_rows(dataset), size, rank), &own);
    ORTH_TRY(orth_agree(world, status));
    return gather(&own, world, out);
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
    orth_free(stats->square_mean);
    *stats = (orth_activation_stats){0};
}

/* A dimension and its mean square. */
typedef struct dimension {
    double square;
    int64_t index;
} dimension;

static int descending(const void *a, const void *b)
{
    const dimension *x = a, *y = b;
    if (x->square != y->square)
        return x->square < y->square ? 1 : -1;
    return x->index < y->index ? -1 : 1;
}

/* `sorted` has the dimensions by descending mean square. */
static void print_outliers(const dimension *sorted, int64_t d)
{
    double median = sorted[d / 2].square;
    int64_t found = 0;
    char list[512] = "";
    for (; found < d && median > 0 && sqrt(sorted[found].square / median) > OUTLIER_FACTOR;
         found++) {
        size_t length = strlen(list);
        if (found < OUTLIERS_SHOWN)
            snprintf(list + length, sizeof list - length, "%s%lld (%.1fx)", found ? ", " : ": ",
                     (long long)sorted[found].index, sqrt(sorted[found].square / median));
    }
    orth_info_line(true, "outlier dimensions", "%lld with an rms above %.0f times the median%s%s",
                   (long long)found, OUTLIER_FACTOR, list, found > OUTLIERS_SHOWN ? ", ..." : "");
}

static orth_status print_dimensions(const orth_activation_stats *stats)
{
    dimension *sorted = NULL;
    ORTH_TRY(ORTH_ALLOCATE(stats->d_model, "dimensions", &sorted));
    for (int64_t j = 0; j < stats->d_model; j++)
        sorted[j] = (dimension){stats->square_mean[j], j};
    qsort(sorted, (size_t)stats->d_model, sizeof *sorted, descending);
    print_outliers(sorted, stats->d_model);
    orth_free(sorted);
    return ORTH_OK;
}

orth_status orth_activation_stats_print(const orth_activation_stats *stats)
{
    orth_info_line(true, "mean norm", "%.9g", stats->mean_norm);
    orth_info_line(true, "mean", "%.9g", stats->mean);
    orth_info_line(true, "std", "%.9g", stats->std);
    orth_info_line(true, "zero rows", "%lld", (long long)stats->zero_rows);
    if (stats->nonfinite)
        orth_info_line(true, "rows with NaN or Inf", "%lld, the first is row %lld",
                       (long long)stats->nonfinite, (long long)stats->first_row);
    else
        orth_info_line(true, "rows with NaN or Inf", "0");
    return print_dimensions(stats);
}
