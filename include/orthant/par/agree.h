#ifndef ORTHANT_PAR_AGREE_H
#define ORTHANT_PAR_AGREE_H

#include <orthant/base/status.h>

#include <mpi.h>

/**
 * All ranks of `comm` learn whether any of them failed: returns ORTH_OK on all when all passed
 * ORTH_OK, else the status of the lowest failing rank, on all. Collective. Between a local failure
 * and this call no other collective may stand; a collective function ends in one call of it.
 */
orth_status orth_agree(MPI_Comm comm, orth_status mine);

/**
 * Print the error of a failed run once: the lowest rank that recorded a text of the agreed status
 * prints "orthant: error: <text>". Collective over `comm`, with the agreed status.
 */
void orth_report(MPI_Comm comm, orth_status agreed);

#endif
