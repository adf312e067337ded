#ifndef ORTHANT_KERN_GEMM_H
#define ORTHANT_KERN_GEMM_H

#include <stdbool.h>
#include <stdint.h>

/**
 * C (m, n) = [C +] op(A) op(B) on row-major matrices, by the BLAS where there is one. Called by one
 * thread for its own tile; BLAS then stays on that thread. Not for canonical values: the order of
 * additions is the library's.
 */
void orth_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float *a,
               int64_t stride_a, const float *b, int64_t stride_b, bool add, float *c,
               int64_t stride_c);

/** As orth_gemm, for doubles. */
void orth_gemm_f64(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                   const double *a, int64_t stride_a, const double *b, int64_t stride_b, bool add,
                   double *c, int64_t stride_c);

#endif
