/* What all parts of the benchmark share. */
#include "parts.h"

#include <orthant/par/collective.h>
#include <orthant/par/phase.h>

#include <stdlib.h>
#include <string.h>

bool orth_bench_wanted(const orth_bench_report *report, const char *part)
{
    return !report->options.only || strcmp(report->options.only, part) == 0;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double orth_bench_median(double *values, int64_t count)
{
    qsort(values, (size_t)count, sizeof *values, ascending);
    return count % 2 ? values[count / 2] : 0.5 * (values[count / 2 - 1] + values[count / 2]);
}

orth_status orth_bench_begin(MPI_Comm world, double *since)
{
    ORTH_MPI(MPI_Barrier(world));
    *since = orth_now();
    return ORTH_OK;
}

orth_status orth_bench_end(MPI_Comm world, double since, double *seconds)
{
    *seconds = orth_now() - since;
    return orth_allreduce(seconds, 1, MPI_DOUBLE, MPI_MAX, world);
}
