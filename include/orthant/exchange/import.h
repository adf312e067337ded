#ifndef ORTHANT_EXCHANGE_IMPORT_H
#define ORTHANT_EXCHANGE_IMPORT_H

#include <orthant/base/status.h>

#include <mpi.h>
#include <stdint.h>

/**
 * Write what another tool saved (foreign/sae_folder.h), or any other model, as a checkpoint without
 * optimizer state: its configuration names the folder as init.file. `file` is replaced when it is
 * there; ORTH_ERR_USAGE when it is what is read, ORTH_ERR_STORAGE when it cannot be made, before
 * anything is read. Collective over `comm`; agreed.
 */
orth_status orth_import(const char *folder, const char *const *overrides, int64_t n_override,
                        const char *file, MPI_Comm comm);

#endif
