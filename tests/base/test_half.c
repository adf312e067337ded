/* 16-bit floats: every value to float and back, rounding, both code paths.
 * ranks: 1 */
#include <orthant/base/half.h>

#include "check_mpi.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { ALL = 65536 };

/* Check's assertions write to a file each time they pass: too slow for every value. */
#define CHECK_VALUE(condition, ...)                                                                \
    do {                                                                                           \
        if (!(condition))                                                                          \
            ck_abort_msg(__VA_ARGS__);                                                             \
    } while (0)

static uint16_t every[ALL];
static float value[ALL], other[ALL];
static uint16_t back[ALL];

static void fill(void)
{
    for (int i = 0; i < ALL; i++)
        every[i] = (uint16_t)i;
}

/* From the definition: sign * 2^(e - bias) * 1.fraction, or sign * 2^(1 - bias) * 0.fraction. */
static double by_definition(int bits, int exponent_bits, int fraction_bits)
{
    int bias = (1 << (exponent_bits - 1)) - 1;
    int exponent = (bits >> fraction_bits) & ((1 << exponent_bits) - 1);
    int fraction = bits & ((1 << fraction_bits) - 1);
    double sign = bits >> 15 ? -1 : 1;
    if (exponent == (1 << exponent_bits) - 1)
        return fraction ? NAN : sign * INFINITY;
    if (exponent == 0)
        return sign * ldexp(fraction, 1 - bias - fraction_bits);
    return sign * ldexp(fraction + (1 << fraction_bits), exponent - bias - fraction_bits);
}

static void check_values(int exponent_bits, int fraction_bits)
{
    for (int i = 0; i < ALL; i++) {
        double expected = by_definition(i, exponent_bits, fraction_bits);
        if (isnan(expected)) {
            CHECK_VALUE(isnan(value[i]), "%04x is no NaN", (unsigned)i);
            continue;
        }
        CHECK_VALUE((double)value[i] == expected && !signbit(value[i]) == !signbit(expected),
                    "%04x gives %a, not %a", (unsigned)i, (double)value[i], expected);
    }
}

START_TEST(test_f16_values)
{
    orth_f16_to_f32_portable(every, ALL, value);
    check_values(5, 10);
    orth_f16_to_f32(every, ALL, other);
    ck_assert_mem_eq(value, other, sizeof value); /* NaN payloads too */
    orth_f16_to_f32(every + 1, 4099, other);      /* a tail, not aligned */
    ck_assert_mem_eq(value + 1, other, 4099 * sizeof *other);
    orth_f32_to_f16(value, ALL, back);
    for (int i = 0; i < ALL; i++)
        CHECK_VALUE(back[i] == (isnan(value[i]) ? (i | 0x200) : i), "%04x -> %04x", (unsigned)i,
                    (unsigned)back[i]);
}
END_TEST

START_TEST(test_bf16_values)
{
    orth_bf16_to_f32(every, ALL, value);
    check_values(8, 7);
    orth_f32_to_bf16(value, ALL, back);
    for (int i = 0; i < ALL; i++)
        CHECK_VALUE(back[i] == (isnan(value[i]) ? (i | 0x40) : i), "%04x -> %04x", (unsigned)i,
                    (unsigned)back[i]);
}
END_TEST

/* Between each two neighbours: just below the middle, the middle (to even), just above. */
static void check_rounding(void (*round_to)(const float *, int64_t, uint16_t *), int largest,
                           int exponent_bits, int fraction_bits)
{
    for (int i = 0; i < largest; i++) {
        float low = (float)by_definition(i, exponent_bits, fraction_bits);
        float high = (float)by_definition(i + 1, exponent_bits, fraction_bits);
        float middle = (float)(((double)low + (double)high) / 2);
        float in[6] = {nextafterf(middle, low), middle, nextafterf(middle, high)};
        uint16_t out[6];
        int even = i & 1 ? i + 1 : i;
        for (int j = 0; j < 3; j++)
            in[3 + j] = -in[j];
        round_to(in, 6, out);
        int expected[3] = {i, even, i + 1};
        for (int j = 0; j < 6; j++)
            CHECK_VALUE(out[j] == (expected[j % 3] | (j < 3 ? 0 : 0x8000)), "%a -> %04x",
                        (double)in[j], (unsigned)out[j]);
    }
}

START_TEST(test_rounding)
{
    check_rounding(orth_f32_to_f16, 0x7bff, 5, 10);
    /* bfloat16 below 2^-126 has no float between neighbours' middles and the middle is exact. */
    check_rounding(orth_f32_to_bf16, 0x7f7f, 8, 7);
    const float in[] = {65519.996f, 65520, 65536, FLT_MAX, INFINITY, -65520, 0x1p-25f, 0x1.8p-25f};
    const uint16_t expected[] = {0x7bff, 0x7c00, 0x7c00, 0x7c00, 0x7c00, 0xfc00, 0, 1};
    uint16_t out[8];
    orth_f32_to_f16(in, 8, out);
    ck_assert_mem_eq(out, expected, sizeof out);
    const float brain[] = {FLT_MAX, INFINITY, -INFINITY, 0x1.fep127f, -0.0f};
    const uint16_t brain_expected[] = {0x7f80, 0x7f80, 0xff80, 0x7f7f, 0x8000};
    orth_f32_to_bf16(brain, 5, out);
    ck_assert_mem_eq(out, brain_expected, sizeof brain_expected);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("half");
    TCase *tests = tcase_create("all");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, fill, NULL);
    tcase_add_test(tests, test_f16_values);
    tcase_add_test(tests, test_bf16_values);
    tcase_add_test(tests, test_rounding);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
