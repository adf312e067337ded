#ifndef ORTHANT_SRC_KERN_SCREEN_INT8_ROWS_H
#define ORTHANT_SRC_KERN_SCREEN_INT8_ROWS_H

/**
 * Screening in int8 and its second stage in plain C, compiled once for each instruction set by the
 * file that includes this. Panels of 4 tokens and 16 latents; a word is four neighbours of a row.
 * The first words of a panel of latents are -128 times the sum of each row's integers, because
 * those of tokens are stored plus 128 (processors multiply unsigned by signed bytes).
 */

#include "screen_rows.h"

enum { INT8_TOKENS = 4, INT8_LATENTS = 16, INT8_WIDEST = 1 << 14, INT8_BLOCK = 128 };

static inline int64_t int8_row_bytes(int64_t d)
{
    return (d + 3) / 4 * 4 + 4;
}

/* Bit j: whether column j of a block of 128 changes its sign. Random bits: the first 128 of the
 * fraction of pi. */
static const uint32_t int8_signs[4] = {0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u};

/* The columns of one block, of `width` = 2^k <= 128. */
static inline void int8_rotate_block(const float *row, int64_t width, float *out)
{
    for (int64_t j = 0; j < width; j++)
        out[j] = int8_signs[j / 32] >> j % 32 & 1u ? -row[j] : row[j];
    for (int64_t stride = 1; stride < width; stride *= 2)
        for (int64_t j = 0; j < width; j++)
            if (!(j & stride)) {
                float a = out[j], b = out[j + stride];
                out[j] = a + b;
                out[j + stride] = a - b;
            }
    float scale = 1.0f / sqrtf((float)width);
    for (int64_t j = 0; j < width; j++)
        out[j] *= scale;
}

/* Columns from `at` (a multiple of 128) on. */
static inline void int8_rotate(const float *row, int64_t at, int64_t d, float *out)
{
    int64_t width = INT8_BLOCK;
    for (int64_t j = at; j < d; j += width) {
        while (width > d - j)
            width /= 2;
        int8_rotate_block(row + j, width, out + j);
    }
}

/* Whether a row whose sum of squares is that can be rounded to integers. Otherwise it has none,
 * and its bounds are infinite or NaN. */
static inline bool int8_ordinary(float sum_of_squares)
{
    return sum_of_squares < 0x1p120f;
}

/* The value of a step for rows up to `most`; 0: the row is so small that it is all remainder. */
static inline float int8_unit(float most)
{
    return most < 0x1p-100f ? 0.0f : most * (1.0f / 127.0f);
}

/* N and R from the row's sum of squares and that of what rounding took away. */
static inline void int8_finish_row(float size, float rest, float unit, int64_t d, int64_t r,
                                   const orth_screen_rows *out)
{
    bool ordinary = int8_ordinary(size);
    out->size[r] = ordinary ? screen_norm(size, d) : INFINITY;
    out->rest[r] = ordinary ? fmaf(out->size[r], 0x1p-20f, screen_norm(rest, d)) : INFINITY;
    out->unit[r] = ordinary ? unit : 0.0f;
}

/* One row to integers `steps` (room for INT8_WIDEST), zero beyond d up to a word. */
static inline void int8_round(const float *row, int64_t d, int64_t r, int8_t *steps,
                              const orth_screen_rows *out)
{
    float turned[INT8_WIDEST], size = 0.0f, rest = 0.0f, most = 0.0f;
    int8_rotate(row, 0, d, turned);
    for (int64_t j = 0; j < d; j++) {
        size = fmaf(row[j], row[j], size);
        most = fabsf(turned[j]) > most ? fabsf(turned[j]) : most;
    }
    float unit = int8_unit(most), inverse = unit > 0.0f ? 127.0f / most : 0.0f;
    memset(steps, 0, (size_t)((d + 3) / 4 * 4));
    for (int64_t j = 0; j < d && int8_ordinary(size); j++) {
        float step = rintf(turned[j] * inverse), error = fmaf(-unit, step, turned[j]);
        rest = fmaf(error, error, rest);
        steps[j] = (int8_t)step;
    }
    int8_finish_row(size, rest, unit, d, r, out);
}

/* The words of a row, each byte combined with `flip`, into lane r; returns the sum of steps. */
static inline int32_t int8_interleave(const int8_t *steps, int64_t d, int64_t r, int width,
                                      uint32_t flip, uint32_t *panel)
{
    int32_t sum = 0;
    for (int64_t j = 0; j < d; j++)
        sum += steps[j];
    for (int64_t j = 0; j < d; j += 4) {
        uint32_t word;
        memcpy(&word, steps + j, sizeof word);
        panel[(j / 4 + 1) * width + r] = word ^ flip;
    }
    return sum;
}

static inline void int8_pack(const float *rows, const uint32_t *index, int64_t count, int width,
                             int64_t d, uint32_t flip, uint32_t *panel, const orth_screen_rows *out)
{
    int8_t steps[INT8_WIDEST];
    memset(panel, 0, (size_t)(int8_row_bytes(d) * width));
    for (int64_t r = 0; r < width; r++) {
        if (r >= count) {
            out->size[r] = out->rest[r] = out->unit[r] = 0.0f;
            continue;
        }
        int8_round(rows + (index ? (int64_t)index[r] : r) * d, d, r, steps, out);
        panel[r] = (uint32_t)(-128 * int8_interleave(steps, d, r, width, flip, panel));
    }
}

