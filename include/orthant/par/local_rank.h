#ifndef ORTHANT_PAR_LOCAL_RANK_H
#define ORTHANT_PAR_LOCAL_RANK_H

/** The rank among those of this node that the launcher gave, -1 where it is not told; from the
 * environment alone, so that it is known before MPI_Init. Local. */
int orth_local_rank(void);

#endif
