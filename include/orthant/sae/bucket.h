#ifndef ORTHANT_SAE_BUCKET_H
#define ORTHANT_SAE_BUCKET_H

#include <orthant/par/transfer.h>
#include <orthant/sae/gradient.h>

/**
 * How the gradients of several token groups are summed: bucket after bucket, each a few chunks out
 * of every peer's part of the shard (orth_sae.part). A rank makes the gradient of all of them from
 * its own tokens and sends each peer what is the peer's; a peer adds the groups' gradients of its
 * rows in rank order, updates the rows, and sends the new rows back. While one bucket is under way
 * the next is made. What is added to what depends on the grid alone.
 */
typedef struct orth_buckets {
    int64_t chunk;    ///< rows of a chunk, at most ORTH_CHUNK_LATENTS
    int64_t per_part; ///< chunks of each part in a bucket
    int64_t count;    ///< buckets of a step
    float *made[2];   ///< (n_group, per_part, chunk of gradients) of this rank's tokens
    float *got[2];    ///< the same, of the own part from each peer
    orth_transfer gradients[2];
    orth_transfer weights[2];
} orth_buckets;

/** Buffers for the model's shard. Local. */
orth_status orth_buckets_create(const orth_sae *sae, orth_buckets *out);
void orth_buckets_free(orth_buckets *buckets);

/** Rows of the own shard (0: its first) that are chunk `c` of part `peer` in a bucket; may be
 * none. */
orth_range orth_bucket_rows(const orth_sae *sae, const orth_buckets *buckets, int64_t bucket,
                            int peer, int64_t c);

/** Where the gradient of that chunk is to be made. */
orth_block_gradient orth_bucket_place(const orth_sae *sae, const orth_buckets *buckets,
                                      int64_t bucket, int peer, int64_t c);

/** Send a bucket that is made. The main thread; local status. */
orth_status orth_bucket_send(const orth_sae *sae, orth_buckets *buckets, int64_t bucket);

/** Wait until the own part of a bucket has come from every peer. The main thread. */
orth_status orth_bucket_wait(orth_buckets *buckets, int64_t bucket);

/** Sum rows [rows.begin, rows.end) of chunk `c` of the own part over the token groups, in rank
 * order. Any thread; `out` may be the place of these rows in the own gradient. */
void orth_bucket_sum(const orth_sae *sae, const orth_buckets *buckets, int64_t bucket, int64_t c,
                     orth_range rows, const orth_block_gradient *out);

/** Send the own part's updated rows of a bucket to the peers, and receive theirs into the weights.
 * The main thread. */
orth_status orth_bucket_share(const orth_sae *sae, orth_buckets *buckets, int64_t bucket);

/** Move on what is under way, or wait for all of it. The main thread. */
orth_status orth_buckets_progress(orth_buckets *buckets);
orth_status orth_buckets_finish(orth_buckets *buckets);

/** Bytes that a rank receives from its peers for the update of a step: gradients of its part, rows
 * and encoder biases of theirs; in about how many messages (added to *messages). Pure arithmetic.
 */
int64_t orth_buckets_received(const orth_grid *grid, int64_t n_latent, int64_t d_model,
                              int64_t *messages);

/** Part of a block of gradients. */
static inline orth_block_gradient orth_block_rows(const orth_block_gradient *block, int64_t first,
                                                  int64_t d)
{
    return (orth_block_gradient){block->W_enc + first * d, block->W_dec + first * d,
                                 block->b_enc + first};
}

#endif
