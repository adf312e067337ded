#ifndef ORTHANT_SRC_KERN_SCREEN_ROWS_H
#define ORTHANT_SRC_KERN_SCREEN_ROWS_H

/**
 * Screening in plain C, compiled once for each instruction set by the file that includes this.
 */

#include <orthant/kern/screen.h>

#include <math.h>
#include <string.h>

enum { SCREEN_WIDEST = 1 << 16 };

/* The sum of squares is at most 1 + 2^-8 times what fp32 makes of it: up to d = 2^16 roundings,
 * each below 2^-24 of it. Squares that underflow add less than 2^-60 d to a norm. */
static inline float screen_norm(float sum_of_squares, int64_t d)
{
    return sqrtf(sum_of_squares) * (1.0f + 0x1p-9f) + (float)d * 0x1p-60f;
}

/* c: rounding of the bias and of the bounds, and what underflow loses. */
static inline float screen_bias_margin(float bias)
{
    return fmaf(fabsf(bias), 0x1p-20f, 0x1p-100f);
}

/* U from the screened product. */
static inline float screen_upper(float product, const orth_screen_tokens *tokens, int64_t t,
                                 const orth_screen_latents *latents, int64_t i)
{
    float upper = fmaf(tokens->alpha[t], latents->p[i], product + latents->base[i]);
    return fmaf(tokens->beta[t], latents->q[i], upper);
}

/* L from U: twice the margin below. */
static inline float screen_lower(float upper, float alpha, float beta,
                                 const orth_screen_latents *latents, int64_t i)
{
    float margin = fmaf(alpha, latents->p[i], screen_bias_margin(latents->bias[i]));
    return fmaf(-2.0f, fmaf(beta, latents->q[i], margin), upper);
}

/* As orth_kernels.screen_keep. */
static inline void screen_keep(const float *upper, uint32_t mask, uint32_t first, float alpha,
                               float beta, const orth_screen_latents *latents, orth_screened *out)
{
    for (; mask; mask &= mask - 1) {
        int i = __builtin_ctz(mask);
        out->upper[out->count] = upper[i];
        out->lower[out->count] = screen_lower(upper[i], alpha, beta, latents, i);
        out->position[out->count++] = first + (uint32_t)i;
    }
}

/* Bounds and masks of a tile of products (tokens, width), in place. */
static inline void screen_finish(int tokens, int width, const orth_screen_tokens *token,
                                 const orth_screen_latents *latents, float *tile, int64_t stride,
                                 uint32_t *mask)
{
    for (int t = 0; t < tokens; t++) {
        mask[t] = 0;
        for (int i = 0; i < width; i++) {
            float upper = screen_upper(tile[t * stride + i], token, t, latents, i);
            tile[t * stride + i] = upper;
            mask[t] |= (uint32_t) !(upper < token->cut[t]) << i;
        }
    }
}

static inline int64_t screen_count(const float *lower, int64_t n, float cut)
{
    int32_t count = 0;
    for (int64_t i = 0; i < n; i++)
        count += lower[i] >= cut;
    return count;
}

/* The largest cut, up to 2^-15 of itself, that at least k of the lower bounds reach; `cut` itself
 * when fewer do. */
static inline float screen_cut(const orth_screened *s, int64_t k, float cut)
{
    const uint32_t close_enough = 256;
    uint32_t low, high = 0x7f800001u;
    memcpy(&low, &cut, sizeof low);
    if (s->count < k || screen_count(s->lower, s->count, cut) < k)
        return cut;
    while (high - low > close_enough) {
        uint32_t middle = low + (high - low) / 2;
        float value;
        memcpy(&value, &middle, sizeof value);
        if (screen_count(s->lower, s->count, value) >= k)
            low = middle;
        else
            high = middle;
    }
    memcpy(&cut, &low, sizeof cut);
    return cut;
}

static inline void screen_filter(orth_screened *s, float cut)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < s->count; i++) {
        float upper = s->upper[i], lower = s->lower[i];
        uint32_t position = s->position[i];
        s->upper[kept] = upper;
        s->lower[kept] = lower;
        s->position[kept] = position;
        kept += !(upper < cut);
    }
    s->count = kept;
}

