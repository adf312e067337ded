#ifndef ORTHANT_SRC_EVAL_SHARD_BLOCK_H
#define ORTHANT_SRC_EVAL_SHARD_BLOCK_H

#include <orthant/sae/model.h>

/*
 * How the rows of W_dec visit the other ranks of a token group: in blocks, so that memory is
 * bounded whatever the size of a shard.
 */

/** Rows of a block. */
enum { ORTH_SHARD_BLOCK = 1024 };

/** Blocks of the largest shard. */
int64_t orth_shard_blocks(const orth_sae *sae);

/** The global latents of a shard's block; none beyond its end. */
orth_range orth_shard_block(const orth_sae *sae, int shard, int64_t block);

/**
 * The own block `block` goes to the shard `offset` places before, cyclically; that of the shard
 * `offset` after comes into `visitor` (ORTH_SHARD_BLOCK, d_model), its latents into *visiting.
 * Collective over the token group; a failure ends the run.
 */
orth_status orth_shard_exchange(const orth_sae *sae, int offset, int64_t block, float *visitor,
                                orth_range *visiting);

#endif
