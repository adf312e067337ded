#include <orthant/sae/sample.h>

#include <orthant/base/memory.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>

#include <math.h>
#include <string.h>

enum { ITERATIONS = 100 };

/* Adds what one row gives to the sums of its chunk. */
typedef void (*row_function)(const float *x, int64_t d, const double *centre, double *sums);

static int64_t chunk_count(int64_t total)
{
    return orth_partition_largest(total, ORTH_SAMPLE_CHUNK);
}

orth_range orth_sample_rows(int64_t total, int size, int rank)
{
    orth_range chunks = orth_partition(chunk_count(total), size, rank);
    orth_range rows = {chunks.begin * ORTH_SAMPLE_CHUNK, chunks.end * ORTH_SAMPLE_CHUNK};
    rows.begin = rows.begin < total ? rows.begin : total;
    rows.end = rows.end < total ? rows.end : total;
    return rows;
}

/* sums (m): chunk after chunk. Each chunk's sums come from one rank, the others add zero. */
static orth_status sum_rows(const orth_sample *sample, row_function add, const double *centre,
                            int64_t m, double *sums)
{
    int64_t n_chunk = chunk_count(sample->total), d = sample->d_model;
    int64_t first = sample->own.begin / ORTH_SAMPLE_CHUNK;
    int64_t own = chunk_count(orth_range_size(sample->own));
    double *parts = NULL;
    orth_status status =
        orth_agree(sample->comm, ORTH_ALLOCATE(n_chunk * m, "sample sums", &parts));
    if (status != ORTH_OK) {
        orth_free(parts);
        return status;
    }
#pragma omp parallel for schedule(static)
    for (int64_t c = 0; c < own; c++) {
        int64_t end = (c + 1) * ORTH_SAMPLE_CHUNK, rows = orth_range_size(sample->own);
        for (int64_t i = c * ORTH_SAMPLE_CHUNK; i < end && i < rows; i++)
            if (sample->valid[i])
                add(sample->x + i * d, d, centre, parts + (first + c) * m);
    }
    status = orth_allreduce(parts, n_chunk * m, MPI_DOUBLE, MPI_SUM, sample->comm);
    memset(sums, 0, (size_t)m * sizeof *sums);
    for (int64_t c = 0; c < n_chunk; c++)
        for (int64_t j = 0; j < m; j++)
            sums[j] += parts[c * m + j];
    orth_free(parts);
    return orth_agree(sample->comm, status);
}

static void add_row(const float *x, int64_t d, const double *centre, double *sums)
{
    (void)centre;
    for (int64_t j = 0; j < d; j++)
        sums[j] += (double)x[j];
}

static double square_distance(const float *x, int64_t d, const double *centre)
{
    double sum = 0.0;
    for (int64_t j = 0; j < d; j++) {
        double difference = (double)x[j] - (centre ? centre[j] : 0.0);
        sum += difference * difference;
    }
    return sum;
}

static void add_square(const float *x, int64_t d, const double *centre, double *sums)
{
    sums[0] += square_distance(x, d, centre);
}

/* Weiszfeld: sums[0 ... d-1] weighted rows, [d] weights, [d+1] distances (the objective). */
static void add_weighted(const float *x, int64_t d, const double *centre, double *sums)
{
    double distance = sqrt(square_distance(x, d, centre));
    double weight = 1.0 / (distance > 1e-6 ? distance : 1e-6);
    for (int64_t j = 0; j < d; j++)
        sums[j] += weight * (double)x[j];
    sums[d] += weight;
    sums[d + 1] += distance;
}

orth_status orth_sample_mean(const orth_sample *sample, double *mean)
{
    ORTH_TRY(sum_rows(sample, add_row, NULL, sample->d_model, mean));
    for (int64_t j = 0; j < sample->d_model; j++)
        mean[j] /= (double)sample->count;
    return ORTH_OK;
}

orth_status orth_sample_mean_square(const orth_sample *sample, const double *centre, double *out)
{
    double sum;
    ORTH_TRY(sum_rows(sample, add_square, centre, 1, &sum));
    *out = sum / (double)sample->count;
    return ORTH_OK;
}

static orth_status iterate(const orth_sample *sample, double *sums, double *median)
{
    int64_t d = sample->d_model;
    double before = INFINITY;
    ORTH_TRY(orth_sample_mean(sample, median));
    for (int i = 0; i < ITERATIONS; i++) {
        ORTH_TRY(sum_rows(sample, add_weighted, median, d + 2, sums));
        double objective = sums[d + 1];
        if (fabs(before - objective) <= 1e-15 * objective)
            break;
        before = objective;
        for (int64_t j = 0; j < d; j++)
            median[j] = sums[j] / sums[d];
    }
    return ORTH_OK;
}

orth_status orth_sample_median(const orth_sample *sample, double *median)
{
    double *sums = NULL;
    orth_status status =
        orth_agree(sample->comm, ORTH_ALLOCATE(sample->d_model + 2, "geometric median", &sums));
    if (status == ORTH_OK)
        status = iterate(sample, sums, median);
    orth_free(sums);
    return status;
}
