#include <orthant/sae/decode.h>

#include <orthant/base/memory.h>
#include <orthant/kern/table.h>
#include <orthant/par/collective.h>

#include <omp.h>
#include <string.h>

/* Entries that a thread takes at a time: what their copy, and the lanes of gradients, may have of
 * the second-level cache. */
enum { DECODED_ENTRIES = 24576, GRADIENT_ENTRIES = 6144 };

orth_status orth_product_scratch_create(bool gradient, orth_product_scratch *out)
{
    orth_product_scratch scratch = {.threads = omp_get_max_threads()};
    orth_status status = ORTH_ALLOCATE(scratch.threads, "tiles", &scratch.decode);
    if (status == ORTH_OK && gradient)
        status = ORTH_ALLOCATE(scratch.threads, "tiles", &scratch.gradient);
    for (int i = 0; i < scratch.threads && status == ORTH_OK; i++) {
        status =
            orth_tile_scratch_create(ORTH_TILE_LISTS, DECODED_ENTRIES, false, scratch.decode + i);
        if (status == ORTH_OK && gradient)
            status = orth_tile_scratch_create(ORTH_CHUNK_LATENTS, GRADIENT_ENTRIES, true,
                                              scratch.gradient + i);
    }
    if (status == ORTH_OK)
        *out = scratch;
    else
        orth_product_scratch_free(&scratch);
    return status;
}

void orth_product_scratch_free(orth_product_scratch *scratch)
{
    for (int i = 0; i < scratch->threads; i++) {
        if (scratch->decode)
            orth_tile_scratch_free(scratch->decode + i);
        if (scratch->gradient)
            orth_tile_scratch_free(scratch->gradient + i);
    }
    orth_free(scratch->decode);
    orth_free(scratch->gradient);
    memset(scratch, 0, sizeof *scratch);
}

/* Row by row. */
static void decode_far(const orth_sae *sae, const orth_code *code, orth_range tokens, float *out)
{
    int64_t d = sae->d_model, first = code->start[tokens.begin];
    orth_lists lists = {orth_range_size(tokens), code->start + tokens.begin, code->latent + first,
                        code->value + first};
    orth_rows rows = {.data = sae->weights.W_dec, .stride = d, .width = d, .far = true};
    orth_kernels_get()->sparse->combine(&lists, &rows, out, d);
}

/* Tile by tile. */
static void decode_tiles(const orth_sae *sae, const orth_code *code, orth_range tokens,
                         orth_tile_scratch *scratch, float *out)
{
    int64_t d = sae->d_model, n_own = orth_range_size(sae->own), n = orth_range_size(tokens);
    const int64_t *start = code->start + tokens.begin;
    orth_tiles tiles;
    orth_tiles_begin(scratch, n, start, n_own, &tiles);
    while (orth_tiles_next(scratch, n, start, code->latent, code->value, &tiles))
        for (int64_t j = 0; j < d; j += ORTH_TILE_COLUMNS)
            for (int64_t k = 0; k < tiles.n_tile; k++) {
                orth_rows rows = orth_tiles_pack(&tiles, k, sae->weights.W_dec, d, j, scratch);
                orth_kernels_get()->sparse->combine(tiles.lists + k, &rows, out + j, d);
            }
}

/* In a tile an entry costs a seventh of a far one; but a token's way through a tile costs as much
 * as that saves with 5 / 8 of an entry, and packing the tile as much as with PACK_COST. */
static bool is_far(const orth_code *code, orth_range tokens, int64_t n_own)
{
    enum { PACK_COST = 35 };
    int64_t entries = code->start[tokens.end] - code->start[tokens.begin];
    int64_t n_tile = (n_own + ORTH_TILE_ROWS - 1) / ORTH_TILE_ROWS;
    return entries < n_tile * (PACK_COST + orth_range_size(tokens) * 5 / 8);
}

static void decode_tokens(const orth_sae *sae, const orth_code *code, orth_range tokens,
                          orth_tile_scratch *scratch, float *out)
{
    int64_t d = sae->d_model;
    out += tokens.begin * d;
    memset(out, 0, (size_t)(orth_range_size(tokens) * d) * sizeof *out);
    if (is_far(code, tokens, orth_range_size(sae->own)))
        decode_far(sae, code, tokens, out);
    else
        decode_tiles(sae, code, tokens, scratch, out);
}

orth_status orth_decode(const orth_sae *sae, const orth_code *code, orth_product_scratch *scratch,
                        float *out)
{
    /* An even number of parts for each thread; where they begin and end changes no bit. */
    int64_t round = (int64_t)2 * omp_get_max_threads(), n = code->n_token;
    int64_t parts = round * (n / (round * ORTH_TILE_LISTS) + 1);
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t p = 0; p < parts; p++)
        decode_tokens(sae, code, (orth_range){n * p / parts, n * (p + 1) / parts},
                      scratch->decode + omp_get_thread_num(), out);
    int shards = sae->grid->n_shard;
    int64_t counts[shards];
    for (int s = 0; s < shards; s++)
        counts[s] = orth_range_size(orth_partition(n, shards, s)) * sae->d_model;
    return orth_reduce_scatter_f32(out, counts, sae->grid->group);
}
