#ifndef ORTHANT_SRC_FOREIGN_SAE_FOLDER_PARTS_H
#define ORTHANT_SRC_FOREIGN_SAE_FOLDER_PARTS_H

#include "sae_format.h"

struct orth_sae_folder {
    const sae_format *format;
    char *path, *config_path, *tensors_path; ///< owned
    sae_source source;
};

/** Latents, and rows of a transposed matrix, that are moved at a time. */
enum { SAE_SLAB_LATENTS = 4096, SAE_SLAB_ROWS = 16 };

#endif
