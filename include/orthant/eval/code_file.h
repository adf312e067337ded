#ifndef ORTHANT_EVAL_CODE_FILE_H
#define ORTHANT_EVAL_CODE_FILE_H

#include <orthant/sae/step.h>

#include <stdint.h>

/**
 * The codes of a table as CSR in one HDF5 file: `indptr` int64 (rows + 1), `latent` int32 (int64
 * where n_latent needs it) and `value` float32 (nnz), tokens in the table's order, global latents
 * ascending in a token; attributes `n_latent`, `d_model`, `model`. A row of weight zero has no
 * entries. The datasets are the same bytes on every grid, thread count and instruction set.
 */
typedef struct orth_code_file orth_code_file;

/**
 * Create `<path>.partial` for a table of `rows` rows that comes in batches of at most `batch`;
 * `model` names the model in the attribute. ORTH_ERR_STORAGE. Collective over the grid; agreed. End
 * with orth_code_file_close.
 */
orth_status orth_code_file_create(const char *path, const orth_sae *sae, const char *model,
                                  int64_t rows, int64_t batch, orth_code_file **out);

/**
 * Append the codes of the batch that orth_forward has just left in the workspace, whose first
 * token is row `first_row`: the ranks of a token group bring the shards' parts of each token
 * together, every rank writes one slab. Collective over the grid; agreed, but for MPI's own
 * failures.
 */
orth_status orth_code_file_add(orth_code_file *file, const orth_workspace *workspace,
                               int64_t first_row);

/** Number of entries so far. */
int64_t orth_code_file_entries(const orth_code_file *file);

/**
 * Close, and give the file its name. With `failed` not ORTH_OK (agreed) the partial file is removed
 * instead and `failed` returned. ORTH_ERR_STORAGE. Collective over the grid; agreed. NULL is
 * allowed.
 */
orth_status orth_code_file_close(orth_code_file *file, orth_status failed);

#endif
