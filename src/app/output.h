#ifndef ORTHANT_SRC_APP_OUTPUT_H
#define ORTHANT_SRC_APP_OUTPUT_H

#include <orthant/io/dataset.h>

#include <mpi.h>

/**
 * That a file to be written is none of those that are read: neither the model nor an activation
 * file, under whatever name. ORTH_ERR_USAGE names `option` and the file. Collective; agreed.
 */
orth_status orth_output_check(const char *option, const char *path, const char *model,
                              const orth_dataset *dataset, MPI_Comm world);

#endif
