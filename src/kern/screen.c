#include <orthant/kern/screen.h>

#include "screen_rows.h"

void orth_screen_token_bound(int64_t d, float size, float rest, float *alpha, float *beta)
{
    double steps = ((double)d + 32.0) * 0x1p-24;
    double g = 3.0 * steps / (1.0 - steps), whole = (double)size + (double)rest;
    *alpha = (float)((rest + g * whole) * (1.0 + 0x1p-20));
    *beta = (float)((1.0 + g) * whole * (1.0 + 0x1p-20));
}

void orth_screen_base(int64_t n, const float *bias, float *base)
{
    for (int64_t i = 0; i < n; i++)
        base[i] = bias[i] + screen_bias_margin(bias[i]);
}
