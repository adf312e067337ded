#include "shard_block.h"

#include <orthant/par/collective.h>

int64_t orth_shard_blocks(const orth_sae *sae)
{
    int64_t largest = orth_partition_largest(sae->recipe.n_latent, sae->grid->n_shard);
    return orth_partition_largest(largest, ORTH_SHARD_BLOCK);
}

orth_range orth_shard_block(const orth_sae *sae, int shard, int64_t block)
{
    orth_range all = orth_partition(sae->recipe.n_latent, sae->grid->n_shard, shard);
    int64_t begin = all.begin + block * ORTH_SHARD_BLOCK, end = begin + ORTH_SHARD_BLOCK;
    return (orth_range){begin < all.end ? begin : all.end, end < all.end ? end : all.end};
}

orth_status orth_shard_exchange(const orth_sae *sae, int offset, int64_t block, float *visitor,
                                orth_range *visiting)
{
    const orth_grid *grid = sae->grid;
    int64_t d = sae->d_model;
    int from = (grid->shard_index + offset) % grid->n_shard;
    int to = (grid->shard_index - offset + grid->n_shard) % grid->n_shard;
    orth_range out = orth_shard_block(sae, grid->shard_index, block);
    orth_range in = orth_shard_block(sae, from, block);
    /* A row is one element, so that counts stay within an int for any width. */
    MPI_Datatype row;
    ORTH_MPI(MPI_Type_contiguous((int)d, MPI_FLOAT, &row));
    ORTH_MPI(MPI_Type_commit(&row));
    orth_status status = orth_mpi_status(
        ORTH_WAIT(MPI_Sendrecv(sae->weights.W_dec + (out.begin - sae->own.begin) * d,
                               (int)orth_range_size(out), row, to, 0, visitor,
                               (int)orth_range_size(in), row, from, 0, grid->group,
                               MPI_STATUS_IGNORE)),
        "MPI_Sendrecv");
    ORTH_MPI(MPI_Type_free(&row));
    *visiting = in;
    return status;
}
