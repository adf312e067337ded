#include "values.h"

#include <orthant/base/random.h>

#include <string.h>

int kernel_sets(const orth_kernels *sets[KERNEL_SETS])
{
    static const char *const names[KERNEL_SETS] = {"reference", "avx2", "avx512", "avx512bf16"};
    int count = 0;
    for (int i = 0; i < KERNEL_SETS; i++) {
        const orth_kernels *set = orth_kernels_named(names[i]);
        if (set)
            sets[count++] = set;
    }
    return count;
}

void fill_random(int64_t seed, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i++)
        out[i] =
            (float)(2.0 * orth_random_uniform((uint64_t)seed, ORTH_RANDOM_TEST, 0, (uint64_t)i) -
                    1.0);
}

int same_bits(const float *a, const float *b, int64_t n)
{
    return memcmp(a, b, (size_t)n * sizeof *a) == 0;
}
