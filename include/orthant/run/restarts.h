#ifndef ORTHANT_RUN_RESTARTS_H
#define ORTHANT_RUN_RESTARTS_H

#include <orthant/base/status.h>

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>

/**
 * A job that requeues itself must not do so for ever. `<run_dir>/restarts.json` holds how many
 * starts of one job in a row have made no progress:
 *
 *     {"job": "1234", "step": 400, "starts": 1}
 *
 * A start counts as requeued when SLURM_RESTART_COUNT or ORTHANT_RESTART_COUNT (set by a loop
 * around mpirun) is above 0. Progress is a newest checkpoint of a later step than the start before
 * found. Any other start, another job and progress begin again at 0.
 *
 * `step` is the step that this start goes on from. Called at each start, once that is known; rank 0
 * reads and writes. ORTH_ERR_ENVIRONMENT, which is not requeued, when three starts made no
 * progress. A file that is missing, torn or foreign counts as none, and one that cannot be written
 * is a warning. Collective over `comm`; agreed.
 */
orth_status orth_restarts_check(const char *run_dir, int64_t step, MPI_Comm comm);

/** Whether this start continues what an earlier start of the same job began in `run_dir`: it is
 * requeued, and restarts.json names its job. Collective over `comm`; agreed. */
orth_status orth_restarts_continues(const char *run_dir, MPI_Comm comm, bool *continues);

/** Whether the job may be started again by itself: by SLURM, or by a loop around mpirun. Rank 0's
 * environment counts. Collective over `comm`. */
orth_status orth_restarts_possible(MPI_Comm comm, bool *possible);

/** Whether this start, should it end before orth_restarts_check has counted it, must be the last:
 * the job was started again three times before, with progress or without. Rank 0's environment
 * counts. Collective over `comm`. */
orth_status orth_restarts_last(MPI_Comm comm, bool *last);

#endif
