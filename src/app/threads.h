#ifndef ORTHANT_SRC_APP_THREADS_H
#define ORTHANT_SRC_APP_THREADS_H

#include <orthant/base/status.h>

#include <mpi.h>

/**
 * Give each rank its threads: OMP_NUM_THREADS where it is set, else this rank's part of the
 * processors that it may run on (ranks of one node that may run on the same ones share them). Warns
 * when threads outnumber processors, or when the launcher bound every rank to one core of many and
 * leaves the others idle, with the remedy. Refuses an ORTHANT_ISA that this processor does not run.
 * Collective; agreed.
 */
orth_status orth_launch_threads(MPI_Comm world);

#endif
