#include <orthant/kern/gemm.h>

#ifdef ORTH_HAVE_BLAS
#include <cblas.h>

void orth_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float *a,
               int64_t stride_a, const float *b, int64_t stride_b, bool add, float *c,
               int64_t stride_c)
{
    cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans,
                transpose_b ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k, 1.0f, a,
                (int)stride_a, b, (int)stride_b, add ? 1.0f : 0.0f, c, (int)stride_c);
}

void orth_gemm_f64(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                   const double *a, int64_t stride_a, const double *b, int64_t stride_b, bool add,
                   double *c, int64_t stride_c)
{
    cblas_dgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans,
                transpose_b ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k, 1.0, a,
                (int)stride_a, b, (int)stride_b, add ? 1.0 : 0.0, c, (int)stride_c);
}

#else

void orth_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float *a,
               int64_t stride_a, const float *b, int64_t stride_b, bool add, float *c,
               int64_t stride_c)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            float sum = add ? c[i * stride_c + j] : 0.0f;
            for (int64_t l = 0; l < k; l++)
                sum += a[transpose_a ? l * stride_a + i : i * stride_a + l] *
                       b[transpose_b ? j * stride_b + l : l * stride_b + j];
            c[i * stride_c + j] = sum;
        }
}

void orth_gemm_f64(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                   const double *a, int64_t stride_a, const double *b, int64_t stride_b, bool add,
                   double *c, int64_t stride_c)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = add ? c[i * stride_c + j] : 0.0;
            for (int64_t l = 0; l < k; l++)
                sum += a[transpose_a ? l * stride_a + i : i * stride_a + l] *
                       b[transpose_b ? j * stride_b + l : l * stride_b + j];
            c[i * stride_c + j] = sum;
        }
}

#endif
