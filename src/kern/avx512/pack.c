/* AVX-512: panels by transposing 16 rows x 16 columns at a time. */
#include "../sets.h"
#include "lanes.h"
#include "transpose.h"

#include <immintrin.h>

/* Lanes [at, at + 16) of a panel, as far as it is wide, from as many rows as there are. */
static void pack_16(int64_t count, const float *const *rows, int width, int at, int64_t d,
                    float *panel)
{
    __mmask16 lanes = lanes_16(width - at);
    for (int64_t j = 0; j < d; j += 16) {
        int columns = d - j < 16 ? (int)(d - j) : 16;
        __mmask16 here = lanes_16(columns);
        __m512i w[16];
#pragma GCC unroll 16
        for (int r = 0; r < 16; r++)
            w[r] = at + r < count ? _mm512_maskz_loadu_epi32(here, rows[at + r] + j)
                                  : _mm512_setzero_si512();
        transpose_16(w);
#pragma GCC unroll 16
        for (int c = 0; c < 16; c++)
            if (c < columns)
                _mm512_mask_storeu_epi32(panel + (j + c) * width + at, lanes, w[c]);
    }
}

void orth_avx512_pack(int64_t count, const float *const *rows, int width, int64_t d, float *panel)
{
    for (int at = 0; at < width; at += 16)
        pack_16(count, rows, width, at, d, panel);
}
