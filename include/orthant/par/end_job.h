#ifndef ORTHANT_PAR_END_JOB_H
#define ORTHANT_PAR_END_JOB_H

#include <orthant/base/status.h>

#include <mpi.h>

/**
 * End the whole job with the exit code `status`, because this rank failed where it cannot agree
 * with the others: they wait for it in a collective. Prints this rank's recorded error, if it has
 * one. Not collective. Does not return where MPI_Abort works; returns `status`.
 */
orth_status orth_end_job(MPI_Comm world, orth_status status);

#endif
