/* Blocks of memory, and those that are only counted.
 * ranks: 1 */
#include <orthant/base/memory.h>

#include "check_mpi.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct heard {
    int count;
    int64_t bytes;
    char what[32];
} heard;

static void listen(void *context, const char *what, int64_t bytes)
{
    heard *h = context;
    h->count++;
    h->bytes += bytes;
    snprintf(h->what, sizeof h->what, "%s", what);
}

static bool all_zero(const char *block, int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i++)
        if (block[i])
            return false;
    return true;
}

START_TEST(test_blocks)
{
    static const int64_t sizes[] = {0, 1, 63, 64, 4096, (4 << 20) - 1, 4 << 20, (6 << 20) + 5};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *block = NULL;
        ck_assert_int_eq(ORTH_ALLOCATE(sizes[i], "block", &block), ORTH_OK);
        ck_assert_uint_eq((uintptr_t)block % 64, 0);
        ck_assert(all_zero(block, sizes[i]));
        memset(block, 1, (size_t)sizes[i]);
        orth_free(block);
    }
    orth_free(NULL);
}
END_TEST

START_TEST(test_count)
{
    heard h = {0};
    double *small = NULL, *huge = NULL, *real = NULL;
    const int64_t beyond = INT64_C(1) << 34; /* 128 GiB */
    orth_memory_count(listen, &h);
    ck_assert_int_eq(ORTH_ALLOCATE(3, "small", &small), ORTH_OK);
    ck_assert_int_eq(ORTH_ALLOCATE(beyond, "huge", &huge), ORTH_OK);
    orth_memory_count(NULL, NULL);
    ck_assert_int_eq(ORTH_ALLOCATE(5, "real", &real), ORTH_OK);
    ck_assert_int_eq(h.count, 2);
    ck_assert_int_eq(h.bytes, 24 + 8 * beyond);
    ck_assert_str_eq(h.what, "huge");
    ck_assert_uint_eq((uintptr_t)huge % 64, 0);
    /* Addresses that can be written and read, at both ends. */
    huge[0] = small[2] = 1.5;
    huge[beyond - 1] = 2.5;
    ck_assert(huge[0] == 1.5 && huge[beyond - 1] == 2.5 && huge[beyond / 2] == 0.0);
    ck_assert_int_lt(orth_peak_memory(), INT64_C(1) << 33);
    orth_free(huge);
    orth_free(real);
    orth_free(small);
}
END_TEST

START_TEST(test_too_large)
{
    char *block = NULL;
    heard h = {0};
    for (int counted = 0; counted < 2; counted++) {
        orth_memory_count(counted ? listen : NULL, counted ? &h : NULL);
        ck_assert_int_eq(orth_allocate(INT64_MAX / 2, 4, "too much", (void **)&block),
                         ORTH_ERR_ENVIRONMENT);
        ck_assert_int_eq(orth_allocate(-1, 4, "negative", (void **)&block), ORTH_ERR_ENVIRONMENT);
        ck_assert_int_eq(orth_allocate(INT64_MAX / 2, 1, "no room", (void **)&block),
                         ORTH_ERR_ENVIRONMENT);
        orth_error_clear();
    }
    orth_memory_count(NULL, NULL);
    ck_assert_ptr_null(block);
    ck_assert_int_eq(h.count, 0);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("memory");
    TCase *test = tcase_create("memory");
    tcase_add_test(test, test_blocks);
    tcase_add_test(test, test_count);
    tcase_add_test(test, test_too_large);
    suite_add_tcase(suite, test);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
