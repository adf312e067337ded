#ifndef ORTHANT_SRC_KERN_SCREEN_ROWS_H
#define ORTHANT_SRC_KERN_SCREEN_ROWS_H

/**
 * Screening in plain C, compiled once for each instruction set by the file that includes this.
 */

#include <orthant/kern/screen.h>

#include <math.h>
#include <string.h>

/* Sums of squares in fp32 are off by less than 2^-10 of themselves up to d = 2^16; squares that
 * underflow add less than 2^-60 d to a norm. */
static inline float screen_norm(float sum_of_squares, int64_t d)
{
    return sqrtf(sum_of_squares) * (1.0f + 0x1p-9f) + (float)d * 0x1p-60f;
}

/* |screened + b - a| <= this, rounding of its own included. */
static inline float screen_margin(const orth_screen_bound *bound, int64_t i)
{
    float wide = fmaf(bound->beta, bound->q[i], bound->alpha * bound->p[i]);
    return fmaf(fabsf(bound->bias[i]), 0x1p-20f, wide) + 0x1p-100f;
}

/* As orth_kernels.screen_keep, from latent `begin` of the tile on. */
static inline void screen_keep_rest(const float *row, int64_t begin, int64_t n, float cut,
                                    uint32_t first, const orth_screen_bound *bound,
                                    orth_screened *out)
{
    int64_t count = out->count;
    for (int64_t i = begin; i < n; i++) {
        float margin = screen_margin(bound, i), value = row[i] + bound->bias[i];
        float upper = value + margin;
        if (upper < cut)
            continue;
        out->upper[count] = upper;
        out->lower[count] = value - margin;
        out->position[count++] = first + (uint32_t)i;
    }
    out->count = count;
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
                                const orth_screen_rows *x_rows, const orth_screen_rows *w_rows,
                                float *out, int64_t stride)
{
    const uint32_t *token = x, *latent = w;
    float sum[BF16_TOKENS][BF16_LATENTS] = {{0.0f}};
    (void)x_rows;
    (void)w_rows;
    for (int64_t j = 0; j < (d + 1) / 2; j++, token += BF16_TOKENS, latent += BF16_LATENTS)
        for (int t = 0; t < BF16_TOKENS; t++) {
            float low = bf16_value(token[t] << 16), high = bf16_value(token[t] & 0xffff0000u);
            for (int i = 0; i < BF16_LATENTS; i++) {
                sum[t][i] = fmaf(low, bf16_value(latent[i] << 16), sum[t][i]);
                sum[t][i] = fmaf(high, bf16_value(latent[i] & 0xffff0000u), sum[t][i]);
            }
        }
    for (int t = 0; t < BF16_TOKENS; t++)
        memcpy(out + t * stride, sum[t], sizeof sum[t]);
}

#define ORTH_SCREEN_BF16_PORTABLE                                                                  \
    {                                                                                              \
        .name = "bf16", .faster = false, .panel_tokens = BF16_TOKENS,                              \
        .panel_latents = BF16_LATENTS, .row_bytes = bf16_row_bytes,                                \
        .pack_tokens = bf16_pack_tokens, .pack_latents = bf16_pack_latents,                        \
        .product = bf16_product                                                                    \
    }

#endif
