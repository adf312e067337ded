#ifndef ORTHANT_BASE_UTF8_H
#define ORTHANT_BASE_UTF8_H

#include <stdint.h>

/**
 * Copy `bytes` bytes with U+FFFD in place of each byte that is no part of valid UTF-8 (overlong
 * forms, surrogates and what is beyond U+10FFFF are not valid) and of each NUL: out has room for
 * 3 `bytes`. Returns how many were written; no final NUL.
 */
int64_t orth_utf8_repair(const char *in, int64_t bytes, char *out);

#endif
