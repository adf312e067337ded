/* Adam on vectors of 16: the operations of rows_adam, one by one. */
#include "../sets.h"

#include <immintrin.h>

enum { WIDTH = 16 };

typedef struct constants {
    __m512 scale, beta1, beta2, new1, new2, rate, root, eps;
} constants;

static inline void adam_masked(__mmask16 mask, const constants *c, const float *g, float *w,
                               float *m, float *v)
{
    __m512 gradient = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, g), c->scale);
    __m512 first =
        _mm512_fmadd_ps(c->beta1, _mm512_maskz_loadu_ps(mask, m), _mm512_mul_ps(c->new1, gradient));
    __m512 second = _mm512_fmadd_ps(c->beta2, _mm512_maskz_loadu_ps(mask, v),
                                    _mm512_mul_ps(c->new2, _mm512_mul_ps(gradient, gradient)));
    __m512 divisor = _mm512_fmadd_ps(_mm512_sqrt_ps(second), c->root, c->eps);
    /* Lanes that the mask leaves out must not divide by zero, whatever eps is. */
    __m512 quotient = _mm512_maskz_div_ps(mask, first, divisor);
    __m512 weight = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, w), _mm512_mul_ps(c->rate, quotient));
    _mm512_mask_storeu_ps(m, mask, first);
    _mm512_mask_storeu_ps(v, mask, second);
    _mm512_mask_storeu_ps(w, mask, weight);
}

void orth_adam_avx512(int64_t n, const float *g, float scale, const orth_adam *a, float *w,
                      float *m, float *v)
{
    constants c = {_mm512_set1_ps(scale),   _mm512_set1_ps(a->beta1), _mm512_set1_ps(a->beta2),
                   _mm512_set1_ps(a->new1), _mm512_set1_ps(a->new2),  _mm512_set1_ps(a->rate),
                   _mm512_set1_ps(a->root), _mm512_set1_ps(a->eps)};
    int64_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        adam_masked((__mmask16)0xffff, &c, g + i, w + i, m + i, v + i);
    if (i < n)
        adam_masked((__mmask16)((1u << (n - i)) - 1u), &c, g + i, w + i, m + i, v + i);
}
