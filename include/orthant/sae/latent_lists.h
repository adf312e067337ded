#ifndef ORTHANT_SAE_LATENT_LISTS_H
#define ORTHANT_SAE_LATENT_LISTS_H

#include <orthant/sae/code.h>

#include <stdint.h>

/** Entries of a block: 256 bytes with its link and one mark. */
enum { ORTH_LIST_ENTRIES = 31 };

/** A piece of a latent's list: of tokens on which it fires its values there, and what who adds the
 * codes says of the tokens. All but the last one are full. */
typedef struct orth_list_block {
    uint64_t next;                  ///< the block after it
    float value[ORTH_LIST_ENTRIES]; ///< > 0
    uint32_t mark[];                ///< (ORTH_LIST_ENTRIES, marks)
} orth_list_block;

/**
 * The codes of a whole table on the own shard by latents: for each latent of a range its tokens in
 * the order in which they came. Grows batch by batch, within bounded memory: when that is full the
 * last latents of the range are given up, to come in another pass over the table. 4 bytes an entry,
 * 4 for each of its marks, and half a block a latent.
 */
typedef struct orth_latent_lists {
    int64_t begin, end; ///< latents of the shard that are kept
    int64_t n_latent;   ///< of the shard
    int64_t marks;      ///< of a token
    int64_t block_bytes;
    int64_t most;    ///< blocks that there may be
    uint32_t *first; ///< (n_latent) block
    uint32_t *last;  ///< (n_latent)
    int64_t *count;  ///< (n_latent) entries
    char **slabs;    ///< of blocks, as they are needed
    int64_t n_slab;
    int64_t blocks;  ///< made so far
    int64_t used;    ///< of them
    uint32_t unused; ///< the first of those that are not, linked
} orth_latent_lists;

/** For a shard of `n_latent` latents, in about `memory` bytes, with `marks` numbers for each token.
 * Local. End with orth_latent_lists_free. */
orth_status orth_latent_lists_create(int64_t n_latent, int64_t memory, int64_t marks,
                                     orth_latent_lists *out);

/** Empty the lists, to keep the latents from `begin` on. Local. */
void orth_latent_lists_begin(orth_latent_lists *lists, int64_t begin);

/**
 * Add the entries of a code, each with the marks of its token: marks (n_token, lists->marks). When
 * memory is full, lists->end falls, but never to lists->begin. ORTH_ERR_ENVIRONMENT when even the
 * system has no memory. Local.
 */
orth_status orth_latent_lists_add(orth_latent_lists *lists, const orth_code *code,
                                  const uint32_t *marks);

/** Give up the latents from `end` on. Local. */
void orth_latent_lists_cut(orth_latent_lists *lists, int64_t end);

/** Called for one latent of the shard, the `i`th of those asked for, and the first `count` entries
 * of a block; the call is repeated, in order, until the list ends. Any thread, but one thread for
 * all of a latent. */
typedef void orth_list_visit(void *context, int64_t i, int64_t latent, const orth_list_block *block,
                             int64_t count);

/** Visit the lists of `n` latents of the shard (each in [begin, end)); the threads share them.
 * Local. */
void orth_latent_lists_visit(const orth_latent_lists *lists, const int64_t *latents, int64_t n,
                             orth_list_visit *visit, void *context);

/** Free. A zeroed struct is allowed. */
void orth_latent_lists_free(orth_latent_lists *lists);

#endif