/* Canonical pre-activations of one token and listed latents, as orth_kernels.chain_rows. */
static inline void screen_chain_rows(int64_t n_entry, const uint32_t *index, const float *rows,
                                     const float *bias, const float *x, int64_t d, float *out)
{
    for (int64_t e = 0; e < n_entry; e++) {
        const float *row = rows + (int64_t)index[e] * d;
        float sum = 0.0f;
        for (int64_t j = 0; j < d; j++)
            sum = fmaf(x[j], row[j], sum);
        out[e] = sum + bias[index[e]];
    }
}

/* --- bf16 in portable C: panels of 4 tokens and 16 latents, a word is two neighbours of a row. */

enum { BF16_TOKENS = 4, BF16_LATENTS = 16 };

static inline int64_t bf16_row_bytes(int64_t d)
{
    return (d + 1) / 2 * 4;
}

/* Round to nearest even; what would be subnormal becomes zero, as the processors' instructions do.
 * The upper half of the result is the bf16. */
static inline uint32_t bf16_round(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return bits | 0x00400000u;
    if (magnitude < 0x00800000u)
        return bits & 0x80000000u;
    return (bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u;
}

static inline float bf16_value(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline void bf16_pack(const float *rows, const uint32_t *index, int64_t count, int width,
                             int64_t d, uint32_t *panel, const orth_screen_rows *out)
{
    memset(panel, 0, (size_t)(bf16_row_bytes(d) * width));
    for (int64_t r = 0; r < width; r++) {
        const float *row = rows + (index && r < count ? (int64_t)index[r] : r) * d;
        float size = 0.0f, rest = 0.0f;
        for (int64_t j = 0; j < d && r < count; j++) {
            uint32_t rounded = bf16_round(row[j]);
            float error = row[j] - bf16_value(rounded);
            size = fmaf(row[j], row[j], size);
            rest = fmaf(error, error, rest);
            panel[j / 2 * width + r] |= j % 2 ? rounded : rounded >> 16;
        }
        out->size[r] = r < count ? screen_norm(size, d) : 0.0f;
        out->rest[r] = r < count ? screen_norm(rest, d) : 0.0f;
    }
}

static inline void bf16_pack_tokens(const float *rows, const uint32_t *index, int64_t count,
                                    int64_t d, void *panel, const orth_screen_rows *out)
{
    bf16_pack(rows, index, count, BF16_TOKENS, d, panel, out);
}

static inline void bf16_pack_latents(const float *rows, const uint32_t *index, int64_t count,
                                     int64_t d, void *panel, const orth_screen_rows *out)
{
    bf16_pack(rows, index, count, BF16_LATENTS, d, panel, out);
}

static inline void bf16_product(int64_t d, const void *x, const void *w,
                                const orth_screen_tokens *tokens,
                                const orth_screen_latents *latents, float *upper, int64_t stride,
                                uint32_t *mask)
{
    const uint32_t *token = x, *latent = w;
    float sum[BF16_TOKENS][BF16_LATENTS] = {{0.0f}};
    for (int64_t j = 0; j < (d + 1) / 2; j++, token += BF16_TOKENS, latent += BF16_LATENTS)
        for (int t = 0; t < BF16_TOKENS; t++) {
            float low = bf16_value(token[t] << 16), high = bf16_value(token[t] & 0xffff0000u);
            for (int i = 0; i < BF16_LATENTS; i++) {
                sum[t][i] = fmaf(low, bf16_value(latent[i] << 16), sum[t][i]);
                sum[t][i] = fmaf(high, bf16_value(latent[i] & 0xffff0000u), sum[t][i]);
            }
        }
    for (int t = 0; t < BF16_TOKENS; t++)
        memcpy(upper + t * stride, sum[t], sizeof sum[t]);
    screen_finish(BF16_TOKENS, BF16_LATENTS, tokens, latents, upper, stride, mask);
}

#define ORTH_SCREEN_BF16_PORTABLE                                                                  \
    {                                                                                              \
        .name = "bf16", .faster = false, .widest = SCREEN_WIDEST, .panel_tokens = BF16_TOKENS,     \
        .panel_latents = BF16_LATENTS, .row_bytes = bf16_row_bytes,                                \
        .pack_tokens = bf16_pack_tokens, .pack_latents = bf16_pack_latents,                        \
        .product = bf16_product                                                                    \
    }

#endif
