#ifndef ORTHANT_RUN_CONFIG_SHARE_H
#define ORTHANT_RUN_CONFIG_SHARE_H

#include <orthant/run/config.h>

#include <mpi.h>

/**
 * Rank 0 loads the configuration (orth_config_load) and every rank gets the resolved text, so that
 * all train the same thing even where they see different files. Collective over `comm`; agreed.
 * ORTH_ERR_USAGE as orth_config_load, and when a key that training needs is missing.
 */
orth_status orth_config_load_shared(const char *path, const char *const *overrides,
                                    int64_t n_override, MPI_Comm comm, orth_config *out);

#endif
