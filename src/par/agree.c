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

orth_status orth_agree_speaker(MPI_Comm comm, orth_status agreed, int *speaker)
{
    int rank, first[2];
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    first[0] = orth_error_status() == agreed ? rank : INT_MAX;
    first[1] = orth_error_status() != ORTH_OK ? rank : INT_MAX;
    ORTH_MPI(MPI_Allreduce(MPI_IN_PLACE, first, 2, MPI_INT, MPI_MIN, comm));
    *speaker = first[0] != INT_MAX ? first[0] : first[1] != INT_MAX ? first[1] : -1;
    return ORTH_OK;
}

void orth_report(MPI_Comm comm, orth_status agreed)
{
    int rank, speaker;
    if (MPI_Comm_rank(comm, &rank) != MPI_SUCCESS ||
        orth_agree_speaker(comm, agreed, &speaker) != ORTH_OK)
        return;
    if (speaker == rank || (speaker < 0 && rank == 0))
        orth_log_error("%s", speaker == rank ? orth_error_text() : "failed without a reason");
}
