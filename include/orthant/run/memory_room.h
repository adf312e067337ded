#ifndef ORTHANT_RUN_MEMORY_ROOM_H
#define ORTHANT_RUN_MEMORY_ROOM_H

#include <orthant/base/status.h>

#include <mpi.h>

/** Bytes that processes of this node may still take, as far as the system tells: what is available,
 * and the limits of the control groups that this process is in. Infinite where nothing is told. */
double orth_memory_room(void);

/**
 * Compare what the ranks of each node will take at most with the room there: the first line of a
 * run that the system would end for its memory hours later names the node. A warning, because the
 * estimate is an upper bound. `bytes`: of this rank. Collective; agreed.
 */
orth_status orth_memory_room_check(double bytes, MPI_Comm world);

#endif
