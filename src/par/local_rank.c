#include <orthant/par/local_rank.h>

#include <stddef.h>
#include <stdlib.h>

int orth_local_rank(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID",
                                        "SLURM_LOCALID"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *rank = getenv(names[i]);
        if (rank)
            return (int)strtol(rank, NULL, 10);
    }
    return -1;
}
