#include <orthant/base/crc32c.h>

#include <isa-l/crc.h>

uint32_t orth_crc32c(const void *data, int64_t size)
{
    const unsigned char *next = data;
    uint32_t state = 0xFFFFFFFFu;
    /* ISA-L counts in int. Its function takes and gives the running state without the final
     * inversion, so pieces chain. It does not write to the buffer in spite of its signature. */
    for (int64_t left = size; left > 0;) {
        int piece = left < (1 << 30) ? (int)left : 1 << 30;
        state = crc32_iscsi((unsigned char *)(uintptr_t)next, piece, state);
        next += piece;
        left -= piece;
    }
    return ~state;
}
