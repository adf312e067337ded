/* Keys: their order, the k-th largest against a sort, the filter. */
#include "check_mpi.h"
#include "values.h"

#include <orthant/base/random.h>
#include <orthant/kern/keys.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 700 };

static int descending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x > y ? -1 : x < y;
}

START_TEST(keys_order_values_then_lower_latents)
{
    ck_assert(orth_key(1.0f, 7) > orth_key(0.5f, 0));
    ck_assert(orth_key(1.0f, 7) > orth_key(1.0f, 8));
    ck_assert(orth_key(1e-45f, 0xfffffffeu) > orth_key(0.0f, 0));
    ck_assert_uint_eq(orth_key_latent(orth_key(2.5f, 123456789u)), 123456789u);
    ck_assert(orth_key_value(orth_key(2.5f, 123456789u)) == 2.5f);
}
END_TEST

/* `kind` 0: distinct; 1: few values; 2: all equal; 3: ascending; 4: descending; 5: organ pipe. */
static void fill_keys(uint64_t *keys, int64_t n, int kind)
{
    for (int64_t i = 0; i < n; i++) {
        uint64_t bits =
            orth_random_bits((uint64_t)kind, ORTH_RANDOM_TEST, (uint64_t)n, (uint64_t)i);
        int64_t pipe = i < n / 2 ? i : n - i;
        uint64_t values[] = {bits, bits % 5, 42, (uint64_t)i, (uint64_t)(n - i), (uint64_t)pipe};
        keys[i] = values[kind];
    }
}

static void check_kth(int64_t n, int kind, int64_t k)
{
    uint64_t keys[MOST], sorted[MOST];
    fill_keys(keys, n, kind);
    memcpy(sorted, keys, sizeof keys);
    qsort(sorted, (size_t)n, sizeof *sorted, descending);
    uint64_t found = orth_keys_kth(keys, n, k);
    ck_assert_msg(found == sorted[k - 1], "n %d, k %d, kind %d", (int)n, (int)k, kind);
}

/* One set's filter against a plain one; what lies behind the keys stays. */
static void check_keep(int64_t (*keep)(uint64_t *, int64_t, uint64_t), int64_t n, int kind,
                       uint64_t cut, bool from)
{
    uint64_t keys[MOST + 1], given[MOST];
    int64_t at = 0;
    fill_keys(given, n, kind);
    memcpy(keys, given, sizeof given);
    keys[n] = 77;
    int64_t kept = keep(keys, n, cut);
    for (int64_t i = 0; i < n; i++)
        if ((given[i] >= cut) == from) {
            ck_assert(at < kept && keys[at] == given[i]);
            at++;
        }
    ck_assert_int_eq(at, kept);
    ck_assert_uint_eq(keys[n], 77);
}

START_TEST(every_set_counts_and_keeps_alike)
{
    const orth_kernels *sets[KERNEL_SETS];
    for (int s = 0; s < kernel_sets(sets); s++)
        for (int kind = 0; kind < 6; kind++)
            for (int64_t n = 0; n < 70; n++) {
                uint64_t keys[MOST] = {0};
                int64_t above = 0, same = 0, equal;
                fill_keys(keys, n, kind);
                uint64_t pivot = keys[n / 2];
                for (int64_t i = 0; i < n; i++) {
                    above += keys[i] > pivot;
                    same += keys[i] == pivot;
                }
                ck_assert_int_eq(sets[s]->keys->count(keys, n, pivot, &equal), above);
                ck_assert_int_eq(equal, same);
                check_keep(sets[s]->keys->keep_from, n, kind, pivot, true);
                check_keep(sets[s]->keys->keep_below, n, kind, pivot, false);
            }
}
END_TEST

START_TEST(the_kth_is_that_of_a_sort)
{
    for (int kind = 0; kind < 6; kind++) {
        for (int64_t n = 1; n <= 40; n++)
            for (int64_t k = 1; k <= n; k++)
                check_kth(n, kind, k);
        for (int64_t k = 1; k <= MOST; k += 37)
            check_kth(MOST, kind, k);
        check_kth(MOST, kind, MOST);
    }
}
END_TEST

START_TEST(the_filter_keeps_order)
{
    for (int kind = 0; kind < 6; kind++)
        for (int64_t n = 0; n <= 60; n++) {
            uint64_t keys[61], original[61];
            keys[n] = 99;
            fill_keys(keys, n, kind);
            memcpy(original, keys, sizeof keys);
            uint64_t cut = n ? original[n / 3] : 1;
            int64_t kept = orth_keys_filter(keys, n, cut), wanted = 0;
            for (int64_t i = 0; i < n; i++)
                if (original[i] >= cut)
                    ck_assert(keys[wanted++] == original[i]);
            ck_assert_int_eq(kept, wanted);
            ck_assert_uint_eq(keys[n], 99);
        }
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("keys");
    TCase *cases = tcase_create("keys");
    tcase_add_test(cases, keys_order_values_then_lower_latents);
    tcase_add_test(cases, every_set_counts_and_keeps_alike);
    tcase_add_test(cases, the_kth_is_that_of_a_sort);
    tcase_add_test(cases, the_filter_keeps_order);
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
