#ifndef ORTHANT_RUN_MODEL_SOURCE_H
#define ORTHANT_RUN_MODEL_SOURCE_H

#include <orthant/foreign/sae_folder.h>
#include <orthant/run/checkpoint.h>
#include <orthant/run/config.h>

/** What a MODEL argument of the command line stands for: a checkpoint, and how it was trained; or a
 * folder of another tool. */
typedef struct orth_model_source {
    char *path;              ///< of the checkpoint, or of the folder
    orth_sae_folder *folder; ///< open; NULL: a checkpoint
    orth_checkpoint_info info;
    orth_config config; ///< the checkpoint's, with the overrides; sizes resolved, the grid not kept
} orth_model_source;

/**
 * Find the model: a checkpoint file, a run directory, of which the newest checkpoint that verifies,
 * or what another tool wrote (foreign/sae_folder.h), without optimizer state.
 * `overrides` ("key=value") change the configuration that the checkpoint holds; a folder's has its
 * selection, k, sizes and normalisation, and defaults. A path that does not exist and a run without
 * checkpoints are ORTH_ERR_USAGE; what is damaged or no model is ORTH_ERR_CORRUPT. Collective over
 * `comm`; agreed. End with orth_model_close.
 */
orth_status orth_model_open(const char *model, const char *const *overrides, int64_t n_override,
                            MPI_Comm comm, orth_model_source *out);

/** The grid for a model that is only used: grid.n_group and grid.n_shard as the overrides say, else
 * what `auto` chooses for batches of `batch`. Collective over `comm`; agreed. */
orth_status orth_model_grid(const orth_model_source *source, int64_t batch, MPI_Comm comm,
                            orth_grid *out);

/** Read the weights, checksums included, into the shards of a grid; no moments. The step is
 * ORTH_STEP_UNKNOWN for a folder and for what was imported from one. Collective over the grid's
 * world; agreed. End with orth_sae_free. */
orth_status orth_model_load(const orth_model_source *source, const orth_grid *grid, orth_sae *out);

enum { ORTH_STEP_ROOM = 32 };

/** "step 300, " for a line that tells of a model; nothing where the step is not known. */
const char *orth_model_step_text(int64_t step, char room[ORTH_STEP_ROOM]);

/** Free. A zeroed struct is allowed. */
void orth_model_close(orth_model_source *source);

#endif
