#include <orthant/kern/screen.h>

#include <math.h>

void orth_screen_token_bound(int64_t d, float size, float rest, orth_screen_bound *out)
{
    double steps = ((double)d + 32.0) * 0x1p-24;
    double g = 3.0 * steps / (1.0 - steps), whole = (double)size + (double)rest;
    out->alpha = (float)((rest + g * whole) * (1.0 + 0x1p-20));
    out->beta = (float)((1.0 + g) * whole * (1.0 + 0x1p-20));
}
