#ifndef ORTHANT_TESTS_FUZZ_MODEL_H
#define ORTHANT_TESTS_FUZZ_MODEL_H

#include "fuzz.h"

#include <orthant/run/checkpoint.h>

#include <stdbool.h>

/* A small model whose checkpoint is the valid file that the targets damage. */
enum { MODEL_LATENTS = 5, MODEL_WIDTH = 4, MODEL_STEP = 7 };

/** Write the checkpoint, and return its bytes (kept). */
const char *model_checkpoint(size_t *size);

/** Write bytes to a file. */
void model_put(const char *path, const char *bytes, size_t size);

/** Look at a checkpoint in every way that the program has: what it holds, verify, read the arrays.
 * Returns whether all of it was accepted; *same then tells whether every value is the model's. */
bool model_examine(const char *path, bool *same);

#endif
