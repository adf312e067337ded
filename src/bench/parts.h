#ifndef ORTHANT_SRC_BENCH_PARTS_H
#define ORTHANT_SRC_BENCH_PARTS_H

/** The parts of `orthant bench`. All functions are collective over the world. */

#include <orthant/bench/bench.h>
#include <orthant/kern/trial.h>
#include <orthant/par/grid.h>
#include <orthant/sae/model.h>

/** Of a sorted copy of the middle; `values` are sorted in place. */
double orth_bench_median(double *values, int64_t count);

/** The seconds since all ranks passed orth_bench_begin, of the slowest. */
orth_status orth_bench_begin(MPI_Comm world, double *since);
orth_status orth_bench_end(MPI_Comm world, double since, double *seconds);

/** Limits and kernels; sets the yardstick. */
orth_status orth_bench_machine(MPI_Comm world, orth_bench_report *report);

/** Once more the product that is the yardstick; its seconds. */
orth_status orth_bench_yardstick(MPI_Comm world, const orth_bench_report *report, double *seconds);

/** The resident memory of this process in bytes, 0 where the system does not tell. Not collective.
 */
int64_t orth_bench_resident(void);

/** The steps and the series. `alone`: the resident memory of the program before it did anything. */
orth_status orth_bench_steps(const orth_grid *grid, int64_t alone, orth_bench_report *report);
orth_status orth_bench_series(const orth_grid *grid, orth_bench_report *report);

/** ORTH_ERR_STORAGE when no folder can be made in `parent`; leaves none. */
orth_status orth_bench_try_folder(const orth_grid *grid, const char *parent);

/** Reader and checkpoint, in the folder of the options. */
orth_status orth_bench_files(const orth_grid *grid, orth_bench_report *report);

/** Random tokens first, first + 1, ...: out (count, d_model). Not collective. */
void orth_bench_tokens(int64_t first, int64_t count, int64_t d_model, float *out);

/** A model with random weights. */
orth_status orth_bench_model(const orth_grid *grid, const orth_recipe *recipe, int64_t d_model,
                             orth_sae *out);

/** Whether a part was asked for. Not collective. */
bool orth_bench_wanted(const orth_bench_report *report, const char *part);

#endif
