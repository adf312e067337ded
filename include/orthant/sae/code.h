#ifndef ORTHANT_SAE_CODE_H
#define ORTHANT_SAE_CODE_H

#include <orthant/base/status.h>

#include <stdint.h>

/**
 * Sparse codes of a token group's tokens on the own shard, by rows (CSR). Entries of a token are in
 * ascending order of latent; every value is positive.
 */
typedef struct orth_code {
    int64_t n_token;
    int64_t *start;   ///< (n_token + 1) entries of token t: [start[t], start[t + 1])
    uint32_t *latent; ///< index in the own shard
    float *value;
    int64_t capacity;       ///< of latent and value
    int64_t token_capacity; ///< of start, less one
} orth_code;

/** The same by columns (CSC): for each latent of the shard its tokens, ascending. */
typedef struct orth_code_transposed {
    int64_t n_latent;
    int64_t *start;  ///< (n_latent + 1)
    uint32_t *token; ///< index in the token group's part of the batch
    float *value;
    int64_t capacity;
    int64_t latent_capacity;
    int64_t *place; ///< scratch: (parts, n_latent), then (threads, n_token)
    int64_t place_capacity;
} orth_code_transposed;

/** Number of entries. */
static inline int64_t orth_code_entries(const orth_code *code)
{
    return code->start[code->n_token];
}

/** The first entry in [begin, end), of one token, whose latent is not below `latent`. */
int64_t orth_code_first(const orth_code *code, int64_t begin, int64_t end, int64_t latent);

/** Make room for n_token tokens and start with none: start[0] = 0, n_token = 0. Local. */
orth_status orth_code_begin(orth_code *code, int64_t n_token);

/** Make room for `entries` entries in all; what is there stays. Local. */
orth_status orth_code_reserve(orth_code *code, int64_t entries);

/** Transpose; the result does not depend on the number of threads. Local. */
orth_status orth_code_transpose(const orth_code *code, int64_t n_latent, orth_code_transposed *out);

/** An order-free 64-bit sum over (token, global latent, value bits) of this rank's entries; the sum
 * over all ranks is equal on every grid. `first_token` and `first_latent` make indices global. */
uint64_t orth_code_hash(const orth_code *code, int64_t first_token, int64_t first_latent);

void orth_code_free(orth_code *code);
void orth_code_transposed_free(orth_code_transposed *code);

#endif
