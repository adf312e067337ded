/* What the machine can do at most, and the kernels against it. */
#include "parts.h"

#include <orthant/base/log.h>
#include <orthant/base/memory.h>
#include <orthant/kern/library.h>
#include <orthant/kern/table.h>
#include <orthant/kern/threads.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>

#include <math.h>
#include <string.h>
#include <unistd.h>

static orth_trial_sizes trial_sizes(const orth_bench_report *report, int64_t n_token)
{
    const orth_bench_options *o = &report->options;
    return (orth_trial_sizes){.n_token = n_token,
                              .n_latent = o->n_latent,
                              .d_model = o->d_model,
                              .k = o->k,
                              .bytes = o->bytes / report->ranks,
                              .operations = o->operations / report->ranks};
}

/* Median seconds of a trial that all ranks run at once, and the work of all; 0 where a rank cannot.
 */
static orth_status time_trial(MPI_Comm world, int i, const orth_trial_sizes *sizes,
                              int64_t repetitions, double *seconds, double *work)
{
    orth_trial *trial = NULL;
    double *times = NULL;
    orth_status status = ORTH_ALLOCATE(repetitions, "times", &times);
    if (status == ORTH_OK)
        status = orth_trial_open(i, sizes, &trial);
    status = orth_agree(world, status);
    int here = trial != NULL;
    *work = trial ? orth_trial_work(trial) : 0.0;
    *seconds = 0.0;
    if (status == ORTH_OK)
        status = orth_allreduce(&here, 1, MPI_INT, MPI_MIN, world);
    if (status == ORTH_OK && here)
        orth_trial_run(trial);
    for (int64_t r = 0; r < repetitions && here && status == ORTH_OK; r++) {
        double since;
        status = orth_bench_begin(world, &since);
        if (status == ORTH_OK) {
            orth_trial_run(trial);
            status = orth_bench_end(world, since, times + r);
        }
    }
    if (status == ORTH_OK && here) {
        *seconds = orth_bench_median(times, repetitions);
        status = orth_allreduce(work, 1, MPI_DOUBLE, MPI_SUM, world);
    }
    orth_trial_close(trial);
    orth_free(times);
    return status;
}

/* The own share of the tokens, so that all ranks together make the product of the whole batch. */
static int64_t own_tokens(MPI_Comm world, const orth_bench_report *report)
{
    int rank = 0;
    MPI_Comm_rank(world, &rank);
    int64_t n = orth_range_size(orth_partition(report->options.batch, report->ranks, rank));
    return n > 0 ? n : 1;
}

static orth_status measure_limits(MPI_Comm world, orth_bench_report *report)
{
    orth_trial_sizes sizes = trial_sizes(report, own_tokens(world, report));
    char *const names[ORTH_TRIAL_LIMITS] = {report->sgemm, report->bf16, report->int8, NULL};
    for (int i = 0; i < orth_trial_count(); i++) {
        orth_trial_limit by = orth_trial_limited_by(i);
        double seconds, work;
        if (!orth_trial_sets_limit(i))
            continue;
        orth_log_info("bench: %s", orth_trial_name(i));
        ORTH_TRY(time_trial(world, i, &sizes, report->options.repetitions, &seconds, &work));
        if (seconds <= 0.0 || work / seconds <= report->limit[by])
            continue;
        report->limit[by] = work / seconds;
        if (names[by])
            snprintf(names[by], sizeof report->sgemm, "%s", orth_trial_name(i));
        if (by == ORTH_TRIAL_FP32)
            report->yardstick = seconds;
    }
    return ORTH_OK;
}

orth_status orth_bench_yardstick(MPI_Comm world, const orth_bench_report *report, double *seconds)
{
    orth_trial_sizes sizes = trial_sizes(report, own_tokens(world, report));
    double work;
    *seconds = 0.0;
    for (int i = 0; i < orth_trial_count(); i++)
        if (orth_trial_sets_limit(i) && strcmp(orth_trial_name(i), report->sgemm) == 0)
            return time_trial(world, i, &sizes, 3, seconds, &work);
    return ORTH_OK;
}

