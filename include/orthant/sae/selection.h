#ifndef ORTHANT_SAE_SELECTION_H
#define ORTHANT_SAE_SELECTION_H

#include <orthant/base/status.h>
#include <orthant/par/grid.h>
#include <orthant/sae/batch.h>
#include <orthant/sae/code.h>

#include <stdbool.h>
#include <stdint.h>

/** Latents of a tile: pre-activations come to a selection this many at a time. */
enum { ORTH_TILE_LATENTS = 128 };

/** What a selection has kept of the tokens of one block, as keys (kern/keys.h) in ascending order
 * of latent. While a block of listed latents is encoded keys hold the position in the list; from
 * close_block on, and otherwise, the global latent. */
typedef struct orth_candidates {
    int64_t capacity;    ///< keys that there is room for, per token
    int64_t block;       ///< tokens that there is room for
    int64_t n_token;     ///< tokens of the block under way
    int64_t first_token; ///< the first of them, in the token group's part of the batch
    uint64_t *keys;      ///< (block, capacity)
    int64_t *count;      ///< (block)
    float *above;        ///< (block) values not greater than this cannot be selected any more
    uint64_t *scratch;   ///< (threads, capacity)
} orth_candidates;

typedef struct orth_selection orth_selection;

/**
 * An activation function: what to keep of a tile, and how the ranks agree on the cut. To add one:
 * a file with its operations, and its line in the table of selection.c.
 */
typedef struct orth_selection_ops {
    const char *name;
    /** Keys per token that must be kept while a block is encoded, when each rank holds at most
     * `n_latent` latents; tiles come on top. */
    int64_t (*kept)(const orth_selection *selection, int64_t n_latent);
    /** Drop keys of one token of the block that cannot be selected. Local, called by any thread;
     * NULL: everything positive is kept until the block closes. */
    void (*prune)(orth_selection *selection, int64_t slot, uint64_t *scratch);
    /** A value that everything selected on this rank exceeds; NULL: 0. Local. */
    float (*floor)(const orth_selection *selection);
    /** Whether the coming block may be screened (sae/encode.h), and how many positive values of a
     * token can be selected at most; *k = 0: no number is known, only the floor counts. NULL:
     * never. */
    bool (*screened)(const orth_selection *selection, int64_t *k);
    /** The candidates are lower bounds of values, as keys with global latents: set above[slot] to a
     * value that as many as can be selected of the whole token group reach (0: fewer are positive).
     * Collective over the token group; NULL: no such value is agreed. */
    orth_status (*agree_floor)(orth_selection *selection);
    /** Agree what is selected of the block and append it to the code. Collective over the token
     * group. */
    orth_status (*close_block)(orth_selection *selection);
    /** Agree what is selected of the batch. Collective over the world; NULL: nothing is left. */
    orth_status (*close_batch)(orth_selection *selection);
    /** Allocate and free what the selection needs of its own; NULL: nothing. Local. */
    orth_status (*create)(orth_selection *selection);
    void (*free)(orth_selection *selection);
} orth_selection_ops;

/** A selection at work. */
struct orth_selection {
    const orth_selection_ops *ops;
    const orth_grid *grid;
    int64_t block_bytes;        ///< memory for the candidates of a block, about
    orth_range own;             ///< global latents of the own shard
    int64_t n_latent;           ///< of the whole dictionary
    int64_t n_token;            ///< most tokens of the token group in a batch
    float floor;                ///< values not greater cannot be selected in the next blocks
    int64_t k;                  ///< per token (topk), on average (batchtopk)
    int64_t k_inner;            ///< multi-topk: the smaller k, whose set is a subset; 0: none
    orth_code *code;            ///< receives what is selected
    orth_code *code_inner;      ///< receives the subset of k_inner
    const orth_batch *batch;    ///< of the step under way
    const double *target;       ///< topafa: t of each token of the group
    const double *decoder_norm; ///< topafa: |W_dec,i| of each own latent
    const float *threshold;     ///< jumprelu: of each own latent, none negative
    orth_candidates candidates;
    void *own_state; ///< of the operations
};

/** The operations of the configuration's selection. */
const orth_selection_ops *orth_selection_ops_of(orth_selection_kind kind);

/** Allocate for `n_token` tokens a group and at most `largest` encoded latents a rank. The caller
 * has set ops, grid, own, n_latent, k, k_inner. Local. */
orth_status orth_selection_create(orth_selection *selection, int64_t n_token, int64_t largest);
void orth_selection_free(orth_selection *selection);

/** Append the keys of the block, whatever is left of them, to a code. Local. */
orth_status orth_selection_append(const orth_selection *selection, orth_code *code);

extern const orth_selection_ops orth_selection_topk;
extern const orth_selection_ops orth_selection_topafa;
extern const orth_selection_ops orth_selection_batchtopk;
extern const orth_selection_ops orth_selection_jumprelu;

#endif
