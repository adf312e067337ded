#ifndef ORTHANT_KERN_TABLE_H
#define ORTHANT_KERN_TABLE_H

#include <orthant/kern/afa.h>
#include <orthant/kern/keys.h>
#include <orthant/kern/passes.h>
#include <orthant/kern/screen.h>
#include <orthant/kern/sparse.h>

#include <stdint.h>

/** The largest panel sizes of any kernel set, for scratch arrays. */
enum { ORTH_PANEL_TOKENS_MAX = 12, ORTH_PANEL_LATENTS_MAX = 32 };

/** The constants of one Adam step. */
typedef struct orth_adam {
    float beta1, beta2; ///< b1, b2
    float new1, new2;   ///< 1 - b1, 1 - b2
    float rate;         ///< lr / (1 - b1^t)
    float root;         ///< 1 / sqrt(1 - b2^t)
    float eps;
} orth_adam;

/**
 * The inner kernels, one set for each instruction set, chosen once at start (orth_kernels_get).
 * All sets give the same bits: products are fused multiply-adds in an order that the comments fix.
 * None allocates, communicates or starts threads.
 *
 * A panel holds `width` vectors of length d interleaved: panel[j * width + r] is element j of
 * vector r; vectors that are missing at the end are zero.
 */
typedef struct orth_kernels {
    const char *name;
    int panel_tokens;  ///< width of a panel of tokens
    int panel_latents; ///< width of a panel of latents

    /** Interleave `count` <= width rows of length d into a panel (kern/pack.h). */
    void (*pack)(int64_t count, const float *const *rows, int width, int64_t d, float *panel);

    /**
     * Canonical pre-activations of one token panel and one latent panel:
     * out[t * stride + i] = (fma chain over j = 0 ... d-1 from +0 of x[j][t] w[j][i]) + bias[i].
     * Writes panel_tokens x panel_latents values; bias has panel_latents values.
     */
    void (*chain)(int64_t d, const float *x, const float *w, const float *bias, float *out,
                  int64_t stride);

    /**
     * Append to `keys` those of `row[0 ... n-1]` that are greater than `above` or NaN, in ascending
     * order of i, as keys: bits of the value (sign cleared) in the upper half, ~(first + i) in the
     * lower. Greater keys are greater values, then lower latents; `above` >= 0. Room for n keys is
     * needed. Returns how many were appended.
     */
    int64_t (*keep)(const float *row, int64_t n, float above, uint32_t first, uint64_t *keys);

    /** Products of sparse lists with dense rows; see kern/sparse.h. */
    const orth_sparse *sparse;

    /** Adam on n values: m += (1-b1)(g - m) written as b1 m + (1-b1) g, likewise v; then
     * w -= rate (m / (sqrt(v) root + eps)), where rate = lr / (1 - b1^t), root = 1/sqrt(1 - b2^t).
     * `scale` multiplies g first (the clip factor). */
    void (*adam)(int64_t n, const float *g, float scale, const orth_adam *adam, float *w, float *m,
                 float *v);

    const orth_key_kernels *keys;

    const orth_passes *passes; ///< over single rows, in double

    /** Top-AFA's sums. */
    const orth_afa_kernels *afa;

    /**
     * Canonical pre-activations of one token x (d) and the listed latents, each as `chain` gives
     * it: out[e] = (fma chain over j = 0 ... d-1 from +0 of x[j] rows[index[e]][j]) +
     * bias[index[e]].
     */
    void (*chain_rows)(int64_t n_entry, const uint32_t *index, const float *rows, const float *bias,
                       const float *x, int64_t d, float *out);

    /** Low-precision products; see kern/screen.h. Their values need not agree between sets. */
    const orth_screen *screen_bf16, *screen_int8;

    /** Append to `out` the entries of one token whose bits are set in `mask`: U from upper[i], L,
     * and the position first + i. Room for 32 more is needed, whatever the mask. */
    void (*screen_keep)(const float *upper, uint32_t mask, uint32_t first, float alpha, float beta,
                        const orth_screen_latents *latents, orth_screened *out);

    /**
     * Raise the cut to a value that at least k of the lower bounds reach and hardly fewer would
     * (unchanged when fewer than k reach `cut`), drop what is below it, and return it. cut > 0.
     */
    float (*screen_raise)(int64_t k, float cut, orth_screened *screened);
} orth_kernels;

/** The kernel set in use: the best that the processor has, or the one that the environment variable
 * ORTHANT_ISA names (reference, avx2, avx512, avx512bf16). Chosen at the first call. */
const orth_kernels *orth_kernels_get(void);

/** The set of that name, NULL when the program or the processor lacks it. */
const orth_kernels *orth_kernels_named(const char *name);

/** Why the set in use was chosen, one phrase: "avx512 (processor)", "avx2 (ORTHANT_ISA)", or what
 * is wrong with ORTHANT_ISA, in which case *usable is 0. */
const char *orth_kernels_reason(int *usable);

#endif
