#ifndef ORTHANT_PAR_GRID_H
#define ORTHANT_PAR_GRID_H

#include <orthant/base/status.h>
#include <orthant/par/partition.h>

#include <mpi.h>

/**
 * The ranks as `n_group x n_shard`: `rank = group * n_shard + shard`, so that the ranks of one
 * token group are neighbours. Communicators are plain (Open MPI corrupts files written over
 * Cartesian ones) and return errors instead of aborting.
 */
typedef struct orth_grid {
    MPI_Comm world; ///< every rank; a duplicate of what the grid was made from
    MPI_Comm group; ///< the token group: ranks that work on the same tokens, ordered by shard
    MPI_Comm peers; ///< ranks that own the same shard of latents, ordered by group
    int rank;       ///< in world
    int size;       ///< of world
    int n_group;
    int n_shard;
    int group_index;
    int shard_index;
    int threads; ///< the most that any rank has; 0 before orth_grid_agree_threads
} orth_grid;

/**
 * Make the grid. Collective over `comm`. `n_group * n_shard` must be its size (ORTH_ERR_USAGE names
 * the products that are). The caller ends it with orth_grid_free.
 */
orth_status orth_grid_create(MPI_Comm comm, int n_group, int n_shard, orth_grid *out);

/**
 * The grid of `size` ranks that moves the fewest bytes a step: inside a token group tokens and
 * reconstructions (batch / n_group x d), between groups gradients (n_latent / n_shard x d). A fixed
 * n_group or n_shard (not 0) is kept. Pure arithmetic. ORTH_ERR_USAGE when it does not divide
 * `size`.
 */
orth_status orth_grid_choose(int size, int64_t n_latent, int64_t batch, int64_t fixed_group,
                             int64_t fixed_shard, int *n_group, int *n_shard);

/** Free the communicators. Collective. A zeroed grid is allowed. */
void orth_grid_free(orth_grid *grid);

/** Set grid->threads, from which sizes follow that all ranks must choose alike: nodes differ in
 * their processors. `threads` are this rank's. Collective over the grid. */
orth_status orth_grid_agree_threads(orth_grid *grid, int threads);

/** The latents of `n_latent` that this rank owns. */
orth_range orth_grid_latents(const orth_grid *grid, int64_t n_latent);

/** The part of its shard whose optimizer state this rank holds, and which it reads from and writes
 * to checkpoints; the ranks that own the same shard share it. Global latents. */
orth_range orth_grid_part(const orth_grid *grid, int64_t n_latent);

/** The tokens of a batch of `batch` that this rank's token group works on. */
orth_range orth_grid_tokens(const orth_grid *grid, int64_t batch);

/** The part of its group's tokens (indices in the batch) that this rank reads. */
orth_range orth_grid_reads(const orth_grid *grid, int64_t batch);

#endif
