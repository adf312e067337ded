/* Products of rows in tiles against loops in double; their sum against its closed form.
 * threads: 2
 */
#include "check_mpi.h"

#include <orthant/base/random.h>
#include <orthant/kern/gram.h>

#include <stdlib.h>

enum { N_A = 300, N_B = 531, D = 9 };

static float a[N_A * D], b[N_B * D];

static void fill(void)
{
    for (int64_t i = 0; i < N_A * D; i++)
        a[i] = (float)orth_random_normal(1, ORTH_RANDOM_TEST, (uint64_t)i, 0);
    for (int64_t i = 0; i < N_B * D; i++)
        b[i] = (float)orth_random_normal(2, ORTH_RANDOM_TEST, (uint64_t)i, 0);
}

static orth_gram plain(const float *x, int64_t n_x, const float *y, int64_t n_y, int64_t shift)
{
    orth_gram gram = ORTH_GRAM_NONE;
    for (int64_t i = 0; i < n_x; i++)
        for (int64_t k = i - shift + 1 < 0 ? 0 : i - shift + 1; k < n_y; k++) {
            double product = 0.0;
            for (int64_t j = 0; j < D; j++)
                product += (double)x[i * D + j] * (double)y[k * D + j];
            gram.max = fmax(gram.max, product);
            gram.max_abs = fmax(gram.max_abs, fabs(product));
            gram.sum += product;
            gram.sum_abs += fabs(product);
        }
    return gram;
}

static void compare(const orth_gram *found, const orth_gram *wanted)
{
    ck_assert_double_eq_tol(found->max, wanted->max, 1e-5);
    ck_assert_double_eq_tol(found->max_abs, wanted->max_abs, 1e-5);
    ck_assert_double_eq_tol(found->sum, wanted->sum, 1e-7 * wanted->sum_abs);
    ck_assert_double_eq_tol(found->sum_abs, wanted->sum_abs, 1e-6 * wanted->sum_abs);
}

START_TEST(all_pairs)
{
    orth_gram_tiles tiles;
    orth_gram found = ORTH_GRAM_NONE, wanted = plain(a, N_A, b, N_B, N_A);
    ck_assert_int_eq(orth_gram_create(N_A, N_B, &tiles), ORTH_OK);
    orth_gram_add(a, N_A, b, N_B, D, N_A, 0, 1, &tiles, &found);
    compare(&found, &wanted);
    orth_gram_free(&tiles);
}
END_TEST

/* Shared by three callers, one of which gets nothing. */
START_TEST(shared)
{
    orth_gram_tiles tiles;
    orth_gram found = ORTH_GRAM_NONE, wanted = plain(a, N_A, b, N_B, N_A);
    ck_assert_int_eq(orth_gram_create(N_A, N_B, &tiles), ORTH_OK);
    for (int64_t first = 0; first < 3; first++)
        orth_gram_add(a, N_A, b, N_B, D, N_A, first, 3, &tiles, &found);
    compare(&found, &wanted);
    orth_gram_free(&tiles);
}
END_TEST

START_TEST(shifted)
{
    static const int64_t shifts[] = {-600, -400, -1, 0, 1, 100, 299};
    orth_gram_tiles tiles;
    ck_assert_int_eq(orth_gram_create(N_A, N_B, &tiles), ORTH_OK);
    for (size_t i = 0; i < sizeof shifts / sizeof *shifts; i++) {
        orth_gram found = ORTH_GRAM_NONE, wanted = plain(a, N_A, b, N_B, shifts[i]);
        orth_gram_add(a, N_A, b, N_B, D, shifts[i], 0, 1, &tiles, &found);
        if (shifts[i] == -600)
            ck_assert(found.max == -INFINITY && found.sum_abs == 0.0);
        else
            compare(&found, &wanted);
    }
    orth_gram_free(&tiles);
}
END_TEST

/* Sum over pairs = (|sum_i w_i|^2 - sum_i |w_i|^2) / 2. */
START_TEST(closed_form)
{
    orth_gram_tiles tiles;
    orth_gram found = ORTH_GRAM_NONE;
    double closed = 0.0, sum[D] = {0.0};
    for (int64_t i = 0; i < N_B; i++)
        for (int64_t j = 0; j < D; j++) {
            sum[j] += (double)b[i * D + j];
            closed -= (double)b[i * D + j] * (double)b[i * D + j];
        }
    for (int64_t j = 0; j < D; j++)
        closed += sum[j] * sum[j];
    ck_assert_int_eq(orth_gram_create(N_B, N_B, &tiles), ORTH_OK);
    orth_gram_add(b, N_B, b, N_B, D, 0, 0, 1, &tiles, &found);
    ck_assert_double_eq_tol(2.0 * found.sum, closed, 1e-7 * found.sum_abs);
    orth_gram_free(&tiles);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("gram");
    TCase *tests = tcase_create("gram");
    fill();
    tcase_add_test(tests, all_pairs);
    tcase_add_test(tests, shared);
    tcase_add_test(tests, shifted);
    tcase_add_test(tests, closed_form);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
