/* CRC-32C: the published check values; a change of any bit shows.
 * ranks: 1 */
#include <orthant/base/crc32c.h>

#include "check_mpi.h"

#include <string.h>

START_TEST(test_known)
{
    /* The check value, and those of RFC 3720, B.4. */
    ck_assert_uint_eq(orth_crc32c("123456789", 9), 0xE3069283u);
    unsigned char block[32];
    memset(block, 0, sizeof block);
    ck_assert_uint_eq(orth_crc32c(block, 32), 0x8A9136AAu);
    memset(block, 0xff, sizeof block);
    ck_assert_uint_eq(orth_crc32c(block, 32), 0x62A8AB43u);
    for (int i = 0; i < 32; i++)
        block[i] = (unsigned char)i;
    ck_assert_uint_eq(orth_crc32c(block, 32), 0x46DD794Eu);
    ck_assert_uint_eq(orth_crc32c(block, 0), 0);
}
END_TEST

START_TEST(test_flips)
{
    unsigned char block[1024];
    for (int i = 0; i < 1024; i++)
        block[i] = (unsigned char)(i * 37);
    uint32_t good = orth_crc32c(block, sizeof block);
    for (int bit = 0; bit < 8 * 1024; bit++) {
        block[bit / 8] ^= (unsigned char)(1 << bit % 8);
        ck_assert_uint_ne(orth_crc32c(block, sizeof block), good);
        block[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("crc32c");
    TCase *tests = tcase_create("all");
    tcase_add_test(tests, test_known);
    tcase_add_test(tests, test_flips);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
