#include <orthant/kern/pack.h>

#include <orthant/kern/table.h>

#include <stddef.h>

void orth_pack(const float *rows, const uint32_t *index, int64_t count, int width, int64_t d,
               float *panel)
{
    const float *source[ORTH_PANEL_LATENTS_MAX];
    for (int64_t r = 0; r < count; r++)
        source[r] = rows + (index ? (int64_t)index[r] : r) * d;
    for (int64_t j = 0; j < d; j++) {
        float *column = panel + j * width;
        for (int64_t r = 0; r < count; r++)
            column[r] = source[r][j];
        for (int64_t r = count; r < width; r++)
            column[r] = 0.0f;
    }
}
