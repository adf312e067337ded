#ifndef ORTHANT_RUN_LATENTS_FILE_H
#define ORTHANT_RUN_LATENTS_FILE_H

#include <orthant/eval/latents.h>
#include <orthant/io/dataset.h>
#include <orthant/io/text.h>
#include <orthant/run/json_file.h>

/** How a latents file tells of examples. */
typedef struct orth_latents_text {
    const orth_dataset *dataset;
    orth_text *text;       ///< rank 0; NULL: examples show rows only
    int64_t before, after; ///< tokens around an example
} orth_latents_text;

/**
 * Write what was found of every latent as one JSON object: `model`, `step`, `n_latent`, `tokens`,
 * `dense_above`, `latents`: an object each, in order, with `latent`, `count`, `frequency`, `sum`,
 * `mean` (null when dead), `max`, `dead`, `dense`, `neighbours` [{latent, cosine}], `examples`
 * [{row, value, file, row_in_file, and as far as the files tell: document, place, tokens,
 * strings}]. Memory is bounded: latents come slab after slab. Collective over the grid; agreed. A
 * path that cannot be written is ORTH_ERR_STORAGE.
 */
orth_status orth_latents_write(const orth_latents *latents, const orth_sae *sae, const char *model,
                               int64_t tokens, const orth_latents_text *text, orth_json_file *file);

#endif
