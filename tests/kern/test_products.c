/* Packing, dense products, norms and column sums against plain loops. */
#include "check_mpi.h"
#include "values.h"

#include <orthant/kern/gemm.h>
#include <orthant/kern/norm.h>
#include <orthant/kern/pack.h>

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 40, WIDEST = 70 };

/* Every set packs the same panel, which nothing follows. */
static void check_sets(int64_t count, int width, int64_t d, const float *rows,
                       const uint32_t *index, const float *wanted)
{
    const orth_kernels *sets[KERNEL_SETS];
    const float *source[ORTH_PANEL_LATENTS_MAX];
    float panel[ORTH_PANEL_LATENTS_MAX * WIDEST + 1];
    for (int64_t r = 0; r < count; r++)
        source[r] = rows + (index ? (int64_t)index[r] : r) * d;
    for (int s = 0; s < kernel_sets(sets); s++) {
        panel[d * width] = 77.0f;
        sets[s]->pack(count, source, width, d, panel);
        ck_assert(same_bits(panel, wanted, d * width) && panel[d * width] == 77.0f);
    }
}

static void check_pack(int64_t count, int width, int64_t d, const uint32_t *index)
{
    float rows[ROWS * WIDEST], panel[1 + ORTH_PANEL_LATENTS_MAX * WIDEST + 1];
    fill_random(d, ROWS * d, rows);
    for (size_t i = 0; i < sizeof panel / sizeof *panel; i++)
        panel[i] = 77.0f;
    orth_pack(rows, index, count, width, d, panel + 1);
    for (int64_t j = 0; j < d; j++)
        for (int64_t r = 0; r < width; r++) {
            int64_t row = index && r < count ? (int64_t)index[r] : r;
            float wanted = r < count ? rows[row * d + j] : 0.0f;
            ck_assert(same_bits(panel + 1 + j * width + r, &wanted, 1));
        }
    ck_assert(panel[0] == 77.0f && panel[1 + d * width] == 77.0f);
    check_sets(count, width, d, rows, index, panel + 1);
}

START_TEST(packing_interleaves_rows)
{
    static const int panels[] = {4, 6, 8, 12, 16, ORTH_PANEL_LATENTS_MAX};
    static const int64_t widths[] = {1, 7, 16, WIDEST};
    uint32_t index[ORTH_PANEL_LATENTS_MAX];
    for (int i = 0; i < ORTH_PANEL_LATENTS_MAX; i++)
        index[i] = (uint32_t)(i * 11 % ROWS);
    for (size_t p = 0; p < sizeof panels / sizeof *panels; p++)
        for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
            for (int64_t count = 0; count <= panels[p]; count++) {
                check_pack(count, panels[p], widths[w], NULL);
                check_pack(count, panels[p], widths[w], index);
            }
}
END_TEST

typedef struct shape {
    int64_t m, n, k;
} shape;

static void check_gemm(bool ta, bool tb, shape s, bool add)
{
    enum { ROOM = 80 * 80 };
    static float a[ROOM], b[ROOM], c[ROOM], before[ROOM];
    int64_t stride_a = (ta ? s.m : s.k) + 3, stride_b = (tb ? s.k : s.n) + 2, stride_c = s.n + 1;
    fill_random(1, ROOM, a);
    fill_random(2, ROOM, b);
    fill_random(3, ROOM, c);
    memcpy(before, c, sizeof c);
    orth_gemm(ta, tb, s.m, s.n, s.k, a, stride_a, b, stride_b, add, c, stride_c);
    for (int64_t i = 0; i < s.m; i++) {
        for (int64_t j = 0; j < s.n; j++) {
            double sum = add ? (double)before[i * stride_c + j] : 0.0;
            for (int64_t l = 0; l < s.k; l++)
                sum += (double)a[ta ? l * stride_a + i : i * stride_a + l] *
                       (double)b[tb ? j * stride_b + l : l * stride_b + j];
            ck_assert_double_eq_tol((double)c[i * stride_c + j], sum, 1e-5);
        }
        ck_assert(same_bits(c + i * stride_c + s.n, before + i * stride_c + s.n, 1));
    }
}

START_TEST(gemm_multiplies)
{
    static const shape shapes[] = {{1, 1, 1}, {3, 5, 7}, {16, 16, 16}, {33, 64, 17}, {70, 9, 66}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int bits = 0; bits < 8; bits++)
            check_gemm(bits & 1, bits & 2, shapes[i], bits & 4);
}
END_TEST

START_TEST(dots_in_double)
{
    float a[2 * WIDEST], b[2 * WIDEST];
    fill_random(1, 2 * WIDEST, a);
    fill_random(2, 2 * WIDEST, b);
    ck_assert(orth_dot_f64(a, b, 0) == 0.0);
    for (int64_t offset = 0; offset < 3; offset++)
        for (int64_t d = 1; d <= WIDEST; d++) {
            double sum = 0.0, lane[8] = {0.0};
            for (int64_t j = 0; j < d; j++) {
                double product = (double)a[offset + j] * (double)b[1 + j];
                sum += product;
                lane[j % 8] += product;
            }
            double tree = ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
                          ((lane[1] + lane[5]) + (lane[3] + lane[7]));
            double found = orth_dot_f64(a + offset, b + 1, d);
            ck_assert_double_eq_tol(found, sum, 1e-14);
            /* The fixed order: the same bits on every machine. */
            ck_assert(found == tree);
        }
}
END_TEST

static void check_sums(const float *x, int64_t n_row, int64_t d, int add)
{
    double one_thread[WIDEST], sums[WIDEST];
    for (int threads = 1; threads <= 5; threads++) {
        for (int64_t j = 0; j < d; j++)
            sums[j] = 0.1 * (double)j;
        omp_set_num_threads(threads);
        orth_column_sums(x, n_row, d, add, sums);
        if (threads == 1)
            memcpy(one_thread, sums, sizeof sums);
        ck_assert(memcmp(one_thread, sums, (size_t)d * sizeof *sums) == 0);
    }
    omp_set_num_threads(1);
    for (int64_t j = 0; j < d; j++) {
        double sum = add ? 0.1 * (double)j : 0.0;
        for (int64_t i = 0; i < n_row; i++)
            sum += (double)x[i * d + j];
        ck_assert(sums[j] == sum);
    }
}

START_TEST(column_sums_do_not_depend_on_threads)
{
    static const int64_t widths[] = {1, 31, 32, 33, WIDEST};
    float x[ROWS * WIDEST];
    fill_random(4, ROWS * WIDEST, x);
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
        for (int64_t rows = 0; rows <= ROWS; rows += 8) {
            check_sums(x, rows, widths[w], 0);
            check_sums(x, rows, widths[w], 1);
        }
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("products");
    TCase *cases = tcase_create("products");
    tcase_add_test(cases, packing_interleaves_rows);
    tcase_add_test(cases, gemm_multiplies);
    tcase_add_test(cases, dots_in_double);
    tcase_add_test(cases, column_sums_do_not_depend_on_threads);
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