/* A kernel of ours that beats every library, as low precision does without one, is the limit. */
static orth_status measure_kernels(MPI_Comm world, orth_bench_report *report)
{
    orth_trial_sizes sizes = trial_sizes(report, own_tokens(world, report));
    for (int i = 0; i < orth_trial_count() && report->n_kernel < ORTH_BENCH_KERNELS; i++) {
        double seconds, work;
        if (orth_trial_sets_limit(i))
            continue;
        orth_trial_limit by = orth_trial_limited_by(i);
        orth_log_info("bench: %s", orth_trial_name(i));
        ORTH_TRY(time_trial(world, i, &sizes, report->options.repetitions, &seconds, &work));
        if (seconds <= 0.0)
            continue;
        orth_bench_kernel *kernel = &report->kernels[report->n_kernel++];
        *kernel = (orth_bench_kernel){
            .name = orth_trial_name(i), .rate = work / seconds, .bytes = by == ORTH_TRIAL_MEMORY};
        if (report->limit[by] == 0.0) {
            char *name = by == ORTH_TRIAL_BF16 ? report->bf16 : report->int8;
            report->limit[by] = kernel->rate;
            snprintf(name, sizeof report->bf16, "%s", kernel->name);
        }
        kernel->of_limit = kernel->rate / report->limit[by];
    }
    return ORTH_OK;
}

/* Sum over all ranks and allgather, of arrays as large as a shard's gradient and a batch. */
static orth_status measure_network(MPI_Comm world, orth_bench_report *report)
{
    const orth_bench_options *o = &report->options;
    int64_t count = o->n_latent * o->d_model, values = o->batch * o->d_model;
    int64_t counts[report->ranks];
    float *data = NULL, *copy = NULL;
    double since, seconds, sums[16], gathers[16];
    int64_t repetitions = o->repetitions < 16 ? o->repetitions : 16;
    orth_status status = ORTH_ALLOCATE(count, "trial", &data);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(values, "trial", &copy);
    status = orth_agree(world, status);
    int rank = 0;
    MPI_Comm_rank(world, &rank);
    for (int r = 0; r < report->ranks; r++)
        counts[r] = orth_range_size(orth_partition(values, report->ranks, r));
    int64_t at = orth_partition(values, report->ranks, rank).begin;
    for (int64_t r = -1; r < repetitions && status == ORTH_OK; r++) {
        status = orth_bench_begin(world, &since);
        if (status == ORTH_OK)
            status = orth_sum_f32(data, count, world);
        if (status == ORTH_OK)
            status = orth_bench_end(world, since, &seconds);
        if (r >= 0)
            sums[r] = seconds;
        if (status == ORTH_OK)
            status = orth_bench_begin(world, &since);
        if (status == ORTH_OK && report->ranks > 1)
            status = orth_allgather(copy + at, counts, sizeof *copy, copy, world);
        else if (status == ORTH_OK)
            memcpy(copy, data, (size_t)(values < count ? values : count) * sizeof *copy);
        if (status == ORTH_OK)
            status = orth_bench_end(world, since, &seconds);
        if (r >= 0)
            gathers[r] = seconds;
    }
    if (status == ORTH_OK) {
        int64_t moved = report->ranks > 1 || values < count ? values : count;
        report->exchange =
            (double)report->ranks * 4.0 * (double)moved / orth_bench_median(gathers, repetitions);
        if (report->ranks > 1)
            report->allreduce = 4.0 * (double)count / orth_bench_median(sums, repetitions);
    }
    orth_free(copy);
    orth_free(data);
    return status;
}

static orth_status describe(MPI_Comm world, orth_bench_report *report)
{
    MPI_Comm node;
    int place;
    int64_t counts[2] = {0, orth_threads_count()};
    ORTH_MPI(MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node));
    orth_status status = orth_mpi_status(MPI_Comm_rank(node, &place), "MPI_Comm_rank");
    MPI_Comm_free(&node);
    ORTH_TRY(orth_agree(world, status));
    if (place == 0)
        counts[0] = sysconf(_SC_NPROCESSORS_ONLN);
    ORTH_TRY(orth_allreduce(counts, 2, MPI_INT64_T, MPI_SUM, world));
    report->cores = counts[0];
    report->threads = counts[1];
    snprintf(report->isa, sizeof report->isa, "%s", orth_kernels_get()->name);
    orth_blas_library(report->blas, sizeof report->blas);
    size_t used = strlen(report->blas);
    const char *other = orth_trial_onednn();
    snprintf(report->blas + used, sizeof report->blas - used, "%s%s", *other ? "; " : "", other);
    return ORTH_OK;
}

orth_status orth_bench_machine(MPI_Comm world, orth_bench_report *report)
{
    report->allreduce = NAN;
    ORTH_TRY(describe(world, report));
    ORTH_TRY(measure_limits(world, report));
    ORTH_TRY(measure_network(world, report));
    return orth_bench_wanted(report, "kernels") ? measure_kernels(world, report) : ORTH_OK;
}
