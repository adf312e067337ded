/* Nearest rows by cosine against loops in double, in one call and in pieces.
 * threads: 2
 */
#include "check_mpi.h"

#include <orthant/base/random.h>
#include <orthant/kern/match.h>

#include <math.h>
#include <string.h>

enum { N_A = 530, N_B = 300, D = 6 };

static float a[N_A * D], b[N_B * D], factor_a[N_A], factor_b[N_B];

/* Row 5 of A and row 9 of B are zeros; rows 17 and 290 of B are the same one; row 300 of A is row
 * 17 but for the last bit of an element, and rows 40, 260 and 520 of A are one, in three tiles. */
static void fill(void)
{
    for (int64_t i = 0; i < N_A * D; i++)
        a[i] = (float)orth_random_normal(1, ORTH_RANDOM_TEST, (uint64_t)i, 0);
    for (int64_t i = 0; i < N_B * D; i++)
        b[i] = (float)orth_random_normal(2, ORTH_RANDOM_TEST, (uint64_t)i, 0);
    memset(a + 5 * D, 0, D * sizeof *a);
    memset(b + 9 * D, 0, D * sizeof *b);
    memcpy(b + 290 * D, b + 17 * D, D * sizeof *b);
    memcpy(a + 400 * D, b + 17 * D, D * sizeof *b);
    memcpy(a + 300 * D, b + 17 * D, D * sizeof *b);
    a[300 * D] = nextafterf(a[300 * D], 100.0f);
    for (int64_t i = 260; i <= 520; i += 260)
        memcpy(a + i * D, a + 40 * D, D * sizeof *a);
    orth_match_factors(a, N_A, D, factor_a);
    orth_match_factors(b, N_B, D, factor_b);
}

static double dot(const float *v, const float *w)
{
    double sum = 0.0;
    for (int j = 0; j < D; j++)
        sum += (double)v[j] * (double)w[j];
    return sum;
}

static double cosine(const float *v, const float *w)
{
    double squares = dot(v, v) * dot(w, w);
    return squares > 0.0 ? dot(v, w) / sqrt(squares) : 0.0;
}

static void check(const float *v, int64_t n, const float *w, int64_t m, int64_t first,
                  const orth_match_best *found)
{
    for (int64_t i = 0; i < n; i++) {
        double best = -2.0;
        for (int64_t k = 0; k < m; k++)
            best = fmax(best, cosine(v + i * D, w + k * D));
        ck_assert_double_eq_tol(found[i].cosine, best, 4e-15);
        int64_t row = found[i].row - first;
        ck_assert(row >= 0 && row < m);
        ck_assert_double_eq_tol(cosine(v + i * D, w + row * D), found[i].cosine, 1e-12);
    }
}

static void match(int64_t pieces, orth_match_best *of_a, orth_match_best *of_b)
{
    orth_match_rows rows_a = {a, factor_a, N_A, 1000};
    orth_match_tiles tiles;
    for (int64_t i = 0; i < N_A; i++)
        of_a[i] = ORTH_MATCH_NONE;
    for (int64_t i = 0; i < N_B; i++)
        of_b[i] = ORTH_MATCH_NONE;
    ck_assert_int_eq(orth_match_create(N_A, N_B, &tiles), ORTH_OK);
    for (int64_t p = 0; p < pieces; p++) {
        int64_t begin = N_B * p / pieces, end = N_B * (p + 1) / pieces;
        orth_match_rows rows_b = {b + begin * D, factor_b + begin, end - begin, 50 + begin};
        orth_match_add(&rows_a, &rows_b, D, &tiles, of_a, of_b + begin);
    }
    orth_match_free(&tiles);
}

START_TEST(both_ways)
{
    orth_match_best of_a[N_A], of_b[N_B];
    match(1, of_a, of_b);
    check(a, N_A, b, N_B, 50, of_a);
    check(b, N_B, a, N_A, 1000, of_b);
    ck_assert_double_eq(of_a[5].cosine, 0.0);
    ck_assert_double_eq(of_b[9].cosine, 0.0);
    ck_assert_int_eq(of_a[5].row, 50);
    ck_assert_int_eq(of_b[9].row, 1000);
    /* of equal ones the lower, of nearly equal ones the nearer */
    ck_assert_int_eq(of_a[400].row, 50 + 17);
    ck_assert_double_eq_tol(of_a[400].cosine, 1.0, 1e-15);
    for (int64_t j = 0; j < N_B; j++)
        ck_assert(of_b[j].row != 1000 + 260 && of_b[j].row != 1000 + 520);
    ck_assert_int_eq(of_a[260].row, of_a[40].row);
    ck_assert_double_eq(of_a[520].cosine, of_a[40].cosine);
    for (int64_t j = 17; j < N_B; j += 273)
        ck_assert_int_eq(of_b[j].row, 1000 + 400);
}
END_TEST

START_TEST(in_pieces)
{
    orth_match_best of_a[N_A], of_b[N_B], whole_a[N_A], whole_b[N_B];
    match(1, whole_a, whole_b);
    for (int64_t pieces = 2; pieces <= 7; pieces += 5) {
        match(pieces, of_a, of_b);
        for (int64_t i = 0; i < N_A; i++)
            ck_assert(of_a[i].row == whole_a[i].row && of_a[i].cosine == whole_a[i].cosine);
        for (int64_t i = 0; i < N_B; i++)
            ck_assert(of_b[i].row == whole_b[i].row && of_b[i].cosine == whole_b[i].cosine);
    }
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("match");
    TCase *tests = tcase_create("match");
    fill();
    tcase_add_test(tests, both_ways);
    tcase_add_test(tests, in_pieces);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
