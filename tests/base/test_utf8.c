/* Valid UTF-8 stays as it is; each byte of anything else becomes U+FFFD.
 * ranks: 1 */
#include <orthant/base/utf8.h>

#include "check_mpi.h"

#include <stdint.h>
#include <string.h>

#define BAD "\xef\xbf\xbd"

static void check(const char *in, const char *wanted)
{
    char out[256];
    int64_t bytes = (int64_t)strlen(in), written = orth_utf8_repair(in, bytes, out);
    ck_assert_int_le(written, 3 * bytes);
    ck_assert_int_eq(written, (int64_t)strlen(wanted));
    ck_assert_mem_eq(out, wanted, (size_t)written);
}

START_TEST(valid)
{
    check("", "");
    check("plain", "plain");
    /* The first and the last of each length, and those beside the surrogates. */
    const char *whole[] = {
        "\x01",         "\x7f",         "\xc2\x80",     "\xdf\xbf",         "\xe0\xa0\x80",
        "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        check(whole[i], whole[i]);
}
END_TEST

START_TEST(invalid)
{
    check("\x80", BAD);
    check("a\xff\xfe z", "a" BAD BAD " z");
    check("\xc0\xaf", BAD BAD);                 /* overlong '/' */
    check("\xe0\x9f\xbf", BAD BAD BAD);         /* overlong */
    check("\xed\xa0\x80", BAD BAD BAD);         /* a surrogate */
    check("\xf0\x8f\xbf\xbf", BAD BAD BAD BAD); /* overlong */
    check("\xf4\x90\x80\x80", BAD BAD BAD BAD); /* beyond U+10FFFF */
    check("\xf5\x80\x80\x80", BAD BAD BAD BAD);
    check("\xe2\x82", BAD BAD); /* cut short */
    check("\xe2\x82z", BAD BAD "z");
    check("\xf0\x9f\x98", BAD BAD BAD);
    char out[16];
    ck_assert_int_eq(orth_utf8_repair("a\0b", 3, out), 5);
    ck_assert_mem_eq(out, "a" BAD "b", 5);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("utf8");
    TCase *tests = tcase_create("utf8");
    tcase_add_test(tests, valid);
    tcase_add_test(tests, invalid);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
