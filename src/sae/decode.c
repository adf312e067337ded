#include <orthant/sae/decode.h>

#include <orthant/base/memory.h>
#include <orthant/kern/gemm.h>
#include <orthant/kern/table.h>
#include <orthant/par/collective.h>

#include <omp.h>
#include <string.h>

orth_status orth_dense_scratch_create(bool gradient, orth_dense_scratch *out)
{
    int64_t tile = (int64_t)omp_get_max_threads() * ORTH_DENSE_TOKENS * ORTH_DENSE_LATENTS;
    orth_dense_scratch scratch = {NULL, NULL};
    orth_status status = ORTH_ALLOCATE(tile, "dense tiles", &scratch.code);
    if (status == ORTH_OK && gradient)
        status = ORTH_ALLOCATE(tile, "dense tiles", &scratch.gradient);
    if (status == ORTH_OK)
        *out = scratch;
    else
        orth_dense_scratch_free(&scratch);
    return status;
}

void orth_dense_scratch_free(orth_dense_scratch *scratch)
{
    orth_free(scratch->code);
    orth_free(scratch->gradient);
    memset(scratch, 0, sizeof *scratch);
}

/* Tokens that a thread decodes at a time; at most what the scratch holds. */
enum { DECODED_TOKENS = 64 };

static void decode_sparse(const orth_sae *sae, const orth_code *code, orth_range tokens, float *out)
{
    int64_t d = sae->d_model;
    for (int64_t t = tokens.begin; t < tokens.end; t++)
        orth_kernels_get()->combine(code->start[t + 1] - code->start[t],
                                    code->latent + code->start[t], code->value + code->start[t],
                                    sae->weights.W_dec, d, out + t * d);
}

/* `at[t]` walks through token t's entries, which are in ascending order of latent. */
static void decode_dense(const orth_sae *sae, const orth_code *code, orth_range tokens, float *tile,
                         float *out)
{
    int64_t d = sae->d_model, n_own = orth_range_size(sae->own), at[ORTH_DENSE_TOKENS];
    memcpy(at, code->start + tokens.begin, (size_t)orth_range_size(tokens) * sizeof *at);
    for (int64_t first = 0; first < n_own; first += ORTH_DENSE_LATENTS) {
        int64_t end = first + ORTH_DENSE_LATENTS < n_own ? first + ORTH_DENSE_LATENTS : n_own;
        for (int64_t t = tokens.begin; t < tokens.end; t++) {
            float *row = tile + (t - tokens.begin) * ORTH_DENSE_LATENTS;
            memset(row, 0, ORTH_DENSE_LATENTS * sizeof *row);
            int64_t *e = at + (t - tokens.begin);
            for (; *e < code->start[t + 1] && code->latent[*e] < end; ++*e)
                row[code->latent[*e] - first] = code->value[*e];
        }
        orth_gemm(false, false, orth_range_size(tokens), d, end - first, tile, ORTH_DENSE_LATENTS,
                  sae->weights.W_dec + first * d, d, true, out + tokens.begin * d, d);
    }
}

orth_status orth_decode(const orth_sae *sae, const orth_code *code, orth_dense_scratch *scratch,
                        float *out)
{
    int64_t n_own = orth_range_size(sae->own);
    const int64_t part = DECODED_TOKENS;
    memset(out, 0, (size_t)(code->n_token * sae->d_model) * sizeof *out);
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t t = 0; t < code->n_token; t += part) {
        orth_range tokens = {t, t + part < code->n_token ? t + part : code->n_token};
        double entries = (double)(code->start[tokens.end] - code->start[tokens.begin]);
        float *tile =
            scratch->code + (int64_t)omp_get_thread_num() * ORTH_DENSE_TOKENS * ORTH_DENSE_LATENTS;
        if (entries > ORTH_DENSE_SHARE * (double)orth_range_size(tokens) * (double)n_own)
            decode_dense(sae, code, tokens, tile, out);
        else
            decode_sparse(sae, code, tokens, out);
    }
    return orth_sum_f32(out, code->n_token * sae->d_model, sae->grid->group);
}
