#ifndef ORTHANT_SAE_TALLY_H
#define ORTHANT_SAE_TALLY_H

#include <orthant/sae/code.h>

#include <stdint.h>

/** A sum of positive floats, exact: in units of 2^-64 (what is below is cut off), all ones where
 * 2^64 is reached. */
typedef unsigned __int128 orth_exact_sum;

orth_exact_sum orth_exact_add(orth_exact_sum a, orth_exact_sum b);
orth_exact_sum orth_exact_of(float value);

/** Rounded to double; infinite where 2^64 was reached. */
double orth_exact_value(orth_exact_sum sum);

/** What a latent did so far. */
typedef struct orth_tally_entry {
    orth_exact_sum sum; ///< of its values
    int64_t count;      ///< tokens on which it fired
    double max;         ///< 0 at first
} orth_tally_entry;

/** A token on which a latent fired. */
typedef struct orth_tally_example {
    int64_t row; ///< -1: none yet
    double value;
} orth_tally_example;

/** Of each latent of a shard: counts, and the `examples` tokens of largest value. */
typedef struct orth_tally {
    int64_t n_latent;
    int64_t examples;
    orth_tally_entry *entry;     ///< (n_latent)
    orth_tally_example *example; ///< (n_latent, examples) largest value first, ties: lower row
} orth_tally;

/** Allocate. Local. End with orth_tally_free (a zeroed one is allowed). */
orth_status orth_tally_create(int64_t n_latent, int64_t examples, orth_tally *out);
void orth_tally_free(orth_tally *tally);

/** Take in a code whose token t is row first_row + t; rows come in ascending order. Threads share
 * the latents. Not collective; cannot fail. */
void orth_tally_add(orth_tally *tally, const orth_code *code, int64_t first_row);

/** `entry` and its (examples) plus those of another shard's copy, in any order of rows. Local. */
void orth_tally_merge(const orth_tally_entry *from, const orth_tally_example *from_examples,
                      int64_t examples, orth_tally_entry *entry, orth_tally_example *example);

#endif
