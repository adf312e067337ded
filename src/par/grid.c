#include <orthant/par/grid.h>

#include <orthant/par/collective.h>

#include <stddef.h>
#include <stdio.h>

static orth_status split(MPI_Comm comm, int colour, int key, MPI_Comm *out)
{
    ORTH_MPI(MPI_Comm_split(comm, colour, key, out));
    ORTH_MPI(MPI_Comm_set_errhandler(*out, MPI_ERRORS_RETURN));
    return ORTH_OK;
}

orth_status orth_grid_create(MPI_Comm comm, int n_group, int n_shard, orth_grid *out)
{
    orth_grid grid = {.world = MPI_COMM_NULL, .group = MPI_COMM_NULL, .peers = MPI_COMM_NULL};
    ORTH_MPI(MPI_Comm_size(comm, &grid.size));
    ORTH_MPI(MPI_Comm_rank(comm, &grid.rank));
    if (n_group < 1 || n_shard < 1 || (int64_t)n_group * n_shard != grid.size)
        return orth_fail(ORTH_ERR_USAGE,
                         "grid.n_group x grid.n_shard: %d x %d is not the number of ranks, %d; set "
                         "both so that their product is %d, or leave one as auto",
                         n_group, n_shard, grid.size, grid.size);
    grid.n_group = n_group;
    grid.n_shard = n_shard;
    grid.group_index = grid.rank / n_shard;
    grid.shard_index = grid.rank % n_shard;
    ORTH_MPI(MPI_Comm_dup(comm, &grid.world));
    ORTH_MPI(MPI_Comm_set_errhandler(grid.world, MPI_ERRORS_RETURN));
    orth_status status = split(grid.world, grid.group_index, grid.shard_index, &grid.group);
    if (status == ORTH_OK)
        status = split(grid.world, grid.shard_index, grid.group_index, &grid.peers);
    if (status == ORTH_OK)
        *out = grid;
    return status;
}

/* Rows of d values that a rank sends and receives in a step, up to a common factor: tokens are
 * gathered once and reconstructions reduced (two transfers); so are both gradients. */
static double rows_moved(int64_t n_group, int64_t n_shard, int64_t n_latent, int64_t batch)
{
    double shards = (double)n_shard, groups = (double)n_group;
    double inside = 3.0 * (double)batch / groups * (shards - 1.0) / shards;
    double between = 4.0 * (double)n_latent / shards * (groups - 1.0) / groups;
    return inside + between;
}

orth_status orth_grid_choose(int size, int64_t n_latent, int64_t batch, int64_t fixed_group,
                             int64_t fixed_shard, int *n_group, int *n_shard)
{
    double least = -1.0;
    for (int shards = 1; shards <= size; shards++) {
        int groups = size / shards;
        if (groups * shards != size || (fixed_shard && fixed_shard != shards) ||
            (fixed_group && fixed_group != groups))
            continue;
        double moved = rows_moved(groups, shards, n_latent, batch);
        if (least < 0.0 || moved < least) {
            least = moved;
            *n_group = groups;
            *n_shard = shards;
        }
    }
    if (least < 0.0) {
        char groups[24] = "auto", shards[24] = "auto";
        if (fixed_group)
            snprintf(groups, sizeof groups, "%lld", (long long)fixed_group);
        if (fixed_shard)
            snprintf(shards, sizeof shards, "%lld", (long long)fixed_shard);
        return orth_fail(ORTH_ERR_USAGE,
                         "grid.n_group %s, grid.n_shard %s: no grid of %d ranks is like that; "
                         "start another number, or set both so that their product is %d",
                         groups, shards, size, size);
    }
    return ORTH_OK;
}

void orth_grid_free(orth_grid *grid)
{
    MPI_Comm *comms[] = {&grid->peers, &grid->group, &grid->world};
    for (size_t i = 0; i < sizeof comms / sizeof *comms; i++)
        if (grid->size && *comms[i] != MPI_COMM_NULL)
            MPI_Comm_free(comms[i]);
    grid->size = 0;
}

orth_status orth_grid_agree_threads(orth_grid *grid, int threads)
{
    grid->threads = threads;
    return orth_allreduce(&grid->threads, 1, MPI_INT, MPI_MAX, grid->world);
}

orth_range orth_grid_latents(const orth_grid *grid, int64_t n_latent)
{
    return orth_partition(n_latent, grid->n_shard, grid->shard_index);
}

orth_range orth_grid_part(const orth_grid *grid, int64_t n_latent)
{
    orth_range own = orth_grid_latents(grid, n_latent);
    orth_range part = orth_partition(orth_range_size(own), grid->n_group, grid->group_index);
    return (orth_range){own.begin + part.begin, own.begin + part.end};
}

orth_range orth_grid_tokens(const orth_grid *grid, int64_t batch)
{
    return orth_partition(batch, grid->n_group, grid->group_index);
}

orth_range orth_grid_reads(const orth_grid *grid, int64_t batch)
{
    orth_range tokens = orth_grid_tokens(grid, batch);
    orth_range part = orth_partition(orth_range_size(tokens), grid->n_shard, grid->shard_index);
    return (orth_range){tokens.begin + part.begin, tokens.begin + part.end};
}
