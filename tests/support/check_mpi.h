#ifndef ORTHANT_TESTS_CHECK_MPI_H
#define ORTHANT_TESTS_CHECK_MPI_H

#include <check.h>
#include <mpi.h>
#include <stdbool.h>

/**
 * Run a suite under MPI (any number of ranks, also alone): initialises MPI, runs the tests in this
 * process (no fork), agrees the number of failures. Returns the exit code for main.
 */
int orth_check_main(Suite *(*make)(void));

/**
 * Assert on all ranks of MPI_COMM_WORLD together: when the condition fails on any rank, every rank
 * fails, so that none is left waiting in a collective. Collective.
 */
#define ck_agree(condition, ...) orth_check_agree((condition), #condition, __FILE__, __LINE__)

void orth_check_agree(bool passed, const char *condition, const char *file, int line);

/** A fresh folder for this test's files, the same on all ranks; removed by orth_check_main's end.
 */
const char *orth_check_folder(void);

#endif
