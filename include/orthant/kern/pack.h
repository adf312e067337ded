#ifndef ORTHANT_KERN_PACK_H
#define ORTHANT_KERN_PACK_H

#include <stdint.h>

/**
 * Interleave `count` <= `width` rows of length d into a panel: panel[j * width + r] is element j of
 * row r, zero for r >= count. Row r is rows[index[r]], or rows[r] when index is NULL; `rows` is
 * (..., d), contiguous. The panel has d * width values.
 */
void orth_pack(const float *rows, const uint32_t *index, int64_t count, int width, int64_t d,
               float *panel);

#endif
