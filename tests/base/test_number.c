/* Numbers as written in configurations.
 * ranks: 1 */
#include <orthant/base/number.h>

#include "check_mpi.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef struct parsed_double {
    const char *text;
    double value;
} parsed_double;

typedef struct parsed_integer {
    const char *text;
    int64_t value;
} parsed_integer;

START_TEST(test_doubles)
{
    static const parsed_double good[] = {
        {"0", 0},
        {"1e-3", 1e-3},
        {"1/32", 0.03125},
        {"2^14", 16384},
        {"65_536", 65536},
        {"-2.5", -2.5},
        {"+.5", 0.5},
        {"1.", 1},
        {"2^-7", 1.0 / 128},
        {"1 / 2^14", 1.0 / 16384},
        {"6.25e-10", 6.25e-10},
        {"1_0.5_0E1", 105},
        {"1e-400", 0},
        {"3/4", 0.75},
        {"10^0", 1},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        double value = -1;
        ck_assert_msg(orth_number_parse(good[i].text, &value) == NULL, "%s", good[i].text);
        ck_assert_msg(value == good[i].value, "%s gives %.17g", good[i].text, value);
    }
    static const char *const bad[] = {
        "",    " ",     "nan",  "inf", "-inf",   ".nan",  "0x10",  "1/0",  "0/0",   "1e",
        "e3",  "1e400", "1__0", "_1",  "1_",     "--1",   "1/2/3", "2^^3", "2^0.5", "2^",
        "1 2", "1,5",   "1/",   ".",   "9^4096", "1e3.5", "five",  "1;",   "1_.5",  "2^1e3"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        double value = -7;
        ck_assert_msg(orth_number_parse(bad[i], &value) != NULL, "'%s' was accepted", bad[i]);
        ck_assert_msg(value == -7, "'%s' changed the value", bad[i]);
    }
    char large[300];
    memset(large, '1', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    double value = -7;
    ck_assert(orth_number_parse(large, &value) != NULL && value == -7);
}
END_TEST

START_TEST(test_integers)
{
    static const parsed_integer good[] = {
        {"0", 0},
        {"32", 32},
        {"2^14", 16384},
        {"1e6", 1000000},
        {"1.5e3", 1500},
        {"1.500", -1},
        {"12.000", 12},
        {"-5", -5},
        {"65_536", 65536},
        {"64/2", 32},
        {"9007199254740993", 9007199254740993},
        {"9223372036854775807", INT64_MAX},
        {"2^62", INT64_C(1) << 62},
        {"1e18", INT64_C(1000000000000000000)},
        {"100e-2", 1},
        {"0e9999999", 0},
        {"1^4000", 1},
        {"7^0", 1},
        {"0.0000000000000000000000000000e3", 0},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        int64_t value = -1;
        const char *why = orth_number_integer(good[i].text, &value);
        if (good[i].value == -1)
            ck_assert_str_eq(why, "is not an integer");
        else
            ck_assert_msg(!why, "%s %s", good[i].text, why ? why : "");
        ck_assert_msg(value == good[i].value, "%s gives %lld", good[i].text, (long long)value);
    }
    static const char *const bad[] = {
        "1/3",      "1e-3",           "0.5",           "9223372036854775808",
        "2^63",     "1e19",           "1e99999999999", "nan",
        "",         "2^-1",           "1/0",           "ten",
        "5 tokens", "1e-99999999999", "10^4096"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t value = -7;
        ck_assert_msg(orth_number_integer(bad[i], &value) != NULL, "'%s' was accepted", bad[i]);
        ck_assert_int_eq(value, -7);
    }
}
END_TEST

START_TEST(test_times)
{
    double value = -1;
    ck_assert(!orth_number_time("00:30:00", &value) && value == 1800);
    ck_assert(!orth_number_time("1:02:03", &value) && value == 3723);
    ck_assert(!orth_number_time("100:00:59", &value) && value == 360059);
    static const char *const bad[] = {
        "",    "30:00",     "00:60:00",         "00:00:60", "0:0:0", "-1:00:00", "00:00:00:00",
        "1e3", "00:00:001", "1000000000:00:00", "::"};
    value = -7;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(orth_number_time(bad[i], &value) != NULL, "'%s' was accepted", bad[i]);
    ck_assert(value == -7);
}
END_TEST

START_TEST(test_written_numbers_read_back)
{
    char text[ORTH_NUMBER_ROOM];
    ck_assert_str_eq(orth_number_write(0.1, text), "0.1");
    ck_assert_str_eq(orth_number_write(1e-4, text), "0.0001");
    ck_assert_str_eq(orth_number_write(0.03125, text), "0.03125");
    double values[] = {1.0 / 3, DBL_MIN, DBL_MAX, nextafter(1, 2), -0.1 - 0.2, 6.25e-10, 0, 1e22};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        double back = NAN;
        ck_assert(!orth_number_parse(orth_number_write(values[i], text), &back));
        ck_assert_msg(back == values[i], "%s is not %.17g", text, values[i]);
    }
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("number");
    TCase *test = tcase_create("number");
    tcase_add_test(test, test_doubles);
    tcase_add_test(test, test_integers);
    tcase_add_test(test, test_times);
    tcase_add_test(test, test_written_numbers_read_back);
    suite_add_tcase(suite, test);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
