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
 * The rank to speak of an agreed failure: the lowest that recorded an error of this status, else
 * the lowest that recorded any (what fails may be worded as one status and agreed as another), -1
 * when none did. Collective.
 */
orth_status orth_agree_speaker(MPI_Comm comm, orth_status agreed, int *speaker);

/**
 * Print the error of a failed run once: the rank that orth_agree_speaker names prints
 * "orthant: error: <text>". Collective over `comm`, with the agreed status.
 */
void orth_report(MPI_Comm comm, orth_status agreed);

#endif
