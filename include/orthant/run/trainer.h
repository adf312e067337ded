#ifndef ORTHANT_RUN_TRAINER_H
#define ORTHANT_RUN_TRAINER_H

#include <orthant/run/config.h>

#include <mpi.h>
#include <stdbool.h>

/**
 * Train as the configuration says, from where `resume` says: "auto" the newest valid checkpoint of
 * run.dir, else a fresh start; "never" a fresh start, refused when there are checkpoints; else the
 * path of a checkpoint. Returns ORTH_OK when all steps are done, ORTH_STOPPED when a signal or the
 * time limit ended the run early with a checkpoint.
 *
 * Collective over `world`; agreed. A rank that fails alone inside a step ends the whole job with
 * its error line and exit code, because the others are waiting for it in a collective.
 */
orth_status orth_train(const orth_config *config, const char *resume, bool quiet, MPI_Comm world);

#endif
