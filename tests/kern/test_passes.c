/* Passes over rows in double: every kernel set against the reference, the reference against plain
 * sums. */
#include "check_mpi.h"
#include "values.h"

#include <orthant/kern/norm.h>

#include <math.h>
#include <omp.h>
#include <string.h>

enum { WIDEST = 70, MARGIN = 3 };

/* Two rows and a row of doubles with room around them. */
typedef struct rows {
    float a[MARGIN + WIDEST + MARGIN], b[MARGIN + WIDEST + MARGIN];
    double c[MARGIN + WIDEST + MARGIN];
} rows;

static rows fill(int64_t seed)
{
    rows r;
    float c[MARGIN + WIDEST + MARGIN];
    int64_t count = MARGIN + WIDEST + MARGIN;
    fill_random(3 * seed, count, r.a);
    fill_random(3 * seed + 1, count, r.b);
    fill_random(3 * seed + 2, count, c);
    for (int64_t i = 0; i < count; i++)
        r.c[i] = (double)c[i] / 3.0;
    return r;
}

/* All passes of a set on copies of the same rows; what they return and leave. */
typedef struct outcome {
    double values[11];
    rows left[7];
} outcome;

static void run(const orth_passes *p, const rows *from, int64_t offset, int64_t d, outcome *out)
{
    memset(out, 0, sizeof *out);
    for (int i = 0; i < 7; i++)
        out->left[i] = *from;
    rows *r = out->left;
    out->values[0] = p->dot(from->a + offset, from->b + 1, d);
    out->values[1] = p->distance(from->a + offset, from->c + 1, d);
    out->values[2] = p->scale_dot(1.0 / 3.0, r[0].a + offset, r[0].b + 1, d);
    out->values[3] = p->project(0.7, r[1].a + offset, r[1].b + 1, d);
    out->values[4] = p->subtract(r[2].a + offset, r[2].b + 1, d);
    out->values[5] = p->add(r[3].a + offset, r[3].b + 1, d);
    p->accumulate(-0.3, r[4].a + offset, r[4].c + 1, d);
    p->scale_accumulate(0.3, r[5].a + offset, r[5].c + 1, d);
    out->values[6] = p->sum(from->a + offset, d);
    out->values[7] = p->spread(from->a + offset, 0.1, d);
    p->standardise(0.1, 1.3, r[6].a + offset, d);
    uint32_t index[WIDEST];
    for (int64_t e = 0; e < d; e++)
        index[e] = (uint32_t)(e * 7 % WIDEST);
    p->entries(d, index, from->a + offset, from->c + 1, out->values + 8);
}

START_TEST(every_set_gives_the_same_bits)
{
    static outcome wanted, found;
    const orth_kernels *sets[KERNEL_SETS];
    int n_set = kernel_sets(sets);
    for (int64_t offset = 0; offset < MARGIN; offset++)
        for (int64_t d = 0; d <= WIDEST; d++) {
            rows from = fill(d);
            run(orth_kernels_named("reference")->passes, &from, offset, d, &wanted);
            for (int s = 0; s < n_set; s++) {
                run(sets[s]->passes, &from, offset, d, &found);
                ck_assert_msg(memcmp(&wanted, &found, sizeof found) == 0, "%s: d %d", sets[s]->name,
                              (int)d);
            }
        }
}
END_TEST

/* Also that nothing outside the row is touched. */
START_TEST(the_reference_is_what_it_says)
{
    static outcome o;
    int64_t count = MARGIN + WIDEST + MARGIN;
    for (int64_t d = 0; d <= WIDEST; d++) {
        rows from = fill(d), want[7] = {from, from, from, from, from, from, from};
        double sums[11] = {0.0};
        run(orth_kernels_named("reference")->passes, &from, 2, d, &o);
        for (int64_t j = 0; j < d; j++) {
            double a = (double)from.a[2 + j], b = (double)from.b[1 + j], c = from.c[1 + j];
            want[0].a[2 + j] = (float)(a / 3.0);
            want[1].b[1 + j] = (float)(b - 0.7 * a);
            want[2].b[1 + j] = from.b[1 + j] - from.a[2 + j];
            want[3].b[1 + j] = from.b[1 + j] + from.a[2 + j];
            want[4].c[1 + j] = c - 0.3 * a;
            want[5].a[2 + j] = (float)(0.3 * a);
            want[5].c[1 + j] = c + (double)want[5].a[2 + j];
            want[6].a[2 + j] = (float)((a - 0.1) * 1.3);
            double s = a * from.c[1 + j * 7 % WIDEST];
            sums[6] += a;
            sums[8] += a * a;
            sums[9] += s * s;
            sums[10] += s;
            sums[7] += (a - 0.1) * (a - 0.1);
            sums[0] += a * b;
            sums[1] += (a - c) * (a - c);
            sums[2] += (double)want[0].a[2 + j] * b;
            for (int i = 1; i < 4; i++)
                sums[2 + i] += pow((double)want[i].b[1 + j], 2.0);
        }
        for (int i = 0; i < 11; i++)
            ck_assert_double_eq_tol(o.values[i], sums[i], 1e-12);
        for (int i = 0; i < 7; i++) {
            for (int64_t j = 0; j < count; j++) {
                ck_assert_double_eq_tol((double)o.left[i].a[j], (double)want[i].a[j], 1e-7);
                ck_assert_double_eq_tol((double)o.left[i].b[j], (double)want[i].b[j], 1e-7);
                ck_assert_double_eq_tol(o.left[i].c[j], want[i].c[j], 1e-14);
            }
        }
    }
}
END_TEST

START_TEST(scaled_rows_do_not_depend_on_threads)
{
    enum { ROWS = 9 };
    float x[ROWS * WIDEST], scaled[ROWS * WIDEST];
    double factor[ROWS], sums[WIDEST];
    for (int64_t d = 1; d <= WIDEST; d += 23)
        for (int threads = 1; threads <= 5; threads++) {
            fill_random(d, ROWS * d, x);
            memcpy(scaled, x, sizeof x);
            for (int i = 0; i < ROWS; i++)
                factor[i] = i == 4 ? 0.0 : 1.0 / (1.0 + i);
            for (int64_t j = 0; j < d; j++)
                sums[j] = 0.5 * (double)j;
            omp_set_num_threads(threads);
            orth_scale_rows(factor, scaled, ROWS, d, sums);
            omp_set_num_threads(1);
            for (int64_t j = 0; j < d; j++) {
                double sum = 0.5 * (double)j;
                for (int64_t i = 0; i < ROWS; i++) {
                    float wanted = (float)(factor[i] * (double)x[i * d + j]);
                    ck_assert(scaled[i * d + j] == wanted);
                    sum += (double)wanted;
                }
                ck_assert(sums[j] == sum);
            }
        }
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("passes");
    TCase *cases = tcase_create("passes");
    tcase_add_test(cases, every_set_gives_the_same_bits);
    tcase_add_test(cases, the_reference_is_what_it_says);
    tcase_add_test(cases, scaled_rows_do_not_depend_on_threads);
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
