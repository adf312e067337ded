/* The order in which things are measured. */
#include "parts.h"

#include <orthant/kern/threads.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>

#include <math.h>

orth_bench_options orth_bench_defaults(bool quick)
{
    if (quick)
        return (orth_bench_options){.batch = 512,
                                    .d_model = 256,
                                    .n_latent = 2048,
                                    .k = 32,
                                    .repetitions = 3,
                                    .bytes = 16 << 20,
                                    .operations = 1e8,
                                    .folder = ".",
                                    .quick = true};
    return (orth_bench_options){.batch = 4096,
                                .d_model = 768,
                                .n_latent = 12288,
                                .k = 32,
                                .repetitions = 5,
                                .bytes = 256 << 20,
                                .operations = 4e9,
                                .folder = "."};
}

static orth_status make_grid(MPI_Comm world, orth_bench_report *report, orth_grid *grid)
{
    orth_bench_options *o = &report->options;
    int n_group, n_shard;
    ORTH_TRY(orth_grid_choose(report->ranks, o->n_latent, o->batch, o->n_group, o->n_shard,
                              &n_group, &n_shard));
    o->n_group = n_group;
    o->n_shard = n_shard;
    ORTH_TRY(orth_grid_create(world, n_group, n_shard, grid));
    return orth_grid_agree_threads(grid, orth_threads_count());
}

static bool files_wanted(const orth_bench_report *report)
{
    return orth_bench_wanted(report, "reader") || orth_bench_wanted(report, "checkpoint");
}

static orth_status measure(const orth_grid *grid, int64_t alone, orth_bench_report *report)
{
    if (files_wanted(report))
        ORTH_TRY(orth_bench_try_folder(grid, report->options.folder));
    ORTH_TRY(orth_agree(grid->world, orth_bench_machine(grid->world, report)));
    report->measured = true;
    if (orth_bench_wanted(report, "steps"))
        ORTH_TRY(orth_bench_steps(grid, alone, report));
    if (orth_bench_wanted(report, "series"))
        ORTH_TRY(orth_bench_series(grid, report));
    if (files_wanted(report))
        ORTH_TRY(orth_bench_files(grid, report));
    double fastest = 0.0;
    for (int i = 0; i < report->n_step; i++)
        fastest = fmax(fastest, report->steps[i].tokens_per_s);
    if (fastest > 0.0)
        report->reader_of_step =
            report->reader_warm / (fastest * 2.0 * (double)report->options.d_model);
    return ORTH_OK;
}

orth_status orth_bench(const orth_bench_options *options, MPI_Comm world, orth_bench_report *out)
{
    orth_grid grid = {0};
    int64_t alone = orth_bench_resident();
    *out = (orth_bench_report){.options = *options,
                               .allreduce = NAN,
                               .exchange = NAN,
                               .write = NAN,
                               .reader_warm = NAN,
                               .reader_cold = NAN,
                               .reader_of_step = NAN,
                               .checkpoint = NAN,
                               .checkpoint_verified = NAN,
                               .checkpoint_of_write = NAN};
    ORTH_MPI(MPI_Comm_size(world, &out->ranks));
    ORTH_TRY(make_grid(world, out, &grid));
    orth_status status = measure(&grid, alone, out);
    orth_grid_free(&grid);
    return orth_agree(world, status);
}
