#ifndef ORTHANT_KERN_AFA_H
#define ORTHANT_KERN_AFA_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include <orthant/kern/keys.h>

/**
 * Top-AFA's sums over the candidates of one token (RECIPES: topafa). A candidate's strength is
 * s = (a |W_dec,i|)^2 in double; what is compared are the bits of s, which order as s does, being
 * positive. Its quantum is q = s in units of t^2 / 2^38, so that sums are exact in any order.
 */
enum { ORTH_AFA_BINS = 64 };

/** Units that the sum must reach: t^2. */
static const uint64_t ORTH_AFA_WHOLE = 1ull << 38;

/** Above the bits of every positive double. */
static const uint64_t ORTH_AFA_END = (1ull << 63) + 1;

/** The candidates of one token on this rank. */
typedef struct orth_afa_token {
    const uint64_t *keys; ///< kern/keys.h, ascending in latent
    int64_t n;
    const double *norm; ///< |W_dec,i| of latent first + ...
    uint32_t first;     ///< the latent of norm[0]
    double norm_least;  ///< bounds of the norms; they save work and decide nothing
    double norm_most;
    double target_square; ///< t^2
} orth_afa_token;

/** Where the sum is looked at closely: strengths in [low, high), equal bins of 2^shift bits. */
typedef struct orth_afa_window {
    uint64_t low, high; ///< at most ORTH_AFA_BINS bins apart
    uint64_t top;       ///< strengths in [high, top) are added up, others above are not
    int shift;
} orth_afa_window;

typedef struct orth_afa_bin {
    uint64_t sum;   ///< of q
    uint64_t count; ///< of candidates
} orth_afa_bin;

/** The candidates in [high, top) together and those in the window bin by bin. */
typedef struct orth_afa_tally {
    orth_afa_bin above;
    orth_afa_bin bins[ORTH_AFA_BINS];
} orth_afa_tally;

/** A candidate whose strength is known. */
typedef struct orth_afa_entry {
    uint64_t strength;
    uint64_t latent;
} orth_afa_entry;

/** Selected are candidates stronger than `strength`, or as strong and of a latent not above. */
typedef struct orth_afa_cut {
    uint64_t strength;
    uint64_t latent;
} orth_afa_cut;

/** The kernels; part of a set (kern/table.h). All sets give the same. */
typedef struct orth_afa_kernels {
    /** Add up the candidates in [low, top). */
    void (*tally)(const orth_afa_token *token, const orth_afa_window *window,
                  orth_afa_tally *tally);

    /** The candidates with strengths in [low, high), in their order; returns how many. Room for all
     * of the token's is needed. */
    int64_t (*collect)(const orth_afa_token *token, uint64_t low, uint64_t high,
                       orth_afa_entry *entries);

    /** Write the first `room` selected candidates, in their order, latents counted from
     * token->first. Returns how many are selected; nothing is written when room is 0. */
    int64_t (*select)(const orth_afa_token *token, const orth_afa_cut *cut, int64_t room,
                      uint32_t *latents, float *values);
} orth_afa_kernels;

static inline uint64_t orth_afa_bits(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline double orth_afa_value(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/** The bits of s. */
static inline uint64_t orth_afa_strength(const orth_afa_token *token, uint64_t key)
{
    double part = (double)orth_key_value(key) * token->norm[orth_key_latent(key) - token->first];
    return orth_afa_bits(part * part);
}

/** q = min(2^39, max(1, round(s 2^38 / t^2))), ties to even; 2^38 when t = 0. For s > 0. */
static inline uint64_t orth_afa_quantum(uint64_t strength, double target_square)
{
    double most = target_square == 0.0 ? 0x1p38 : 0x1p39;
    double units = orth_afa_value(strength) * 0x1p38 / target_square;
    if (!(units < most))
        return (uint64_t)most;
    double rounded = nearbyint(units);
    return rounded < 1.0 ? 1 : (uint64_t)rounded;
}

#endif
