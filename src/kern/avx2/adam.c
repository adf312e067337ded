/* Adam on vectors of 8: the operations of rows_adam, one by one. */
#include "../rows.h"
#include "../sets.h"

#include <immintrin.h>

enum { WIDTH = 8 };

void orth_adam_avx2(int64_t n, const float *g, float scale, const orth_adam *a, float *w, float *m,
                    float *v)
{
    const __m256 factor = _mm256_set1_ps(scale), beta1 = _mm256_set1_ps(a->beta1),
                 beta2 = _mm256_set1_ps(a->beta2), new1 = _mm256_set1_ps(a->new1),
                 new2 = _mm256_set1_ps(a->new2), rate = _mm256_set1_ps(a->rate),
                 root = _mm256_set1_ps(a->root), eps = _mm256_set1_ps(a->eps);
    int64_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH) {
        __m256 gradient = _mm256_mul_ps(_mm256_loadu_ps(g + i), factor);
        __m256 first =
            _mm256_fmadd_ps(beta1, _mm256_loadu_ps(m + i), _mm256_mul_ps(new1, gradient));
        __m256 second = _mm256_fmadd_ps(beta2, _mm256_loadu_ps(v + i),
                                        _mm256_mul_ps(new2, _mm256_mul_ps(gradient, gradient)));
        __m256 divisor = _mm256_fmadd_ps(_mm256_sqrt_ps(second), root, eps);
        __m256 step = _mm256_mul_ps(rate, _mm256_div_ps(first, divisor));
        _mm256_storeu_ps(m + i, first);
        _mm256_storeu_ps(v + i, second);
        _mm256_storeu_ps(w + i, _mm256_sub_ps(_mm256_loadu_ps(w + i), step));
    }
    rows_adam(n - i, g + i, scale, a, w + i, m + i, v + i);
}
