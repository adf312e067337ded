#ifndef ORTHANT_BASE_FINITE_H
#define ORTHANT_BASE_FINITE_H

#include <stdbool.h>
#include <stdint.h>

/** Whether none of `count` values is NaN or infinite. By their bits: no compiler flag for fast
 * mathematics can take the test away. */
bool orth_all_finite(const float *values, int64_t count);

#endif
