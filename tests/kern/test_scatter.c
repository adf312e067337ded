/* Panels of a scatter matrix and its sums against loops.
 * threads: 2
 */
#include "check_mpi.h"

#include <orthant/base/random.h>
#include <orthant/kern/scatter.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* More rows and columns than a tile, neither a multiple of one. */
enum { ROWS = 277, D = 301 };

static float x[ROWS * D];
static double centre[D], factor[ROWS];

static void fill(void)
{
    for (int64_t i = 0; i < ROWS * D; i++)
        x[i] = (float)orth_random_normal(1, ORTH_RANDOM_TEST, (uint64_t)i, 0);
    for (int64_t j = 0; j < D; j++)
        centre[j] = orth_random_normal(2, ORTH_RANDOM_TEST, (uint64_t)j, 0);
    for (int64_t r = 0; r < ROWS; r++)
        factor[r] = r % 5 == 0 ? 0.0 : 0.5 + 0.25 * (double)(r % 3);
}

static double entry(int64_t r, int64_t j, const double *m, const double *f)
{
    return ((double)x[r * D + j] - (m ? m[j] : 0.0)) * (f ? f[r] : 1.0);
}

static void check_panel(int64_t n_row, int64_t first, int64_t count, const double *m,
                        const double *f)
{
    orth_scatter_tiles tiles;
    double *panel = malloc((size_t)count * D * sizeof *panel);
    for (int64_t i = 0; i < count * D; i++)
        panel[i] = NAN;
    ck_assert_int_eq(orth_scatter_create(&tiles), ORTH_OK);
    orth_scatter_panel(x, n_row, D, m, f, first, count, &tiles, panel);
    for (int64_t c = 0; c < count; c++)
        for (int64_t i = first + c; i < D; i++) {
            double wanted = 0.0;
            for (int64_t r = 0; r < n_row; r++)
                wanted += entry(r, first + c, m, f) * entry(r, i, m, f);
            ck_assert_double_eq_tol(panel[c * D + i], wanted, 1e-11 * (1.0 + fabs(wanted)));
        }
    orth_scatter_free(&tiles);
    free(panel);
}

START_TEST(panels)
{
    check_panel(ROWS, 0, D, NULL, NULL);
    check_panel(ROWS, 0, D, centre, factor);
    check_panel(ROWS, 100, 150, centre, NULL);
    check_panel(ROWS, 255, 46, NULL, factor);
    check_panel(ROWS, D - 1, 1, centre, factor);
    check_panel(1, 0, 7, NULL, NULL);
}
END_TEST

/* A rank without rows has zeros. */
START_TEST(no_rows)
{
    check_panel(0, 0, D, centre, factor);
}
END_TEST

START_TEST(sums)
{
    double found[D], wanted[D];
    for (int64_t j = 0; j < D; j++) {
        found[j] = wanted[j] = 3.0;
        for (int64_t r = 0; r < ROWS; r++)
            wanted[j] += entry(r, j, centre, factor);
    }
    orth_scatter_sums(x, ROWS, D, centre, factor, found);
    ck_assert_int_eq(memcmp(found, wanted, sizeof found), 0);
    for (int64_t j = 0; j < D; j++)
        found[j] = 0.0;
    orth_scatter_sums(x, ROWS, D, NULL, NULL, found);
    for (int64_t j = 0; j < D; j++) {
        double sum = 0.0;
        for (int64_t r = 0; r < ROWS; r++)
            sum += entry(r, j, NULL, NULL);
        ck_assert_double_eq_tol(found[j], sum, 1e-12);
    }
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("scatter");
    TCase *tests = tcase_create("scatter");
    fill();
    tcase_add_test(tests, panels);
    tcase_add_test(tests, no_rows);
    tcase_add_test(tests, sums);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
