#ifndef ORTHANT_EVAL_LATENTS_H
#define ORTHANT_EVAL_LATENTS_H

#include <orthant/sae/step.h>

#include <stdbool.h>
#include <stdint.h>

/**
 * What each latent does on a table of tokens: how often and how strongly it fires, the tokens that
 * excite it most, the latents nearest to it (Gao et al. 2024, their viewer). Sums run over the
 * tokens of the feed while it passes; memory is n_own (16 examples + 32) bytes, however many tokens
 * there are. Everything is the same bits on every grid, thread count and instruction set.
 */

/** What is wanted. */
typedef struct orth_latents_options {
    int64_t examples;   ///< tokens to be kept of each latent, those of the largest values
    int64_t neighbours; ///< nearest latents of each; 0: none (n^2 d multiplications saved)
    double dense;       ///< a latent that fires on a larger share of the tokens is dense
} orth_latents_options;

/** What a user gets who asks for nothing else: 10 examples, 5 neighbours, dense above 10 %. */
#define ORTH_LATENTS_DEFAULT ((orth_latents_options){.examples = 10, .neighbours = 5, .dense = 0.1})

/** A token on which a latent fired. */
typedef struct orth_latent_example {
    int64_t row;  ///< in the table; -1: the latent has fewer examples than there is room for
    double value; ///< f_i
} orth_latent_example;

/** A latent near another one. */
typedef struct orth_latent_neighbour {
    int64_t latent; ///< global; -1: there are fewer
    double cosine;  ///< of the rows of W_dec, signed
} orth_latent_neighbour;

/** One latent. A token counts when f_i > 0. */
typedef struct orth_latent {
    int64_t count;    ///< tokens on which it fired
    double frequency; ///< count / tokens
    double sum;       ///< of f_i, added in units of 2^-64, then rounded; infinite from 2^64 on
    double max;       ///< 0 when it never fired
    double mean;      ///< sum / count: when active; NaN when it never fired
    bool dead;        ///< count = 0
    bool dense;       ///< frequency > options.dense
} orth_latent;

/** Latents of one range, brought together on rank 0. */
typedef struct orth_latents_slab {
    orth_range range;                 ///< global latents
    int64_t examples;                 ///< places of each
    int64_t neighbours;               ///< the same
    orth_latent *latent;              ///< (size of the range)
    orth_latent_example *example;     ///< (size, examples) largest value first, ties: lower row
    orth_latent_neighbour *neighbour; ///< (size, neighbours) largest cosine first, ties: lower one
} orth_latents_slab;

/** Latents of a model under way, then found. */
typedef struct orth_latents orth_latents;

/** Start. The model outlives it. Local. End with orth_latents_free. */
orth_status orth_latents_create(const orth_sae *sae, const orth_latents_options *options,
                                orth_latents **out);

/** Take in the code that orth_forward has just left in the workspace, whose first token is row
 * `first_row` of the table. Batches come in the table's order. Local; cannot fail. */
void orth_latents_add(orth_latents *latents, const orth_workspace *workspace, int64_t first_row);

/**
 * Merge what the token groups found and find the neighbours; `tokens` are those of weight one in
 * the table. Afterwards each rank holds its own part of its shard (orth_sae.part). Neighbours take
 * n^2 d multiplications over all ranks, in tiles; shards travel in blocks of bounded size. A zero
 * row of W_dec has cosine 0 with all others. Collective over the grid; a failure ends the run.
 */
orth_status orth_latents_finish(orth_latents *latents, int64_t tokens);

/**
 * Bring latents [range.begin, range.end) to rank 0, which sets *out; on the others *out is empty.
 * Slabs of a few thousand keep memory bounded. Collective over the grid, with the same range; a
 * failure ends the run. End with orth_latents_slab_free.
 */
orth_status orth_latents_gather(const orth_latents *latents, orth_range range,
                                orth_latents_slab *out);

/** options.dense. Local. */
double orth_latents_dense(const orth_latents *latents);

/** How many latents a slab of about 16 MiB holds. Local. */
int64_t orth_latents_slab_size(const orth_latents *latents);

/** Free. NULL and a zeroed struct are allowed. Local. */
void orth_latents_slab_free(orth_latents_slab *slab);
void orth_latents_free(orth_latents *latents);

#endif
