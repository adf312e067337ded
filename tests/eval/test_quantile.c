/* Quantiles over all ranks against a sort; histograms; evenly spaced ZF points.
 * ranks: 1 3
 */
#include "check_mpi.h"

#include <orthant/base/random.h>
#include <orthant/eval/quantile.h>
#include <orthant/eval/zf.h>

#include <math.h>
#include <stdlib.h>

enum { COUNT = 1001, SHARES = 6 };

static const double shares[SHARES] = {0.0, 0.05, 0.25, 0.5, 0.933, 1.0};

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double sorted_quantile(const double *sorted, int64_t n, double share)
{
    double place = share * (double)(n - 1);
    double below = sorted[(int64_t)floor(place)], above = sorted[(int64_t)ceil(place)];
    return below + (place - floor(place)) * (above - below);
}

/* Many magnitudes, exact repeats and zeros. */
static double value_of(int64_t i)
{
    if (i % 10 == 0)
        return 0.0;
    return exp(8.0 * orth_random_normal(1, ORTH_RANDOM_TEST, (uint64_t)(i % 700), 0) - 12.0);
}

static void check_values(bool keep)
{
    double wanted[COUNT], found[SHARES];
    orth_values values;
    int rank, size;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    ck_agree(orth_values_create(COUNT, keep, &values) == ORTH_OK);
    for (int64_t i = 0; i < COUNT; i++) {
        wanted[i] = value_of(i);
        if (i * i % size == rank)
            orth_values_add(&values, wanted[i]);
    }
    qsort(wanted, COUNT, sizeof *wanted, ascending);
    ck_agree(orth_values_quantiles(&values, shares, SHARES, MPI_COMM_WORLD, found) == ORTH_OK);
    for (int i = 0; i < SHARES; i++) {
        double exact = sorted_quantile(wanted, COUNT, shares[i]);
        ck_agree(fabs(found[i] - exact) <= (keep ? 0.0 : 3e-4 * exact + 1e-38));
    }
    orth_values_free(&values);
}

/* i^2 mod 3 is never 2: the third of three ranks holds nothing. */
START_TEST(kept)
{
    check_values(true);
}
END_TEST

START_TEST(binned)
{
    check_values(false);
}
END_TEST

START_TEST(none)
{
    double found[1];
    orth_values values;
    ck_agree(orth_values_create(4, true, &values) == ORTH_OK);
    ck_agree(orth_values_quantiles(&values, shares, 1, MPI_COMM_WORLD, found) == ORTH_OK);
    ck_agree(isnan(found[0]));
    orth_values_free(&values);
}
END_TEST

START_TEST(integers)
{
    double wanted[COUNT];
    orth_counts counts = {0};
    int rank, size;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int64_t i = 0; i < COUNT; i++) {
        int64_t value = (int64_t)(orth_random_bits(2, ORTH_RANDOM_TEST, (uint64_t)i, 0) % 300);
        wanted[i] = (double)value;
        if (i % size == rank)
            ck_assert_int_eq(orth_counts_add(&counts, value), ORTH_OK);
    }
    qsort(wanted, COUNT, sizeof *wanted, ascending);
    ck_agree(orth_counts_merge(&counts, MPI_COMM_WORLD) == ORTH_OK);
    ck_agree((double)(counts.size - 1) == wanted[COUNT - 1]);
    for (int i = 0; i < SHARES; i++)
        ck_agree(orth_counts_quantile(&counts, shares[i]) ==
                 sorted_quantile(wanted, COUNT, shares[i]));
    orth_counts_free(&counts);
}
END_TEST

START_TEST(histogram)
{
    static const double values[] = {-9.0, -1.0, -0.76, -0.75, -0.5, -0.01, 0.0, 7.0};
    static const int64_t wanted[] = {3, 1, 1, 3};
    orth_histogram bins;
    ck_agree(orth_histogram_create(-1.0, 0.25, 4, &bins) == ORTH_OK);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        orth_histogram_add(&bins, values[i]);
    for (int i = 0; i < 4; i++)
        ck_agree(bins.counts[i] == wanted[i] && bins.edges[i] == -1.0 + 0.25 * i);
    orth_histogram_free(&bins);
}
END_TEST

static void check_spacing(int64_t rows, int64_t left_out)
{
    orth_zf zf;
    int rank, size;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    int64_t most = rows < ORTH_ZF_MOST ? rows : ORTH_ZF_MOST, point = 0;
    ck_agree(orth_zf_create(rows, &zf) == ORTH_OK);
    for (int64_t row = 0; row < rows; row++)
        if (row / 7 % size == rank && row != left_out)
            orth_zf_add(&zf, row, (double)row, 2.0 * (double)row);
    ck_agree(orth_zf_finish(&zf, MPI_COMM_WORLD) == ORTH_OK);
    bool good = true;
    for (int64_t i = 0; i < most; i++) {
        int64_t row = i * rows / most;
        if (row == left_out)
            continue;
        good = good && point < zf.count && zf.z[point] == (double)row &&
               zf.f[point] == 2.0 * (double)row;
        point++;
    }
    ck_agree(good && zf.count == point);
    orth_zf_free(&zf);
}

START_TEST(spacing)
{
    check_spacing(100, -1);
    check_spacing(ORTH_ZF_MOST, 0);
    check_spacing(ORTH_ZF_MOST + 1, ORTH_ZF_MOST);
    check_spacing(3 * ORTH_ZF_MOST - 7, 9);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("quantile");
    TCase *tests = tcase_create("quantile");
    tcase_add_test(tests, kept);
    tcase_add_test(tests, binned);
    tcase_add_test(tests, none);
    tcase_add_test(tests, integers);
    tcase_add_test(tests, histogram);
    tcase_add_test(tests, spacing);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
