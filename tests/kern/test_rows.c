/* keep and adam: every kernel set against plain loops and the reference set. */
#include "check_mpi.h"
#include "values.h"

#include <orthant/kern/keys.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { D_MAX = 384, KEEP_MAX = 70 };

/* keep by its definition. */
static int64_t plain_keep(const float *row, int64_t n, float above, uint32_t first, uint64_t *keys)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++)
        if (row[i] > above || isnan(row[i]))
            keys[count++] = orth_key(fabsf(row[i]), first + (uint32_t)i);
    return count;
}

static void check_keep(const orth_kernels *set, const float *row, int64_t n, float above,
                       uint32_t first)
{
    uint64_t wanted[KEEP_MAX], keys[KEEP_MAX + 9];
    const uint64_t mark = 0x5555aaaa5555aaaau;
    for (int64_t i = 0; i < KEEP_MAX + 9; i++)
        keys[i] = mark;
    int64_t count = plain_keep(row, n, above, first, wanted);
    int64_t kept = set->keep(row, n, above, first, keys);
    ck_assert_msg(kept == count && memcmp(keys, wanted, (size_t)count * sizeof *keys) == 0,
                  "%s: n %d, above %g: %d keys, wanted %d", set->name, (int)n, (double)above,
                  (int)kept, (int)count);
    /* Room for n keys is what is asked for: nothing is written behind. */
    for (int64_t i = n; i < KEEP_MAX + 9; i++)
        ck_assert_msg(keys[i] == mark, "%s: n %d: wrote behind key %d", set->name, (int)n, (int)i);
}

/* Values among which `above` occurs exactly, with zeros of both signs, NaN of both signs, infinity,
 * the least positive value and negative ones. */
static void fill_awkward(int64_t seed, float *row, int64_t n)
{
    static const float special[] = {0.5f,  0.0f,     -0.0f,     1e-45f,      -0.5f,
                                    0.25f, INFINITY, -INFINITY, 0.50000006f, 0.49999997f};
    fill_random(seed, n, row);
    for (int64_t i = 0; i < n; i++) {
        uint64_t pick = (uint64_t)(seed * 31 + i * 7) % 24;
        if (pick < sizeof special / sizeof *special)
            row[i] = special[pick];
        if (pick == 11)
            row[i] = NAN;
        if (pick == 12)
            row[i] = -NAN;
    }
}

START_TEST(keep_finds_what_is_above)
{
    static const float limits[] = {0.0f, 0.25f, 0.5f, 1e-45f, INFINITY};
    const orth_kernels *sets[KERNEL_SETS];
    int n_set = kernel_sets(sets);
    float row[KEEP_MAX + 3];
    for (int s = 0; s < n_set; s++)
        for (int64_t n = 0; n <= KEEP_MAX; n++)
            for (int64_t offset = 0; offset < 3; offset++)
                for (size_t l = 0; l < sizeof limits / sizeof *limits; l++) {
                    fill_awkward(n * 3 + offset, row + offset, n);
                    check_keep(sets[s], row + offset, n, limits[l], 0);
                    check_keep(sets[s], row + offset, n, limits[l], 4294967000u - (uint32_t)n);
                }
}
END_TEST

START_TEST(keep_takes_all_or_nothing)
{
    const orth_kernels *sets[KERNEL_SETS];
    int n_set = kernel_sets(sets);
    float row[KEEP_MAX];
    for (int s = 0; s < n_set; s++)
        for (int64_t n = 0; n <= KEEP_MAX; n++) {
            for (int64_t i = 0; i < n; i++)
                row[i] = 2.0f;
            check_keep(sets[s], row, n, 0.0f, 5);
            check_keep(sets[s], row, n, 2.0f, 5);
            for (int64_t i = 0; i < n; i++)
                row[i] = -2.0f;
            check_keep(sets[s], row, n, 0.0f, 5);
        }
}
END_TEST

typedef struct adam_values {
    float g[D_MAX], w[D_MAX + 1], m[D_MAX + 1], v[D_MAX + 1];
} adam_values;

static void fill_adam(adam_values *a)
{
    fill_random(1, D_MAX, a->g);
    fill_random(2, D_MAX + 1, a->w);
    fill_random(3, D_MAX + 1, a->m);
    fill_random(4, D_MAX + 1, a->v);
    for (int i = 0; i <= D_MAX; i++)
        a->v[i] = fabsf(a->v[i]) * 0.1f;
    /* A gradient of zero on moments of zero: nothing moves. */
    a->g[5] = a->m[5] = a->v[5] = 0.0f;
}

static double relative(float value, double wanted)
{
    return fabs((double)value - wanted) / fmax(fabs(wanted), 1e-30);
}

static void check_adam_formula(const adam_values *before, const adam_values *after, int64_t n,
                               const orth_adam *adam, double scale)
{
    for (int64_t i = 0; i < n; i++) {
        double g = scale * (double)before->g[i];
        double m0 = (double)adam->beta1 * (double)before->m[i], m1 = (double)adam->new1 * g;
        double v = (double)adam->beta2 * (double)before->v[i] + (double)adam->new2 * g * g;
        double root = sqrt(v) * (double)adam->root + (double)adam->eps;
        double w = (double)before->w[i] - (double)adam->rate * (double)after->m[i] / root;
        ck_assert_double_eq_tol((double)after->m[i], m0 + m1, 2e-7 * (fabs(m0) + fabs(m1)) + 1e-30);
        ck_assert_double_lt(relative(after->v[i], v), 3e-7);
        ck_assert_double_eq_tol((double)after->w[i], w, 3e-7 * (fabs(w) + 0.1));
    }
    ck_assert_double_eq((double)after->w[5], (double)before->w[5]);
    ck_assert(same_bits(before->w + n, after->w + n, D_MAX + 1 - n));
    ck_assert(same_bits(before->m + n, after->m + n, D_MAX + 1 - n));
    ck_assert(same_bits(before->v + n, after->v + n, D_MAX + 1 - n));
}

START_TEST(adam_is_the_formula_and_the_same_in_every_set)
{
    static const int64_t counts[] = {6, 7, 8, 15, 16, 17, 33, 64, D_MAX};
    const orth_kernels *sets[KERNEL_SETS];
    int n_set = kernel_sets(sets);
    orth_adam adam = {0.9f, 0.999f, 0.1f, 0.001f, 3e-3f, 1.7f, 6.25e-10f};
    adam_values before, reference, after;
    fill_adam(&before);
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
        for (int s = 0; s < n_set; s++) {
            after = before;
            sets[s]->adam(counts[c], after.g, 0.75f, &adam, after.w, after.m, after.v);
            check_adam_formula(&before, &after, counts[c], &adam, 0.75);
            if (s == 0)
                reference = after;
            ck_assert_msg(memcmp(&after, &reference, sizeof after) == 0, "%s: n %d", sets[s]->name,
                          (int)counts[c]);
        }
    for (int s = 0; s < n_set; s++) {
        after = before;
        sets[s]->adam(0, after.g, 1.0f, &adam, after.w, after.m, after.v);
        ck_assert(memcmp(&after, &before, sizeof after) == 0);
    }
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("rows");
    TCase *cases = tcase_create("rows");
    tcase_add_test(cases, keep_finds_what_is_above);
    tcase_add_test(cases, keep_takes_all_or_nothing);
    tcase_add_test(cases, adam_is_the_formula_and_the_same_in_every_set);
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
