#include <orthant/par/end_job.h>

#include <orthant/base/log.h>

orth_status orth_end_job(MPI_Comm world, orth_status status)
{
    if (orth_error_text()[0])
        orth_log_error("%s", orth_error_text());
    MPI_Abort(world, status);
    return status;
}
