#ifndef ORTHANT_PAR_MPI_H
#define ORTHANT_PAR_MPI_H

/** Calls of MPI, and what their failure means. */

#include <orthant/base/status.h>
#include <orthant/par/alive.h>

#include <mpi.h>

/** ORTH_OK, or a recorded error that names the rank and the call. Not collective. */
orth_status orth_mpi_status(int code, const char *call);

/** The code of an MPI call, during which the watchdog knows that this rank may wait for others. */
#define ORTH_WAIT(call) orth_wait_end((orth_wait_begin(), (call)))

/** From now on a failure of MPI ends the whole job (orth_end_job) where it shows: ranks that are no
 * longer at one place in the program cannot agree on it, and would wait for each other without end.
 * Not collective. */
void orth_mpi_end_job_on_failure(void);

/** Run an MPI call inside a function that returns orth_status; return its failure. */
#define ORTH_MPI(call)                                                                             \
    do {                                                                                           \
        orth_status orth_mpi_result_ = orth_mpi_status(ORTH_WAIT(call), #call);                    \
        if (orth_mpi_result_ != ORTH_OK)                                                           \
            return orth_mpi_result_;                                                               \
    } while (0)

#endif
