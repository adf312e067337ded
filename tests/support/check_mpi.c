#define _XOPEN_SOURCE 700 /* nftw */

#include "check_mpi.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[64];

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info;
    (void)type;
    (void)walk;
    return remove(path);
}

const char *orth_check_folder(void)
{
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (!folder[0]) {
        snprintf(folder, sizeof folder, "/tmp/orthant-test-XXXXXX");
        if (rank == 0 && !mkdtemp(folder))
            MPI_Abort(MPI_COMM_WORLD, 1);
        MPI_Bcast(folder, sizeof folder, MPI_CHAR, 0, MPI_COMM_WORLD);
    }
    return folder;
}

void orth_check_agree(bool passed, const char *condition, const char *file, int line)
{
    int rank, failed = passed ? 0 : 1, any = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Allreduce(&failed, &any, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    if (any)
        ck_abort_msg("%s:%d: rank %d: '%s' %s", file, line, rank, condition,
                     failed ? "failed here" : "failed on another rank");
}

int orth_check_main(Suite *(*make)(void))
{
    int rank;
    MPI_Init(NULL, NULL);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    SRunner *runner = srunner_create(make());
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, rank == 0 ? CK_NORMAL : CK_MINIMAL);
    int failed = srunner_ntests_failed(runner);
    MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    srunner_free(runner);
    if (folder[0] && rank == 0)
        nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    MPI_Finalize();
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
