#ifndef ORTHANT_KERN_SCREEN_H
#define ORTHANT_KERN_SCREEN_H

#include <stdbool.h>
#include <stdint.h>

/**
 * Certified screening: a product in low precision, with a rigorous bound of its distance from the
 * canonical pre-activation (kern/table.h `chain`), so that only what might be selected needs the
 * canonical value.
 *
 * Let x^ and w^ be the rounded rows, u = 2^-24, g = (d + 32) u / (1 - (d + 32) u). Then
 *   |x.w - x^.w^|          <= |x - x^| |w| + |x^| |w - w^|        (Cauchy-Schwarz)
 *   |chain - x.w|          <= g |x| |w|                           (d fused multiply-adds)
 *   |screened - x^.w^|     <= g |x^| |w^|                         (at most d additions, any order)
 * Rounding of the bias, of the bound itself and of U = screened + b + bound are a few u of
 * |x| |w| + |b|, which the 32 in g and `c` below cover; products and sums that underflow are
 * covered by an absolute term. With N >= |row|, R >= |row - rounded row|, both rounded up,
 *   |screened + b - a| <= alpha_t p_i + beta_t q_i + c_i,
 *   p_i = N_i, q_i = R_i, alpha_t = R_t + 3 g (N_t + R_t), beta_t = (1 + 3 g) (N_t + R_t).
 */

/** What a bound needs of packed rows: arrays of one entry for each row. */
typedef struct orth_screen_rows {
    float *size; ///< N
    float *rest; ///< R
    float *unit; ///< int8: the value of one step of the grid that the row was rounded to
    float *sum;  ///< int8: unit times the sum of the rounded row's steps
} orth_screen_rows;

/** The tokens of a panel: arrays of panel_tokens. */
typedef struct orth_screen_tokens {
    const float *alpha, *beta;
    const float *cut;  ///< what is below cannot be selected
    const float *unit; ///< int8
} orth_screen_tokens;

/** The latents of a panel: arrays of panel_latents. */
typedef struct orth_screen_latents {
    const float *p, *q;
    const float *bias;       ///< b_enc
    const float *base;       ///< b_enc + c, rounded up: orth_screen_base
    const float *unit, *sum; ///< int8
} orth_screen_latents;

/** The kernels of one precision, as compiled for one instruction set. Panels are as in
 * kern/table.h, but of packed low-precision words. None allocates, communicates or starts threads.
 */
typedef struct orth_screen {
    const char *name;  ///< "bf16", "int8"
    bool faster;       ///< than the fp32 kernels of the same set
    int panel_tokens;  ///< at most ORTH_PANEL_TOKENS_MAX
    int panel_latents; ///< at most 32

    /** Bytes of one row of length d in a panel; a multiple of 4. */
    int64_t (*row_bytes)(int64_t d);

    /**
     * Round and pack `count` <= panel_tokens (panel_latents) rows of `rows` (..., d) into a panel;
     * missing rows are zero. Row r is rows[index[r]], or rows[r] when index is NULL. Sets the
     * entries 0 ... width - 1 of what `out` points to.
     */
    void (*pack_tokens)(const float *rows, const uint32_t *index, int64_t count, int64_t d,
                        void *panel, const orth_screen_rows *out);
    void (*pack_latents)(const float *rows, const uint32_t *index, int64_t count, int64_t d,
                         void *panel, const orth_screen_rows *out);

    /** Upper bounds: upper[t * stride + i] = U of token t and latent i; bit i of mask[t] tells
     * whether it is not below the token's cut (NaN is not). */
    void (*product)(int64_t d, const void *x, const void *w, const orth_screen_tokens *tokens,
                    const orth_screen_latents *latents, float *upper, int64_t stride,
                    uint32_t *mask);
} orth_screen;

/** What has been kept of one token: L <= a <= U, and the position among the encoded latents, in
 * ascending order of position. */
typedef struct orth_screened {
    float *upper;
    float *lower;
    uint32_t *position;
    int64_t count;
} orth_screened;

/** alpha and beta of a token with N = size, R = rest, rounded up. */
void orth_screen_token_bound(int64_t d, float size, float rest, float *alpha, float *beta);

/** b_enc + c of `n` latents, rounded up. */
void orth_screen_base(int64_t n, const float *bias, float *base);

#endif
