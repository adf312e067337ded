/* Products of rows in tiles against loops in double.
 * threads: 2
 */
#include "check_mpi.h"

#include <orthant/base/random.h>
#include <orthant/kern/gram.h>

#include <stdlib.h>

enum { N_A = 300, N_B = 531, D = 9 };

static float a[N_A * D], b[N_B * D], factor_a[N_A], factor_b[N_B];

static void fill(void)
{
    for (int64_t i = 0; i < N_A * D; i++)
        a[i] = (float)orth_random_normal(1, ORTH_RANDOM_TEST, (uint64_t)i, 0);
    for (int64_t i = 0; i < N_B * D; i++)
        b[i] = (float)orth_random_normal(2, ORTH_RANDOM_TEST, (uint64_t)i, 0);
    for (int64_t i = 0; i < N_A; i++)
        factor_a[i] = (float)(0.1 + 0.2 * (double)(i % 7));
    for (int64_t i = 0; i < N_B; i++)
        factor_b[i] = (float)(0.05 * (double)(i % 5));
}

static const orth_gram_rows A = {a, factor_a, N_A, 1000}, B = {b, factor_b, N_B, 50};

static void take(double value, int64_t i, int64_t k, orth_gram *gram)
{
    if (value > gram->max.value)
        gram->max = (orth_gram_peak){value, A.first + i, B.first + k};
    if (fabs(value) > gram->max_abs.value)
        gram->max_abs = (orth_gram_peak){fabs(value), A.first + i, B.first + k};
    gram->sum_abs += fabs(value);
}

static orth_gram_survey plain(int64_t shift)
{
    orth_gram_survey survey = ORTH_GRAM_SURVEY_NONE;
    for (int64_t i = 0; i < N_A; i++)
        for (int64_t k = i - shift + 1 < 0 ? 0 : i - shift + 1; k < N_B; k++) {
            double product = 0.0;
            for (int64_t j = 0; j < D; j++)
                product += (double)a[i * D + j] * (double)b[k * D + j];
            take(product, i, k, &survey.plain);
            product *= (double)factor_a[i] * (double)factor_b[k];
            take(product, i, k, &survey.scaled);
            double bin = floor((product + 1.0) * 0.5 * ORTH_GRAM_BINS);
            survey.bins[(int)fmax(0.0, fmin(bin, ORTH_GRAM_BINS - 1))]++;
        }
    return survey;
}

static void compare(const orth_gram *found, const orth_gram *wanted)
{
    ck_assert_double_eq_tol(found->max.value, wanted->max.value, 1e-5);
    ck_assert_double_eq_tol(found->max_abs.value, wanted->max_abs.value, 1e-5);
    ck_assert_int_eq(found->max.a, wanted->max.a);
    ck_assert_int_eq(found->max.b, wanted->max.b);
    ck_assert_int_eq(found->max_abs.a, wanted->max_abs.a);
    ck_assert_int_eq(found->max_abs.b, wanted->max_abs.b);
    ck_assert_double_eq_tol(found->sum_abs, wanted->sum_abs, 1e-6 * wanted->sum_abs);
}

/* A product near the edge of a bin may fall to either side of it; none is lost. */
static void compare_all(const orth_gram_survey *found, const orth_gram_survey *wanted)
{
    int64_t moved = 0, count = 0, pairs = 0;
    compare(&found->plain, &wanted->plain);
    compare(&found->scaled, &wanted->scaled);
    for (int i = 0; i < ORTH_GRAM_BINS; i++) {
        moved += llabs(found->bins[i] - wanted->bins[i]);
        count += found->bins[i];
        pairs += wanted->bins[i];
    }
    ck_assert_int_eq(count, pairs);
    ck_assert_int_le(moved, 1 + pairs / 10000);
}

START_TEST(all_pairs)
{
    orth_gram_tiles tiles;
    orth_gram_survey found = ORTH_GRAM_SURVEY_NONE, wanted = plain(N_A);
    ck_assert_int_eq(orth_gram_create(N_A, N_B, &tiles), ORTH_OK);
    orth_gram_add(&A, &B, D, N_A, 0, 1, &tiles, &found);
    compare_all(&found, &wanted);
    orth_gram_free(&tiles);
}
END_TEST

/* Shared by three callers, one of which gets nothing. */
START_TEST(shared)
{
    orth_gram_tiles tiles;
    orth_gram_survey found = ORTH_GRAM_SURVEY_NONE, wanted = plain(N_A);
    ck_assert_int_eq(orth_gram_create(N_A, N_B, &tiles), ORTH_OK);
    for (int64_t first = 0; first < 3; first++)
        orth_gram_add(&A, &B, D, N_A, first, 3, &tiles, &found);
    compare_all(&found, &wanted);
    orth_gram_free(&tiles);
}
END_TEST

START_TEST(shifted)
{
    static const int64_t shifts[] = {-600, -400, -1, 0, 1, 100, 299};
    orth_gram_tiles tiles;
    ck_assert_int_eq(orth_gram_create(N_A, N_B, &tiles), ORTH_OK);
    for (size_t i = 0; i < sizeof shifts / sizeof *shifts; i++) {
        orth_gram_survey found = ORTH_GRAM_SURVEY_NONE, wanted = plain(shifts[i]);
        orth_gram_add(&A, &B, D, shifts[i], 0, 1, &tiles, &found);
        if (shifts[i] == -600)
            ck_assert(found.plain.max.a == -1 && found.plain.sum_abs == 0.0);
        else
            compare_all(&found, &wanted);
    }
    orth_gram_free(&tiles);
}
END_TEST

/* Without factors nothing is scaled. */
START_TEST(unscaled)
{
    orth_gram_rows rows_a = A, rows_b = B;
    orth_gram_tiles tiles;
    orth_gram_survey found = ORTH_GRAM_SURVEY_NONE, wanted = plain(N_A);
    rows_a.factor = rows_b.factor = NULL;
    ck_assert_int_eq(orth_gram_create(N_A, N_B, &tiles), ORTH_OK);
    orth_gram_add(&rows_a, &rows_b, D, N_A, 0, 1, &tiles, &found);
    compare(&found.plain, &wanted.plain);
    ck_assert(found.scaled.max.a == -1 && found.scaled.sum_abs == 0.0);
    for (int i = 0; i < ORTH_GRAM_BINS; i++)
        ck_assert_int_eq(found.bins[i], 0);
    orth_gram_free(&tiles);
}
END_TEST

/* Of equal products the lower pair, across tiles too. */
START_TEST(ties)
{
    float ones[600];
    orth_gram_rows rows = {ones, NULL, 600, 0};
    orth_gram_tiles tiles;
    orth_gram_survey found = ORTH_GRAM_SURVEY_NONE;
    for (int i = 0; i < 600; i++)
        ones[i] = i == 7 || i == 300 || i == 520 ? 2.0f : 1.0f;
    ck_assert_int_eq(orth_gram_create(600, 600, &tiles), ORTH_OK);
    orth_gram_add(&rows, &rows, 1, 0, 0, 1, &tiles, &found);
    ck_assert_int_eq(found.plain.max.a, 7);
    ck_assert_int_eq(found.plain.max.b, 300);
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
    tcase_add_test(tests, unscaled);
    tcase_add_test(tests, ties);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