static inline void int8_pack_tokens(const float *rows, const uint32_t *index, int64_t count,
                                    int64_t d, void *panel, const orth_screen_rows *out)
{
    int8_pack(rows, index, count, INT8_TOKENS, d, 0x80808080u, panel, out);
}

static inline void int8_pack_latents(const float *rows, const uint32_t *index, int64_t count,
                                     int64_t d, void *panel, const orth_screen_rows *out)
{
    int8_pack(rows, index, count, INT8_LATENTS, d, 0, panel, out);
}

static inline int32_t int8_dot_4(uint32_t token, uint32_t latent)
{
    int32_t sum = 0;
    for (int b = 0; b < 32; b += 8)
        sum += (int32_t)(token >> b & 0xffu) * (int8_t)(latent >> b & 0xffu);
    return sum;
}

static inline void int8_product(int64_t d, const void *x, const void *w,
                                const orth_screen_tokens *tokens,
                                const orth_screen_latents *latents, float *upper, int64_t stride,
                                uint32_t *mask)
{
    const uint32_t *token = x, *latent = w;
    int32_t sum[INT8_TOKENS][INT8_LATENTS];
    for (int t = 0; t < INT8_TOKENS; t++)
        memcpy(sum[t], latent, sizeof sum[t]);
    for (int64_t j = 0; j < d; j += 4) {
        token += INT8_TOKENS;
        latent += INT8_LATENTS;
        for (int t = 0; t < INT8_TOKENS; t++)
            for (int i = 0; i < INT8_LATENTS; i++)
                sum[t][i] += int8_dot_4(token[t], latent[i]);
    }
    for (int t = 0; t < INT8_TOKENS; t++)
        for (int i = 0; i < INT8_LATENTS; i++)
            upper[t * stride + i] = (float)sum[t][i] * tokens->unit[t] * latents->unit[i];
    screen_finish(INT8_TOKENS, INT8_LATENTS, tokens, latents, upper, stride, mask);
}

/* --- The second stage: rows of bf16, padded with zeros to 32 values. */

static inline int64_t fine_row_bytes(int64_t d)
{
    return (d + 31) / 32 * 64;
}

static inline void fine_pack(const float *rows, const uint32_t *index, int64_t count, int64_t d,
                             void *fine, const orth_screen_rows *out)
{
    int64_t width = fine_row_bytes(d) / 2;
    uint16_t *words = fine;
    memset(fine, 0, (size_t)(count * fine_row_bytes(d)));
    for (int64_t r = 0; r < count; r++) {
        const float *row = rows + (index ? (int64_t)index[r] : r) * d;
        float size = 0.0f, rest = 0.0f;
        for (int64_t j = 0; j < d; j++) {
            uint32_t rounded = bf16_round(row[j]);
            float error = row[j] - bf16_value(rounded);
            size = fmaf(row[j], row[j], size);
            rest = fmaf(error, error, rest);
            words[r * width + j] = (uint16_t)(rounded >> 16);
        }
        out->size[r] = screen_norm(size, d);
        out->rest[r] = screen_norm(rest, d);
    }
}

/* Append one latent if its upper bound is not below the cut. */
static inline void fine_keep_one(float product, uint32_t i, uint32_t first,
                                 const orth_screen_tokens *token,
                                 const orth_screen_latents *latents, orth_screened *out)
{
    float upper = screen_upper(product, token, 0, latents, i);
    if (upper < token->cut[0])
        return;
    out->upper[out->count] = upper;
    out->lower[out->count] = screen_lower(upper, token->alpha[0], token->beta[0], latents, i);
    out->position[out->count++] = first + i;
}

static inline void fine_keep(int64_t d, const void *x, const void *rows, int64_t n,
                             const uint32_t *index, uint32_t first, float alpha, float beta,
                             float cut, const orth_screen_latents *latents, orth_screened *out)
{
    const uint16_t *token = x, *latent = rows;
    const orth_screen_tokens bounds = {&alpha, &beta, &cut, NULL};
    int64_t width = fine_row_bytes(d) / 2;
    for (int64_t e = 0; e < n; e++) {
        float sum = 0.0f;
        for (int64_t j = 0; j < d; j++)
            sum = fmaf(bf16_value((uint32_t)token[j] << 16),
                       bf16_value((uint32_t)latent[index[e] * width + j] << 16), sum);
        fine_keep_one(sum, index[e], first, &bounds, latents, out);
    }
}

static const orth_screen_fine fine_portable = {
    .row_bytes = fine_row_bytes, .pack = fine_pack, .keep = fine_keep};

#define ORTH_SCREEN_INT8_PORTABLE                                                                  \
    {                                                                                              \
        .name = "int8", .faster = false, .widest = INT8_WIDEST, .fine = &fine_portable,            \
        .panel_tokens = INT8_TOKENS, .panel_latents = INT8_LATENTS, .row_bytes = int8_row_bytes,   \
        .pack_tokens = int8_pack_tokens, .pack_latents = int8_pack_latents,                        \
        .product = int8_product                                                                    \
    }

#endif
