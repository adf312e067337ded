#ifndef ORTHANT_SRC_APP_OUTPUT_H
#define ORTHANT_SRC_APP_OUTPUT_H

#include <orthant/app/verb.h>
#include <orthant/io/dataset.h>

#include <mpi.h>

/**
 * That no file of a call's ORTH_OPTION_OUTPUT options is one that must not be lost: none that an
 * argument or another option names (patterns included), no existing file of an exported folder
 * named there, and no existing configuration, metrics, log, lock, count of restarts or checkpoint
 * of a run directory, named or not. Other files may be replaced. Asked before a verb runs; what a
 * verb reads besides, it asks about with orth_output_check. ORTH_ERR_USAGE names the option and the
 * file. Rank 0 looks. Collective; agreed.
 */
orth_status orth_output_guard(const orth_verb *verb, const orth_call *call, MPI_Comm world);

/** The same of one file that an option leads to. Not collective: rank 0 looks. */
orth_status orth_output_guard_file(const char *option, const char *path, const orth_verb *verb,
                                   const orth_call *call);

/**
 * That a file to be written is none of those that are read: neither the model nor an activation
 * file, under whatever name. ORTH_ERR_USAGE names `option` and the file. Collective; agreed.
 */
orth_status orth_output_check(const char *option, const char *path, const char *model,
                              const orth_dataset *dataset, MPI_Comm world);

/** The same of names of files and folders, and patterns of them, as a configuration has them: the
 * guard's rules for what a call names. Collective; agreed. */
orth_status orth_output_check_names(const char *option, const char *path, const char *const *names,
                                    int64_t count, MPI_Comm world);

#endif
