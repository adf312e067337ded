#include <orthant/sae/compact.h>

#include <orthant/base/memory.h>

#include <omp.h>
#include <string.h>

/* Latents whose gradient a thread makes at a time: fewer are not worth the way over all tokens. */
enum { PART_LEAST = 8 };

static orth_status allocate(const orth_sae *sae, orth_compact *out)
{
    int64_t n_own = orth_range_size(sae->own), size = out->capacity * sae->d_model;
    ORTH_TRY(ORTH_ALLOCATE(n_own, "dead latents", &out->place));
    ORTH_TRY(ORTH_ALLOCATE(size, "dead latents", &out->W_dec));
    ORTH_TRY(ORTH_ALLOCATE(size, "dead latents", &out->gradient.W_enc));
    ORTH_TRY(ORTH_ALLOCATE(size, "dead latents", &out->gradient.W_dec));
    return ORTH_ALLOCATE(out->capacity, "dead latents", &out->gradient.b_enc);
}

orth_status orth_compact_create(const orth_sae *sae, orth_compact *out)
{
    orth_compact compact = {.capacity = orth_range_size(sae->own) / ORTH_COMPACT_SHARE};
    orth_status status = allocate(sae, &compact);
    if (status == ORTH_OK)
        *out = compact;
    else
        orth_compact_free(&compact);
    return status;
}

void orth_compact_free(orth_compact *compact)
{
    orth_free(compact->place);
    orth_free(compact->W_dec);
    orth_free(compact->gradient.W_enc);
    orth_free(compact->gradient.W_dec);
    orth_free(compact->gradient.b_enc);
    memset(compact, 0, sizeof *compact);
}

void orth_compact_begin(const orth_sae *sae, const orth_dead *dead, orth_compact *compact)
{
    int64_t d = sae->d_model;
    compact->used = dead->n_own <= compact->capacity;
    if (!compact->used)
        return;
    compact->ready = (orth_ready_gradient){dead->n_own, dead->index, compact->gradient};
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < dead->n_own; i++) {
        compact->place[dead->index[i]] = (uint32_t)i;
        memcpy(compact->W_dec + i * d, sae->weights.W_dec + (int64_t)dead->index[i] * d,
               (size_t)d * sizeof *compact->W_dec);
    }
}

int64_t orth_compact_latents(const orth_sae *sae, const orth_compact *compact)
{
    return compact->used ? compact->ready.n_row : orth_range_size(sae->own);
}

/* The model as products see it: the dead latents are its own shard. */
static orth_sae dictionary(const orth_sae *sae, const orth_compact *compact)
{
    orth_sae few = *sae;
    few.own.end = few.own.begin + orth_compact_latents(sae, compact);
    if (compact->used)
        few.weights.W_dec = compact->W_dec;
    return few;
}

orth_status orth_compact_decode(const orth_sae *sae, const orth_compact *compact, orth_code *code,
                                orth_product_scratch *scratch, float *out)
{
    orth_sae few = dictionary(sae, compact);
    int64_t entries = orth_code_entries(code);
    if (compact->used) {
        /* Both lists ascend, so entries stay in order. */
#pragma omp parallel for schedule(static)
        for (int64_t e = 0; e < entries; e++)
            code->latent[e] = compact->place[code->latent[e]];
    }
    return orth_decode(&few, code, scratch, out);
}

/* As many for each thread, unless they get too small. */
static int64_t count_parts(int64_t n_latent)
{
    int64_t threads = omp_get_max_threads(), most = n_latent / PART_LEAST;
    int64_t least = (n_latent + ORTH_CHUNK_LATENTS - 1) / ORTH_CHUNK_LATENTS;
    int64_t even = (least + threads - 1) / threads * threads;
    if (most < least)
        return least;
    return even < most ? even : most;
}

void orth_compact_gradient(const orth_sae *sae, const orth_batch *batch,
                           orth_product_scratch *scratch, orth_compact *compact,
                           orth_branch *branch)
{
    if (!compact->used)
        return;
    orth_sae few = dictionary(sae, compact);
    int64_t n = compact->ready.n_row, d = sae->d_model, parts = count_parts(n);
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t p = 0; p < parts; p++) {
        orth_range rows = {n * p / parts, n * (p + 1) / parts};
        orth_block_gradient mine = {compact->gradient.W_enc + rows.begin * d,
                                    compact->gradient.W_dec + rows.begin * d,
                                    compact->gradient.b_enc + rows.begin};
        orth_gradient_chunk(&few, batch, branch, 1, rows, scratch, &mine);
    }
    branch->ready = &compact->ready;
}
