#include <orthant/eval/geometry.h>

#include <orthant/base/memory.h>
#include <orthant/kern/gram.h>
#include <orthant/kern/norm.h>
#include <orthant/par/agree.h>
#include <orthant/par/alive.h>
#include <orthant/par/collective.h>

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

/* Rows that travel at a time. */
enum { BLOCK_ROWS = 1024 };

typedef struct survey {
    const orth_sae *sae;
    int64_t blocks; ///< of the largest shard
    float *visitor; ///< (BLOCK_ROWS, d) a block of another shard
    orth_gram_tiles tiles;
    orth_gram gram;
} survey;

static orth_range shard_of(const orth_sae *sae, int shard)
{
    return orth_partition(sae->recipe.n_latent, sae->grid->n_shard, shard);
}

static orth_range block_of(orth_range shard, int64_t block)
{
    int64_t begin = block * BLOCK_ROWS, end = begin + BLOCK_ROWS, size = orth_range_size(shard);
    return (orth_range){begin < size ? begin : size, end < size ? end : size};
}

/* The own shard against itself: pairs with the lower latent first. */
static void add_own(survey *s)
{
    const orth_sae *sae = s->sae;
    const float *W = sae->weights.W_dec;
    int64_t d = sae->d_model;
    for (int64_t b = 0; b < s->blocks; b++) {
        orth_range rows = block_of(sae->own, b);
        if (rows.begin == rows.end)
            continue;
        orth_gram_add(W, rows.end, W + rows.begin * d, orth_range_size(rows), d, rows.begin,
                      sae->grid->group_index, sae->grid->n_group, &s->tiles, &s->gram);
        orth_alive();
    }
}

/* Send the own block `b` to the shard `offset` places before, receive that of the one after. */
static orth_status exchange(survey *s, int to, int from, int64_t b)
{
    const orth_sae *sae = s->sae;
    int64_t d = sae->d_model;
    orth_range out = block_of(sae->own, b), in = block_of(shard_of(sae, from), b);
    /* A row is one element, so that counts stay within an int for any width. */
    MPI_Datatype row;
    ORTH_MPI(MPI_Type_contiguous((int)d, MPI_FLOAT, &row));
    ORTH_MPI(MPI_Type_commit(&row));
    orth_status status = orth_mpi_status(
        ORTH_WAIT(MPI_Sendrecv(sae->weights.W_dec + out.begin * d, (int)orth_range_size(out), row,
                               to, 0, s->visitor, (int)orth_range_size(in), row, from, 0,
                               sae->grid->group, MPI_STATUS_IGNORE)),
        "MPI_Sendrecv");
    ORTH_MPI(MPI_Type_free(&row));
    return status;
}

/*
 * The own shard against the one `offset` places after. Opposite shards meet twice: the lower one
 * takes the first half of its own rows, the higher one the other half of those that visit.
 */
static orth_status add_other(survey *s, int offset)
{
    const orth_sae *sae = s->sae;
    const orth_grid *grid = sae->grid;
    int from = (grid->shard_index + offset) % grid->n_shard;
    int to = (grid->shard_index - offset + grid->n_shard) % grid->n_shard;
    bool twice = 2 * offset == grid->n_shard, lower = grid->shard_index < from;
    int64_t d = sae->d_model, n_own = orth_range_size(sae->own);
    int64_t own_rows = twice && lower ? n_own / 2 : n_own;
    int64_t skipped = twice && !lower ? orth_range_size(shard_of(sae, from)) / 2 : 0;
    for (int64_t b = 0; b < s->blocks; b++) {
        ORTH_TRY(exchange(s, to, from, b));
        orth_range rows = block_of(shard_of(sae, from), b);
        int64_t begin = rows.begin < skipped ? skipped : rows.begin;
        if (begin < rows.end && own_rows > 0)
            orth_gram_add(sae->weights.W_dec, own_rows, s->visitor + (begin - rows.begin) * d,
                          rows.end - begin, d, own_rows, grid->group_index, grid->n_group,
                          &s->tiles, &s->gram);
        orth_alive();
    }
    return ORTH_OK;
}

/* |sum_i w_i|^2 - sum_i |w_i|^2, which is the sum of the off-diagonal entries. */
static orth_status off_diagonal_sum(const orth_sae *sae, double *sums, double *out)
{
    int64_t d = sae->d_model, n_own = orth_range_size(sae->own);
    double square = 0.0;
    orth_column_sums(sae->weights.W_dec, n_own, d, 0, sums);
    sums[d] = 0.0;
    for (int64_t i = 0; i < n_own; i++)
        sums[d] += orth_dot_f64(sae->weights.W_dec + i * d, sae->weights.W_dec + i * d, d);
    ORTH_TRY(orth_sum_f64(sums, d + 1, sae->grid->group));
    for (int64_t j = 0; j < d; j++)
        square += sums[j] * sums[j];
    *out = square - sums[d];
    return ORTH_OK;
}

static orth_status add_pairs(survey *s, double *sums, orth_coherence *out)
{
    const orth_sae *sae = s->sae;
    double n = (double)sae->recipe.n_latent, d = (double)sae->d_model, total;
    add_own(s);
    for (int offset = 1; 2 * offset <= sae->grid->n_shard; offset++)
        ORTH_TRY(add_other(s, offset));
    double extremes[2] = {s->gram.max, s->gram.max_abs};
    ORTH_TRY(orth_allreduce(extremes, 2, MPI_DOUBLE, MPI_MAX, sae->grid->world));
    ORTH_TRY(orth_sum_f64(&s->gram.sum_abs, 1, sae->grid->world));
    ORTH_TRY(off_diagonal_sum(sae, sums, &total));
    *out = (orth_coherence){.max = extremes[0],
                            .mean = total / (n * (n - 1.0)),
                            .max_abs = extremes[1],
                            .mean_abs = s->gram.sum_abs / (0.5 * n * (n - 1.0)),
                            .welch = n > d ? sqrt((n - d) / (d * (n - 1.0))) : 0.0};
    return ORTH_OK;
}

orth_status orth_coherence_measure(const orth_sae *sae, orth_coherence *out)
{
    int64_t largest = orth_partition_largest(sae->recipe.n_latent, sae->grid->n_shard);
    survey s = {
        .sae = sae, .blocks = orth_partition_largest(largest, BLOCK_ROWS), .gram = ORTH_GRAM_NONE};
    double *sums = NULL;
    if (sae->recipe.n_latent < 2) {
        *out = (orth_coherence){0};
        return ORTH_OK;
    }
    orth_status status = ORTH_ALLOCATE(BLOCK_ROWS * sae->d_model, "visiting rows", &s.visitor);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(sae->d_model + 1, "sums", &sums);
    if (status == ORTH_OK)
        status = orth_gram_create(largest, BLOCK_ROWS, &s.tiles);
    status = orth_agree(sae->grid->world, status);
    if (status == ORTH_OK)
        status = add_pairs(&s, sums, out);
    orth_gram_free(&s.tiles);
    orth_free(sums);
    orth_free(s.visitor);
    return status;
}
