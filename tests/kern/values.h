#ifndef ORTHANT_TESTS_KERN_VALUES_H
#define ORTHANT_TESTS_KERN_VALUES_H

#include <orthant/kern/table.h>

#include <stdint.h>

/** The kernel sets that this processor runs, the reference set first; returns how many. */
enum { KERNEL_SETS = 4 };
int kernel_sets(const orth_kernels *sets[KERNEL_SETS]);

/** `n` pseudo-random values in (-1, 1), the same for the same seed. */
void fill_random(int64_t seed, int64_t n, float *out);

/** Whether `n` floats have the same bits. */
int same_bits(const float *a, const float *b, int64_t n);

#endif
