#ifndef ORTHANT_SRC_EVAL_ALONE_H
#define ORTHANT_SRC_EVAL_ALONE_H

#include <orthant/par/end_job.h>

/** The status of a collective that is not agreed: where it failed on this rank alone, the others
 * wait in it or in the next one, and the job ends here. */
static inline orth_status orth_alone(MPI_Comm world, orth_status status)
{
    return status == ORTH_OK ? status : orth_end_job(world, status);
}

#endif
