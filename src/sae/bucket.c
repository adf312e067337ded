#include <orthant/sae/bucket.h>

#include <orthant/base/memory.h>
#include <orthant/par/collective.h>

#include <string.h>

enum {
    /* At least, where the shard has them: a few are in cache, and a message is still long. */
    BUCKET_LATENTS = 128,
    LEAST_CHUNK = 8,
    GRADIENT_TAG = 0,
    WEIGHTS_TAG = 1 /* and the next one: W_enc, W_dec */
};

/* With many groups a bucket has a chunk of every part, so chunks are smaller. */
static int64_t chunk_rows(const orth_grid *grid, int64_t n_own)
{
    int64_t rows = ORTH_CHUNK_LATENTS, largest = orth_partition_largest(n_own, grid->n_group);
    while (rows > LEAST_CHUNK && (rows * grid->n_group > 4 * BUCKET_LATENTS || rows / 2 >= largest))
        rows /= 2;
    return rows;
}

int64_t orth_buckets_received(const orth_grid *grid, int64_t n_latent, int64_t d_model,
                              int64_t *messages)
{
    int64_t n_own = orth_range_size(orth_grid_latents(grid, n_latent));
    int64_t n_part = orth_range_size(orth_grid_part(grid, n_latent)), size = sizeof(float);
    int64_t rows = chunk_rows(grid, n_own), chunks = orth_partition_largest(n_part, rows);
    int64_t peers = grid->n_group - 1;
    *messages += 3 * chunks * peers;
    return peers * chunks * rows * (2 * d_model + 1) * size +
           (n_own - n_part) * (2 * d_model + 1) * size;
}

/* A chunk's gradient is one piece of memory: rows of W_enc, rows of W_dec, biases. */
static int64_t chunk_floats(const orth_sae *sae, const orth_buckets *buckets)
{
    return buckets->chunk * (2 * sae->d_model + 1);
}

static void choose_sizes(const orth_sae *sae, orth_buckets *out)
{
    int64_t groups = sae->grid->n_group;
    int64_t n_own = orth_range_size(sae->own), largest = orth_partition_largest(n_own, groups);
    out->chunk = chunk_rows(sae->grid, n_own);
    int64_t wanted = orth_partition_largest(BUCKET_LATENTS, out->chunk * groups);
    int64_t busy = orth_partition_largest(sae->grid->threads, groups);
    int64_t most = orth_partition_largest(largest, out->chunk);
    out->per_part = wanted > busy ? wanted : busy;
    if (out->per_part > most)
        out->per_part = most > 0 ? most : 1;
    out->count = orth_partition_largest(largest, out->chunk * out->per_part);
}

orth_status orth_buckets_create(const orth_sae *sae, orth_buckets *out)
{
    orth_buckets buckets = {0};
    orth_status status = ORTH_OK;
    choose_sizes(sae, &buckets);
    int64_t size = sae->grid->n_group * buckets.per_part * chunk_floats(sae, &buckets);
    for (int i = 0; i < 2; i++) {
        buckets.gradients[i].comm = buckets.weights[i].comm = sae->grid->peers;
        if (status == ORTH_OK)
            status = ORTH_ALLOCATE(size, "gradient of a bucket", &buckets.made[i]);
        if (status == ORTH_OK)
            status = ORTH_ALLOCATE(size, "gradient of a bucket", &buckets.got[i]);
    }
    if (status == ORTH_OK)
        *out = buckets;
    else
        orth_buckets_free(&buckets);
    return status;
}

void orth_buckets_free(orth_buckets *buckets)
{
    for (int i = 0; i < 2; i++) {
        orth_free(buckets->made[i]);
        orth_free(buckets->got[i]);
        orth_transfer_free(&buckets->gradients[i]);
        orth_transfer_free(&buckets->weights[i]);
    }
    memset(buckets, 0, sizeof *buckets);
}

/* Rows of part `peer` from chunk `c` of the bucket on, `chunks` of them. */
static orth_range rows_from(const orth_sae *sae, const orth_buckets *buckets, int64_t bucket,
                            int peer, int64_t c, int64_t chunks)
{
    orth_range part = orth_partition(orth_range_size(sae->own), sae->grid->n_group, peer);
    int64_t begin = part.begin + (bucket * buckets->per_part + c) * buckets->chunk;
    int64_t end = begin + chunks * buckets->chunk;
    return (orth_range){begin < part.end ? begin : part.end, end < part.end ? end : part.end};
}

orth_range orth_bucket_rows(const orth_sae *sae, const orth_buckets *buckets, int64_t bucket,
                            int peer, int64_t c)
{
    return rows_from(sae, buckets, bucket, peer, c, 1);
}

static orth_block_gradient chunk_at(const orth_sae *sae, const orth_buckets *buckets, float *all,
                                    int peer, int64_t c)
{
    float *chunk = all + (peer * buckets->per_part + c) * chunk_floats(sae, buckets);
    int64_t rows = buckets->chunk * sae->d_model;
    return (orth_block_gradient){chunk, chunk + rows, chunk + 2 * rows};
}

