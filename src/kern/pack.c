#include <orthant/kern/pack.h>

#include <orthant/kern/table.h>

#include <stddef.h>

void orth_pack(const float *rows, const uint32_t *index, int64_t count, int width, int64_t d,
               float *panel)
{
    const float *source[ORTH_PANEL_LATENTS_MAX];
    for (int64_t r = 0; r < count; r++)
        source[r] = rows + (index ? (int64_t)index[r] : r) * d;
    orth_kernels_get()->pack(count, source, width, d, panel);
}
