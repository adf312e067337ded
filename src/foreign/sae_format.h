#ifndef ORTHANT_SRC_FOREIGN_SAE_FORMAT_H
#define ORTHANT_SRC_FOREIGN_SAE_FORMAT_H

/**
 * What the files of the tools (saelens.c, sparsify.c, ...) share with sae_folder*.c: a tool
 * describes where its tensors are and how its encoder differs; reading, folding and writing are
 * common.
 */
#include <orthant/foreign/sae_folder.h>
#include <orthant/foreign/tensor_writer.h>

#include <jansson.h>

/** The arrays of a model. */
typedef enum sae_part {
    SAE_W_ENC,
    SAE_W_DEC,
    SAE_B_ENC,
    SAE_B_DEC,
    SAE_THRESHOLD,
    SAE_PARTS
} sae_part;

/** Where an array is in the file. */
typedef struct sae_tensor {
    const orth_tensor_entry *entry; ///< NULL: not there, zeros
    bool transposed;                ///< a matrix (d_model, n_latent)
} sae_tensor;

/** A folder being read. */
typedef struct sae_source {
    const char *path;          ///< of the folder, or of the file
    const char *config_path;   ///< NULL: the tool has none
    json_t *config;            ///< its object; NULL: the tool has none
    orth_tensor_file *tensors; ///< open
    orth_sae_description description;
    sae_tensor parts[SAE_PARTS];
    bool uncentred;     ///< the encoder sees x: b_dec is not subtracted from it
    bool normed;        ///< values are multiplied by |W_dec,i| before they are judged and told
    bool judged_normed; ///< with normed: the thresholds already are of such values
} sae_source;

/** What goes into an entry of a tensor file. */
typedef enum sae_value {
    SAE_VALUE_PART,          ///< the array `part`
    SAE_VALUE_ONE_THRESHOLD, ///< a scalar: the threshold that all latents share
    SAE_VALUE_INTEGER,       ///< a scalar: entry.integer
    SAE_VALUE_REAL,          ///< a scalar: entry.real
    SAE_VALUE_FREQUENCY,     ///< (n_latent) share of tokens on which a latent fired; 1 if unknown
    SAE_VALUE_LOG_FREQUENCY, ///< (n_latent) log10(share + 1e-10)
    SAE_VALUE_MEAN_SQUARE,   ///< (n_latent) mean f^2 over all tokens; 0 if unknown
    SAE_VALUE_LAST_ACTIVE,   ///< (n_latent) steps since a latent was active; 0 if unknown
    SAE_VALUE_PLAIN          ///< no tensor: the entry says all
} sae_value;

typedef struct sae_item {
    orth_tensor_entry entry;
    sae_value value;
    sae_part part;
    bool transposed;
    bool uncentred; ///< b_enc for an encoder that sees x: b_enc - W_enc b_dec
} sae_item;

enum { SAE_ITEMS = 12, SAE_FILES = 2, SAE_TEXTS = 4 };

/** A tensor file to be written. */
typedef struct sae_file {
    const char *name;
    orth_tensor_format format;
    sae_item items[SAE_ITEMS];
    int count;
} sae_file;

/** A folder to be written: tensor files and small texts. */
typedef struct sae_target {
    sae_file files[SAE_FILES];
    int n_file;
    struct {
        const char *name;
        char *text; ///< owned
    } texts[SAE_TEXTS];
    int n_text;
} sae_target;

/** A tool. */
typedef struct sae_format {
    const char *name;
    const char *config_name;  ///< "cfg.json"; NULL: there is none
    const char *tensors_name; ///< "sae_weights.safetensors", another in each tool
    const char *suffix;       ///< of a file that stands for the folder, ".npz"; NULL: none
    /** Fill description, parts, uncentred and normed. Local, the same on all ranks. */
    orth_status (*describe)(sae_source *source);
    /** As orth_sae_export_check; NULL: folders of this tool are read only. */
    orth_status (*check)(const orth_sae *sae, bool *calibrate);
    /** Say what is to be written. Local, the same on all ranks. */
    orth_status (*plan)(const orth_sae_export *what, sae_target *target);
} sae_format;

extern const sae_format sae_format_saelens;
extern const sae_format sae_format_sparsify;
extern const sae_format sae_format_dictionary_learning;
extern const sae_format sae_format_openai;
extern const sae_format sae_format_gemma_scope;

/** The table, ending with NULL, and the line of a name (NULL: none). */
extern const sae_format *const sae_formats[];
const sae_format *sae_format_named(const char *name);

/* ---- for describe ---- */

/** An integer of the configuration from 1 on; absent: `fallback`, or an error when that is 0. */
orth_status sae_config_count(const sae_source *source, const char *key, int64_t fallback,
                             int64_t *out);

/** A text; absent or null: `fallback`, or an error when that is NULL. Borrowed. */
orth_status sae_config_text(const sae_source *source, const char *key, const char *fallback,
                            const char **out);

/** A truth value; absent or null: `fallback`. */
orth_status sae_config_flag(const sae_source *source, const char *key, bool fallback, bool *out);

/** An error: the key's value asks for what Orthant does not do. */
orth_status sae_refuse(const sae_source *source, const char *key, const char *value,
                       const char *why);

/** Name the tensor of an array; absent is an error, unless `optional`. */
orth_status sae_want(sae_source *source, sae_part part, const char *name, bool transposed,
                     bool optional);

/** Sizes and shapes, once all are named: they must agree with each other and with `d_model` and
 * `n_latent` where these are not 0; tensors that nobody named, but for those in `ignored` (ending
 * with NULL), are refused by name, because they would change the result. */
orth_status sae_check_tensors(sae_source *source, int64_t d_model, int64_t n_latent,
                              const char *const *ignored);

/* ---- for plan ---- */

/** Begin a file; the next items go into it. */
void sae_add_file(sae_target *target, const char *name, orth_tensor_format format);

/** Add an array; float32. */
void sae_add_part(sae_target *target, const orth_sae *sae, const char *name, sae_part part,
                  bool transposed);

/** Add b_enc for an encoder from whose input b_dec is not subtracted. */
void sae_add_uncentred_bias(sae_target *target, const orth_sae *sae, const char *name);

/** Add another entry; `entry` without its count. */
void sae_add_value(sae_target *target, const orth_tensor_entry *entry, sae_value value);

/** Add a vector of n_latent elements. */
void sae_add_vector(sae_target *target, const orth_sae *sae, const char *name,
                    orth_tensor_type type, sae_value value);

/** Add a text file with a JSON object, whose reference is taken. */
orth_status sae_add_json(sae_target *target, const char *name, json_t *object);

/** Add a text file. */
orth_status sae_add_text(sae_target *target, const char *name, const char *text);

/** An error: the tool cannot express the selection, or the input normalisation. */
orth_status sae_cannot_select(const char *tool, const orth_sae *sae, const char *what);
orth_status sae_cannot_normalise(const char *tool, const orth_sae *sae, const char *what,
                                 const char *known);

#endif
