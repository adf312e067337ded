#ifndef ORTHANT_APP_LAUNCH_H
#define ORTHANT_APP_LAUNCH_H

#include <orthant/base/status.h>

#include <mpi.h>
#include <stdbool.h>

/** How the program was started, and whether MPI made of it what the launcher meant. */

/** The rank that the launcher gave this process, -1 without a launcher; from the environment alone.
 * Local. */
int orth_launch_rank(void);

/** Whether this is the launcher's first process (also true without a launcher), from the
 * environment alone: before MPI_Init, or when MPI does not know of the others. Local. */
bool orth_launch_first(void);

/** Whether this is the launcher's first process on its node, from the environment alone. Local. */
bool orth_launch_first_of_node(void);

/** That this processor has what the program was compiled for, before it ends in an illegal
 * instruction. As early as can be. ORTH_ERR_ENVIRONMENT. Local. */
orth_status orth_launch_check_processor(void);

/** Tell Open MPI through the environment what to leave alone: shared file pointers and, without a
 * launcher, its daemon. To be called before MPI_Init. Local. */
void orth_launch_prepare(void);

/** What the environment alone tells about a launcher that MPI will not understand: to be called
 * before MPI_Init, which may end the program. ORTH_ERR_ENVIRONMENT. Local. */
orth_status orth_launch_check_environment(void);

/** That the MPI library gives what the program needs. Local. */
orth_status orth_launch_check_threads(int provided);

/**
 * That a launcher that started several processes did not make as many worlds of one rank (an MPI
 * that does not speak the launcher's protocol). ORTH_ERR_ENVIRONMENT with the remedy. Collective.
 */
orth_status orth_launch_check_world(MPI_Comm world);

/** That every rank runs the same executable with the same arguments. Collective; agreed.
 * ORTH_ERR_ENVIRONMENT names a rank that differs from rank 0. */
orth_status orth_launch_check_same(MPI_Comm world, int argc, char **argv);

#endif
