#include <orthant/sae/gradient.h>

#include <orthant/kern/gemm.h>
#include <orthant/kern/table.h>

#include <omp.h>
#include <string.h>

/* One latent of one branch by its entries. */
static void latent_sparse(const orth_sae *sae, const orth_batch *batch, const orth_branch *branch,
                          int64_t latent, float *values, float *g_enc, float *g_dec, float *g_bias)
{
    const orth_kernels *kernels = orth_kernels_get();
    const orth_code_transposed *code = branch->code;
    int64_t d = sae->d_model, begin = code->start[latent], count = code->start[latent + 1] - begin;
    const uint32_t *tokens = code->token + begin;
    const float *f = code->value + begin;
    float bias = 0.0f;
    kernels->dots(count, tokens, branch->upstream, sae->weights.W_dec + latent * d, d, values);
    for (int64_t e = 0; e < count; e++) {
        if (branch->pull)
            values[e] += branch->pull[tokens[e]] * f[e];
        bias += values[e];
    }
    kernels->combine(count, tokens, f, branch->upstream, d, g_dec);
    kernels->combine(count, tokens, values, batch->x, d, g_enc);
    *g_bias += bias;
}

/* Put a tile's entries in place: code (tokens, ORTH_DENSE_LATENTS), zero elsewhere; at[] walks. */
static void scatter(const orth_code_transposed *code, orth_range rows, orth_range tokens,
                    int64_t *at, float *tile)
{
    memset(tile, 0, (size_t)(orth_range_size(tokens) * ORTH_DENSE_LATENTS) * sizeof *tile);
    for (int64_t i = rows.begin; i < rows.end; i++) {
        int64_t *e = at + (i - rows.begin);
        for (; *e < code->start[i + 1] && code->token[*e] < tokens.end; ++*e)
            tile[(code->token[*e] - tokens.begin) * ORTH_DENSE_LATENTS + i - rows.begin] =
                code->value[*e];
    }
}

/* The gradient to the code where it is positive, zero elsewhere; its sum goes to the bias. */
static void mask_gradient(const orth_branch *branch, orth_range tokens, int64_t n_row,
                          const float *tile, float *gradient, float *g_bias)
{
    for (int64_t t = 0; t < orth_range_size(tokens); t++) {
        float pull = branch->pull ? branch->pull[tokens.begin + t] : 0.0f;
        const float *f = tile + t * ORTH_DENSE_LATENTS;
        float *g = gradient + t * ORTH_DENSE_LATENTS;
        for (int64_t i = 0; i < n_row; i++) {
            g[i] = f[i] > 0.0f ? g[i] + pull * f[i] : 0.0f;
            g_bias[i] += g[i];
        }
    }
}

/* A chunk of latents of one branch as dense products. */
static void chunk_dense(const orth_sae *sae, const orth_batch *batch, const orth_branch *branch,
                        orth_range rows, float *tile, float *gradient, orth_block_gradient *out)
{
    int64_t d = sae->d_model, n_row = orth_range_size(rows), at[ORTH_DENSE_LATENTS];
    memcpy(at, branch->code->start + rows.begin, (size_t)n_row * sizeof *at);
    for (int64_t t = 0; t < batch->n_token; t += ORTH_DENSE_TOKENS) {
        int64_t end =
            t + ORTH_DENSE_TOKENS < batch->n_token ? t + ORTH_DENSE_TOKENS : batch->n_token;
        const float *upstream = branch->upstream + t * d;
        scatter(branch->code, rows, (orth_range){t, end}, at, tile);
        orth_gemm(false, true, end - t, n_row, d, upstream, d, sae->weights.W_dec + rows.begin * d,
                  d, false, gradient, ORTH_DENSE_LATENTS);
        mask_gradient(branch, (orth_range){t, end}, n_row, tile, gradient, out->b_enc);
        orth_gemm(true, false, n_row, d, end - t, tile, ORTH_DENSE_LATENTS, upstream, d, true,
                  out->W_dec, d);
        orth_gemm(true, false, n_row, d, end - t, gradient, ORTH_DENSE_LATENTS, batch->x + t * d, d,
                  true, out->W_enc, d);
    }
}

static void gradient_chunk(const orth_sae *sae, const orth_batch *batch, const orth_branch *branch,
                           orth_range rows, orth_dense_scratch *scratch, float *values,
                           orth_block_gradient *out)
{
    int64_t d = sae->d_model, n_row = orth_range_size(rows);
    const orth_code_transposed *code = branch->code;
    double entries = (double)(code->start[rows.end] - code->start[rows.begin]);
    if (entries > ORTH_DENSE_SHARE * (double)n_row * (double)batch->n_token) {
        int64_t own = (int64_t)omp_get_thread_num() * ORTH_DENSE_TOKENS * ORTH_DENSE_LATENTS;
        chunk_dense(sae, batch, branch, rows, scratch->code + own, scratch->gradient + own, out);
        return;
    }
    for (int64_t i = 0; i < n_row; i++)
        latent_sparse(sae, batch, branch, rows.begin + i, values, out->W_enc + i * d,
                      out->W_dec + i * d, out->b_enc + i);
}

void orth_gradient_chunk(const orth_sae *sae, const orth_batch *batch, const orth_branch *branches,
                         int n_branch, orth_range rows, orth_dense_scratch *scratch, float *values,
                         orth_block_gradient *out)
{
    int64_t d = sae->d_model, n_row = orth_range_size(rows);
    memset(out->W_enc, 0, (size_t)(n_row * d) * sizeof *out->W_enc);
    memset(out->W_dec, 0, (size_t)(n_row * d) * sizeof *out->W_dec);
    memset(out->b_enc, 0, (size_t)n_row * sizeof *out->b_enc);
    for (int b = 0; b < n_branch; b++)
        gradient_chunk(sae, batch, branches + b, rows, scratch,
                       values + (int64_t)omp_get_thread_num() * batch->n_token, out);
}

void orth_gradient_block(const orth_sae *sae, const orth_batch *batch, const orth_branch *branches,
                         int n_branch, orth_range rows, orth_dense_scratch *scratch, float *values,
                         orth_block_gradient *out)
{
    int64_t d = sae->d_model;
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t i = rows.begin; i < rows.end; i += ORTH_CHUNK_LATENTS) {
        orth_range chunk = {i,
                            i + ORTH_CHUNK_LATENTS < rows.end ? i + ORTH_CHUNK_LATENTS : rows.end};
        int64_t at = i - rows.begin;
        orth_block_gradient mine = {out->W_enc + at * d, out->W_dec + at * d, out->b_enc + at};
        orth_gradient_chunk(sae, batch, branches, n_branch, chunk, scratch, values, &mine);
    }
}
