#ifndef ORTHANT_BASE_CRC32C_H
#define ORTHANT_BASE_CRC32C_H

#include <stdint.h>

/** CRC-32C (Castagnoli) of `size` bytes; of "123456789" 0xE3069283. Through ISA-L. */
uint32_t orth_crc32c(const void *data, int64_t size);

#endif
