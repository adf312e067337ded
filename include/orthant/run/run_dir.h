#ifndef ORTHANT_RUN_RUN_DIR_H
#define ORTHANT_RUN_RUN_DIR_H

#include <orthant/base/path.h>

#include <mpi.h>
#include <stdbool.h>
#include <stdio.h>

/** Whether a path is a run directory: one has its folder `checkpoints` from its start on. Local. */
bool orth_run_dir_recognise(const char *path);

/** Whether `run_dir` is a folder where files can be written, or one can be made there: asked before
 * data is read, and leaves nothing behind. Collective over `comm`; agreed. ORTH_ERR_STORAGE. */
orth_status orth_run_dir_try(const char *run_dir, MPI_Comm comm);

/**
 * Make `run_dir` (its parent must exist), `checkpoints` and `eval` in it as far as they are
 * missing, and try whether files can be written there. Every rank must see the folder. Collective
 * over `comm`; agreed. ORTH_ERR_STORAGE.
 */
orth_status orth_run_dir_create(const char *run_dir, MPI_Comm comm);

/**
 * Write `<run_dir>/<name>` whole or not at all: a temporary file, synced, then renamed. Rank 0
 * writes; collective over `comm`; agreed. ORTH_ERR_STORAGE.
 */
orth_status orth_run_dir_write(const char *run_dir, const char *name, const char *text,
                               MPI_Comm comm);

/** Open `<run_dir>/orthant.log` for appending. Not collective: rank 0 calls it and hands the file
 * to orth_log_file; the caller closes it. ORTH_ERR_STORAGE. */
orth_status orth_run_dir_open_log(const char *run_dir, FILE **out);

#endif
