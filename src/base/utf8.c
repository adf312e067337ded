#include <orthant/base/utf8.h>

#include <string.h>

/* How long the sequence is that begins here, 0 when it is not valid. */
static int64_t sequence(const unsigned char *in, int64_t left)
{
    unsigned lead = in[0], low = 0x80, high = 0xbf;
    if (lead < 0x80)
        return lead > 0;
    int64_t length = lead >= 0xc2 && lead < 0xe0 ? 2 : lead >= 0xe0 && lead < 0xf0 ? 3 : 4;
    if (lead < 0xc2 || lead > 0xf4 || left < length)
        return 0;
    /* The second byte excludes overlong forms, surrogates and what is too large. */
    if (lead == 0xe0)
        low = 0xa0;
    else if (lead == 0xed)
        high = 0x9f;
    else if (lead == 0xf0)
        low = 0x90;
    else if (lead == 0xf4)
        high = 0x8f;
    if (in[1] < low || in[1] > high)
        return 0;
    for (int64_t i = 2; i < length; i++)
        if (in[i] < 0x80 || in[i] > 0xbf)
            return 0;
    return length;
}

int64_t orth_utf8_repair(const char *in, int64_t bytes, char *out)
{
    int64_t written = 0;
    for (int64_t at = 0; at < bytes;) {
        int64_t length = sequence((const unsigned char *)in + at, bytes - at);
        memcpy(out + written, length > 0 ? in + at : "\xef\xbf\xbd",
               (size_t)(length > 0 ? length : 3));
        written += length > 0 ? length : 3;
        at += length > 0 ? length : 1;
    }
    return written;
}
