#include <orthant/par/agree.h>

#include <orthant/base/log.h>
#include <orthant/par/collective.h>

#include <limits.h>

orth_status orth_agree(MPI_Comm comm, orth_status mine)
{
    int rank;
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    /* The smallest of (rank, status) pairs among the failing ones; INT_MAX where none failed. */
    int first = mine == ORTH_OK ? INT_MAX : rank;
    ORTH_MPI(MPI_Allreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, comm));
    if (first == INT_MAX)
        return ORTH_OK;
    int status = mine;
    ORTH_MPI(MPI_Bcast(&status, 1, MPI_INT, first, comm));
    return (orth_status)status;
}

void orth_report(MPI_Comm comm, orth_status agreed)
{
    int rank;
    if (MPI_Comm_rank(comm, &rank) != MPI_SUCCESS)
        return;
    int first = orth_error_status() == agreed ? rank : INT_MAX;
    if (MPI_Allreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, comm) != MPI_SUCCESS)
        first = rank;
    if (first == rank || (first == INT_MAX && rank == 0))
        orth_log_error("%s", first == rank ? orth_error_text() : "failed without a reason");
}
