#ifndef ORTHANT_TESTS_FORMAT_VALUES_H
#define ORTHANT_TESTS_FORMAT_VALUES_H

#include <stdint.h>

/* The files of tests/data/formats hold 24 tokens of 6 values by this formula (see make.py). */
enum { FORMAT_ROWS = 24, FORMAT_WIDTH = 6 };

static inline float format_value(int64_t row, int64_t column)
{
    return (float)((7 * row + 3 * column) % 64 - 32) / 8;
}

#define FORMAT_FILE(name) ORTH_TEST_DATA "/formats/" name ".h5"

#endif
