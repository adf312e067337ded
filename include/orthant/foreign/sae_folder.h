#ifndef ORTHANT_FOREIGN_SAE_FOLDER_H
#define ORTHANT_FOREIGN_SAE_FOLDER_H

#include <orthant/foreign/tensor_file.h>
#include <orthant/sae/model.h>

#include <stdbool.h>

/**
 * Sparse autoencoders in the folders of other tools: SAELens, sparsify, dictionary_learning,
 * OpenAI's sparse_autoencoder and Gemma Scope's params.npz, in Orthant's terms. To add a tool: a
 * file with its operations (src/foreign/sae_format.h) and its line in the table of sae_folder.c.
 *
 * Tools differ in what they call a latent's value and in what they do before the encoder; whatever
 * can be folded into the weights is (a decoder bias that is not subtracted from the input, decoder
 * norms that codes are multiplied by, one constant that scales the input), so that codes and
 * reconstructions are the tool's. What cannot be folded is refused by name.
 */
typedef struct orth_sae_folder orth_sae_folder;

/** What a folder holds. */
typedef struct orth_sae_description {
    const char *tool; ///< "saelens", "sparsify", "dictionary_learning", "openai", "gemma_scope"
    char architecture[64]; ///< as the tool calls it
    int64_t n_latent;
    int64_t d_model;
    orth_selection_kind selection; ///< topk, batchtopk or jumprelu (a plain ReLU: thresholds 0)
    int64_t k;                     ///< of topk and batchtopk, else 0
    orth_input_norm input;         ///< none, layernorm or scale
    double input_scale;            ///< of scale, else 1
} orth_sae_description;

/**
 * Whether a path is such a folder, or a file that stands for one (params.npz, autoencoder.pt,
 * OpenAI's published <layer>.pt). Rank 0 looks. Collective over `comm`; agreed.
 */
orth_status orth_sae_folder_recognise(const char *path, MPI_Comm comm, bool *out);

/**
 * Read what the folder says and find its tensors. ORTH_ERR_USAGE when there is no such folder or it
 * is none of a known tool, ORTH_ERR_CORRUPT when a key or a tensor is missing, has another shape
 * than it must, or asks for what Orthant does not do; each is named. Collective over `comm`;
 * agreed. End with orth_sae_folder_close.
 */
orth_status orth_sae_folder_open(const char *path, MPI_Comm comm, orth_sae_folder **out);

const orth_sae_description *orth_sae_folder_description(const orth_sae_folder *folder);

/** The folder's tensors. */
const orth_tensor_file *orth_sae_folder_tensors(const orth_sae_folder *folder);

/**
 * Read the weights into the own shard of a model of the same sizes: W_enc, W_dec, b_enc, b_dec and,
 * where the model has them, thresholds; sets input_scale. Each rank reads what it owns, through a
 * bounded buffer. ORTH_ERR_CORRUPT for other sizes and for values that are not finite. Collective
 * over the model's grid; agreed.
 */
orth_status orth_sae_folder_read(orth_sae_folder *folder, orth_sae *sae);

/** Free. NULL is allowed. Not collective. */
void orth_sae_folder_close(orth_sae_folder *folder);

/** The tools that a folder can be written for, as "saelens, sparsify, ...". */
const char *orth_sae_folder_tools(void);

/** A model to be written for another tool. */
typedef struct orth_sae_export {
    const char *tool;
    const char *folder;       ///< to be made; it must not hold anything
    const orth_sae *sae;      ///< steps_since_fired go where the tool has a place for them
    const char *model;        ///< what it was made from; goes into orthant.json
    int64_t tokens;           ///< evaluated for the measures below; 0: there are none
    const int64_t *fired;     ///< (n_own) tokens on which each latent fired; NULL: unknown
    const double *square_sum; ///< (n_own) sum of f^2 over them; NULL: unknown
    const char *loss_json;    ///< what the calibration loses, a JSON object; NULL: nothing
} orth_sae_export;

/**
 * Whether the tool can express the model, and whether thresholds must be measured on data for it
 * (*calibrate: the caller sets sae->threshold). ORTH_ERR_USAGE names what the tool lacks. Local,
 * the same on all ranks.
 */
orth_status orth_sae_export_check(const char *tool, const orth_sae *sae, bool *calibrate);

/** That the folder can be made: ORTH_ERR_USAGE when it is there and holds something,
 * ORTH_ERR_STORAGE when it cannot be written. Asked before the work. Collective; agreed. */
orth_status orth_sae_export_try(const char *folder, MPI_Comm comm);

/**
 * Write the folder, whole or not at all: `<folder>.partial`, synced, then renamed. Ranks write
 * their own shards; of token groups the first. Collective over the grid; agreed.
 */
orth_status orth_sae_export_write(const orth_sae_export *what);

#endif
