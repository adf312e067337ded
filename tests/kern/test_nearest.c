/* The nearest rows against all cosines in double; ties, zero rows, and the same bits in whatever
 * pieces the rows come.
 * threads: 2
 */
#include "check_mpi.h"

#include <orthant/base/random.h>
#include <orthant/kern/nearest.h>

#include <math.h>
#include <string.h>

enum { N = 333, D = 37, COUNT = 6, SAME = 20, ZERO = 40, SINGLE = 71 };

static float rows[N * D];
static double norm[N];
static orth_near found[N * COUNT];

/* Row SAME is three times row SAME + 1, row SAME + 2 its opposite; row ZERO is 0. */
static void fill(void)
{
    for (int64_t i = 0; i < N * D; i++)
        rows[i] = (float)orth_random_normal(1, ORTH_RANDOM_TEST, (uint64_t)i, 0);
    for (int64_t j = 0; j < D; j++) {
        rows[(SAME + 1) * D + j] = 3.0f * rows[SAME * D + j];
        rows[(SAME + 2) * D + j] = -rows[SAME * D + j];
        rows[ZERO * D + j] = 0.0f;
    }
    for (int64_t i = 0; i < N; i++) {
        double square = 0.0;
        for (int64_t j = 0; j < D; j++)
            square += (double)rows[i * D + j] * (double)rows[i * D + j];
        norm[i] = sqrt(square);
    }
}

static void find(int64_t piece, orth_near *out)
{
    orth_nearest buffers;
    ck_assert_int_eq(orth_nearest_create(piece, D, &buffers), ORTH_OK);
    for (int64_t i = 0; i < N * COUNT; i++)
        out[i] = (orth_near){.row = -1};
    /* The last pieces of B first, and A in two halves. */
    for (int64_t at = (N - 1) / piece * piece; at >= 0; at -= piece)
        for (int64_t half = 0; half < N; half += SINGLE) {
            int64_t n_a = N - half < SINGLE ? N - half : SINGLE;
            int64_t n_b = N - at < piece ? N - at : piece;
            orth_near_rows a = {rows + half * D, norm + half, n_a, half};
            orth_near_rows b = {rows + at * D, norm + at, n_b, at};
            orth_nearest_add(&a, &b, COUNT, &buffers, out + half * COUNT);
        }
    orth_nearest_free(&buffers);
}

static double cosine(int64_t i, int64_t k)
{
    double product = 0.0;
    for (int64_t j = 0; j < D; j++)
        product += (double)rows[i * D + j] * (double)rows[k * D + j];
    return norm[i] * norm[k] > 0.0 ? product / (norm[i] * norm[k]) : 0.0;
}

START_TEST(against_all)
{
    find(N, found);
    for (int64_t i = 0; i < N; i++)
        for (int64_t c = 0; c < COUNT; c++) {
            orth_near near = found[i * COUNT + c];
            int64_t nearer = 0;
            ck_assert(near.row >= 0 && near.row < N && near.row != i);
            ck_assert_double_eq_tol(near.cosine, cosine(i, near.row), 1e-6);
            for (int64_t k = 0; k < N; k++)
                nearer += k != i && cosine(i, k) > near.cosine + 2e-6;
            ck_assert_int_le(nearer, c);
            if (c > 0)
                ck_assert(found[i * COUNT + c - 1].cosine >= near.cosine);
        }
    ck_assert_int_eq(found[SAME * COUNT].row, SAME + 1);
    /* All others are as far from a row of zeros: the first ones. */
    for (int64_t c = 0; c < COUNT; c++)
        ck_assert(found[ZERO * COUNT + c].row == c && found[ZERO * COUNT + c].cosine == 0.0);
}
END_TEST

START_TEST(in_pieces)
{
    static orth_near other[N * COUNT];
    static const int64_t pieces[] = {1, 7, 64, 100};
    find(N, found);
    for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) {
        find(pieces[p], other);
        for (int64_t i = 0; i < N * COUNT; i++)
            if (other[i].row != found[i].row || other[i].cosine != found[i].cosine)
                ck_abort_msg("piece %d: place %d differs", (int)pieces[p], (int)i);
    }
}
END_TEST

/* Fewer rows than are asked for. */
START_TEST(few)
{
    orth_nearest buffers;
    orth_near near[3 * COUNT];
    orth_near_rows all = {rows, norm, 3, 0}, none = {rows, norm, 0, 0};
    ck_assert_int_eq(orth_nearest_create(3, D, &buffers), ORTH_OK);
    for (int64_t i = 0; i < 3 * COUNT; i++)
        near[i] = (orth_near){.row = -1};
    orth_nearest_add(&all, &none, COUNT, &buffers, near);
    orth_nearest_add(&none, &all, COUNT, &buffers, near);
    ck_assert_int_eq(near[0].row, -1);
    orth_nearest_add(&all, &all, COUNT, &buffers, near);
    for (int64_t i = 0; i < 3; i++)
        for (int64_t c = 0; c < COUNT; c++)
            ck_assert_int_eq(near[i * COUNT + c].row >= 0, c < 2);
    orth_nearest_free(&buffers);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("nearest");
    TCase *tests = tcase_create("nearest");
    tcase_add_checked_fixture(tests, fill, NULL);
    tcase_add_test(tests, against_all);
    tcase_add_test(tests, in_pieces);
    tcase_add_test(tests, few);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
