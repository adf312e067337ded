#include <orthant/par/mpi.h>

#include <orthant/base/fault.h>
#include <orthant/par/end_job.h>

#include <stdbool.h>
#include <string.h>

static bool failures_end_the_job = false;

void orth_mpi_end_job_on_failure(void)
{
    failures_end_the_job = true;
}

orth_status orth_mpi_status(int code, const char *call)
{
    if (orth_fault_fails("par.collective"))
        code = MPI_ERR_OTHER;
    if (code == MPI_SUCCESS)
        return ORTH_OK;
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0, rank = -1;
    MPI_Error_string(code, text, &length);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (failures_end_the_job) /* what was recorded before was to be agreed on: that is over */
        orth_error_clear();
    orth_status status =
        orth_fail(ORTH_ERR_ENVIRONMENT, "MPI: rank %d: %.*s: %s; see whether a rank or a link died",
                  rank, (int)strcspn(call, "("), call, text);
    return failures_end_the_job ? orth_end_job(MPI_COMM_WORLD, status) : status;
}