orth_block_gradient orth_bucket_place(const orth_sae *sae, const orth_buckets *buckets,
                                      int64_t bucket, int peer, int64_t c)
{
    return chunk_at(sae, buckets, buckets->made[bucket % 2], peer, c);
}

/* Bytes of a part's gradient in a bucket: whole chunks. */
static int64_t gradient_bytes(const orth_sae *sae, const orth_buckets *buckets, int64_t bucket,
                              int peer)
{
    int64_t rows = orth_range_size(rows_from(sae, buckets, bucket, peer, 0, buckets->per_part));
    return orth_partition_largest(rows, buckets->chunk) * chunk_floats(sae, buckets) *
           (int64_t)sizeof(float);
}

orth_status orth_bucket_send(const orth_sae *sae, orth_buckets *buckets, int64_t bucket)
{
    const orth_grid *grid = sae->grid;
    orth_transfer *transfer = &buckets->gradients[bucket % 2];
    int own = grid->group_index;
    int64_t in = gradient_bytes(sae, buckets, bucket, own);
    for (int step = 1; step < grid->n_group; step++) {
        int from = (own - step + grid->n_group) % grid->n_group;
        ORTH_TRY(orth_transfer_receive(
            transfer, chunk_at(sae, buckets, buckets->got[bucket % 2], from, 0).W_enc, in, from,
            GRADIENT_TAG));
    }
    for (int step = 1; step < grid->n_group; step++) {
        int to = (own + step) % grid->n_group;
        ORTH_TRY(orth_transfer_send(transfer,
                                    chunk_at(sae, buckets, buckets->made[bucket % 2], to, 0).W_enc,
                                    gradient_bytes(sae, buckets, bucket, to), to, GRADIENT_TAG));
    }
    return ORTH_OK;
}

orth_status orth_bucket_wait(orth_buckets *buckets, int64_t bucket)
{
    return orth_transfer_finish(&buckets->gradients[bucket % 2]);
}

void orth_bucket_sum(const orth_sae *sae, const orth_buckets *buckets, int64_t bucket, int64_t c,
                     orth_range rows, const orth_block_gradient *out)
{
    int groups = sae->grid->n_group, own = sae->grid->group_index;
    int64_t d = sae->d_model, n = orth_range_size(rows);
    const float *W_enc[groups], *W_dec[groups], *b_enc[groups];
    for (int g = 0; g < groups; g++) {
        float *all = g == own ? buckets->made[bucket % 2] : buckets->got[bucket % 2];
        orth_block_gradient chunk = chunk_at(sae, buckets, all, g, c);
        W_enc[g] = chunk.W_enc + rows.begin * d;
        W_dec[g] = chunk.W_dec + rows.begin * d;
        b_enc[g] = chunk.b_enc + rows.begin;
    }
    orth_add_in_order(W_enc, groups, n * d, out->W_enc);
    orth_add_in_order(W_dec, groups, n * d, out->W_dec);
    orth_add_in_order(b_enc, groups, n, out->b_enc);
}

orth_status orth_bucket_share(const orth_sae *sae, orth_buckets *buckets, int64_t bucket)
{
    const orth_grid *grid = sae->grid;
    orth_transfer *transfer = &buckets->weights[bucket % 2];
    float *W[] = {sae->weights.W_enc, sae->weights.W_dec};
    int64_t d = sae->d_model, row = d * (int64_t)sizeof(float);
    ORTH_TRY(orth_transfer_finish(transfer));
    for (int m = 0; m < 2; m++)
        for (int step = 1; step < grid->n_group; step++) {
            int from = (grid->group_index - step + grid->n_group) % grid->n_group;
            orth_range rows = rows_from(sae, buckets, bucket, from, 0, buckets->per_part);
            ORTH_TRY(orth_transfer_receive(transfer, W[m] + rows.begin * d,
                                           orth_range_size(rows) * row, from, WEIGHTS_TAG + m));
        }
    orth_range own = rows_from(sae, buckets, bucket, grid->group_index, 0, buckets->per_part);
    for (int m = 0; m < 2; m++)
        for (int step = 1; step < grid->n_group; step++)
            ORTH_TRY(orth_transfer_send(transfer, W[m] + own.begin * d, orth_range_size(own) * row,
                                        (grid->group_index + step) % grid->n_group,
                                        WEIGHTS_TAG + m));
    return ORTH_OK;
}

orth_status orth_buckets_progress(orth_buckets *buckets)
{
    for (int i = 0; i < 2; i++) {
        ORTH_TRY(orth_transfer_progress(&buckets->gradients[i]));
        ORTH_TRY(orth_transfer_progress(&buckets->weights[i]));
    }
    return ORTH_OK;
}

orth_status orth_buckets_finish(orth_buckets *buckets)
{
    for (int i = 0; i < 2; i++) {
        ORTH_TRY(orth_transfer_finish(&buckets->gradients[i]));
        ORTH_TRY(orth_transfer_finish(&buckets->weights[i]));
    }
    return ORTH_OK;
}
