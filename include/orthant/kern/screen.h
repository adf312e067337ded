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
 *
 * int8: x and w above are the rows after one common rotation H, x.w = Hx.Hw and |Hx| = |x|, that
 * spreads outliers: signs, then Hadamard transforms of blocks of 2^k <= 128 columns over 2^(k/2).
 * Each of its k levels is sqrt(2) times orthogonal and rounds every sum once, so that with the
 * scale (rounded itself, and its product) |computed - Hx| <= ((1 + u)^(k + 3) - 1) |x| < 16 u |x|;
 * R is that plus the norm of (computed - unit q), q the integers of the row, |q| <= 127. Sums of
 * products of integers are exact in 32 bits, so that screened = unit_t unit_i (q_t . q_i) is
 * rounded three times: 3 u |x^| |w^| < g |x^| |w^|.
 */

/** What a bound needs of packed rows: arrays of one entry for each row. */
typedef struct orth_screen_rows {
    float *size; ///< N
    float *rest; ///< R
    float *unit; ///< int8: the value of one step of the grid that the row was rounded to
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
    const float *bias; ///< b_enc
    const float *base; ///< b_enc + c, rounded up: orth_screen_base
    const float *unit; ///< int8
} orth_screen_latents;

/** What has been kept of one token: L <= a <= U, and the position among the encoded latents, in
 * ascending order of position. */
typedef struct orth_screened {
    float *upper;
    float *lower;
    uint32_t *position;
    int64_t count;
} orth_screened;

/** A second stage: narrower bounds of the few that the first has left, from bf16 rows that are not
 * interleaved. */
typedef struct orth_screen_fine {
    /** Bytes of a row of length d; a multiple of 64. */
    int64_t (*row_bytes)(int64_t d);

    /** Round `count` rows of `rows` (..., d) into `fine`, rows and `out` (size, rest) as in
     * orth_screen.pack_tokens. */
    void (*pack)(const float *rows, const uint32_t *index, int64_t count, int64_t d, void *fine,
                 const orth_screen_rows *out);

    /**
     * Bounds of token x and the n listed latents, of which rows, `latents` and index count from the
     * same one, whose position is `first`. Append to `out` what is not below the cut; room for
     * n + 16 entries is needed.
     */
    void (*keep)(int64_t d, const void *x, const void *rows, int64_t n, const uint32_t *index,
                 uint32_t first, float alpha, float beta, float cut,
                 const orth_screen_latents *latents, orth_screened *out);
} orth_screen_fine;

/** The kernels of one precision, as compiled for one instruction set. Panels are as in
 * kern/table.h, but of packed low-precision words. None allocates, communicates or starts threads.
 */
typedef struct orth_screen {
    const char *name;             ///< "bf16", "int8"
    bool faster;                  ///< than the fp32 kernels of the same set
    int64_t widest;               ///< the largest d
    const orth_screen_fine *fine; ///< the second stage; NULL: none
    int panel_tokens;             ///< at most ORTH_PANEL_TOKENS_MAX
    int panel_latents;            ///< at most 32

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

/** alpha and beta of a token with N = size, R = rest, rounded up. */
void orth_screen_token_bound(int64_t d, float size, float rest, float *alpha, float *beta);

/** b_enc + c of `n` latents, rounded up. */
void orth_screen_base(int64_t n, const float *bias, float *base);

#endif
