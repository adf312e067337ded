/* Laws of scaling: grids of known coefficients, standard errors against the closed form, points
 * that cannot tell.
 */
#include "check_mpi.h"

#include <orthant/base/random.h>
#include <orthant/eval/scaling_law.h>

#include <math.h>
#include <string.h>

enum { N_SIZES = 6, K_SIZES = 5, POINTS = N_SIZES * K_SIZES };

/* Of the size that Gao et al. 2024, section 3, tell for autoencoders of GPT-4. */
static const double paper[] = {-0.50, 0.26, -0.017, -0.042, -1.32, -0.085};

static double law_of(const double *c, bool irreducible, double n, double k)
{
    double first = exp(c[0] + c[1] * log(k) + c[2] * log(n) + c[3] * log(k) * log(n));
    return irreducible ? first + exp(c[4] + c[5] * log(k)) : first;
}

/* n from 2^11 in factors of 4, k from 8 in factors of 2; noise of log L. */
static void make_grid(const double *c, bool irreducible, double noise, uint64_t seed,
                      orth_scaling_point points[POINTS])
{
    for (int i = 0; i < N_SIZES; i++)
        for (int j = 0; j < K_SIZES; j++) {
            orth_scaling_point *p = &points[i * K_SIZES + j];
            p->n = ldexp(1.0, 11 + 2 * i);
            p->k = ldexp(8.0, j);
            p->loss =
                law_of(c, irreducible, p->n, p->k) *
                exp(noise * orth_random_normal(seed, ORTH_RANDOM_TEST, (uint64_t)i, (uint64_t)j));
        }
}

static void check_exact(const orth_scaling_law *law, const double *wanted, int count)
{
    ck_assert_int_eq(law->parameters, count);
    ck_assert_int_eq(law->points, POINTS);
    for (int c = 0; c < count; c++)
        ck_assert_msg(fabs(law->value[c] - wanted[c]) < 1e-6, "%s: %.12g, wanted %.12g",
                      orth_scaling_names[c], law->value[c], wanted[c]);
    ck_assert(law->sigma < 1e-7);
    ck_assert(law->r_square > 1.0 - 1e-10);
    ck_assert(law->converged > 0 && law->converged <= law->starts);
}

START_TEST(known_coefficients)
{
    orth_scaling_point points[POINTS];
    orth_scaling_law law;
    for (int irreducible = 0; irreducible < 2; irreducible++) {
        make_grid(paper, irreducible, 0.0, 0, points);
        ck_assert_int_eq(orth_scaling_fit(points, POINTS, irreducible, &law), ORTH_OK);
        check_exact(&law, paper, irreducible ? 6 : 4);
        ck_assert(!law.loose);
        double found = orth_scaling_predict(&law, 1e6, 48.0, NULL);
        ck_assert(fabs(found / law_of(paper, irreducible, 1e6, 48.0) - 1.0) < 1e-6);
    }
}
END_TEST

/* Floors of all kinds: most of the loss, hardly any of it, rising with k, falling fast. */
START_TEST(other_floors)
{
    static const double laws[][6] = {{1.0, -0.1, -0.3, -0.01, -0.5, -0.1},
                                     {2.0, 0.1, -0.4, -0.02, -4.0, -0.3},
                                     {0.5, -0.2, -0.2, 0.01, -2.0, 0.1},
                                     {3.0, 0.0, -0.5, 0.0, -1.0, -0.6}};
    orth_scaling_point points[POINTS];
    orth_scaling_law law;
    for (size_t i = 0; i < sizeof laws / sizeof *laws; i++) {
        make_grid(laws[i], true, 0.0, 0, points);
        ck_assert_int_eq(orth_scaling_fit(points, POINTS, true, &law), ORTH_OK);
        check_exact(&law, laws[i], 6);
    }
}
END_TEST

START_TEST(noise)
{
    orth_scaling_point points[POINTS];
    orth_scaling_law law;
    for (int irreducible = 0; irreducible < 2; irreducible++) {
        int count = irreducible ? 6 : 4;
        double square[6] = {0};
        for (uint64_t seed = 1; seed <= 20; seed++) {
            make_grid(paper, irreducible, 0.002, seed, points);
            ck_assert_int_eq(orth_scaling_fit(points, POINTS, irreducible, &law), ORTH_OK);
            ck_assert(law.sigma > 0.001 && law.sigma < 0.003);
            for (int c = 0; c < count; c++) {
                double z = (law.value[c] - paper[c]) / law.error[c];
                ck_assert_msg(fabs(z) < 4.0, "%s: %g standard errors away", orth_scaling_names[c],
                              z);
                square[c] += z * z / 20.0;
            }
        }
        for (int c = 0; c < count; c++) /* 1 on average: the errors are neither too small */
            ck_assert_msg(square[c] > 0.3 && square[c] < 2.5, "%s: %g", orth_scaling_names[c],
                          square[c]);
    }
}
END_TEST

/* Solve a small symmetric system by elimination: column `which` of the inverse. */
static double inverse_diagonal(int size, double a[6][6], int which)
{
    double m[6][7] = {{0}};
    for (int i = 0; i < size; i++) {
        memcpy(m[i], a[i], sizeof a[i]);
        m[i][6] = i == which;
    }
    for (int i = 0; i < size; i++)
        for (int r = 0; r < size; r++) {
            double factor = m[r][i] / m[i][i];
            for (int j = 0; r != i && j < 7; j++)
                m[r][j] -= factor * m[i][j];
        }
    return m[which][6] / m[which][which];
}

/* sigma^2 (J^T J)^-1, J by differences of the law itself. */
START_TEST(standard_errors)
{
    orth_scaling_point points[POINTS];
    orth_scaling_law law;
    for (int irreducible = 0; irreducible < 2; irreducible++) {
        int count = irreducible ? 6 : 4;
        double square[6][6] = {{0}}, cost = 0.0, total = 0.0, mean = 0.0, step = 1e-5;
        make_grid(paper, irreducible, 0.01, 99, points);
        ck_assert_int_eq(orth_scaling_fit(points, POINTS, irreducible, &law), ORTH_OK);
        for (int i = 0; i < POINTS; i++)
            mean += log(points[i].loss) / POINTS;
        for (int i = 0; i < POINTS; i++) {
            double n = points[i].n, k = points[i].k, slope[6] = {0};
            for (int c = 0; c < count; c++) {
                double up[6], down[6];
                memcpy(up, law.value, sizeof up);
                memcpy(down, law.value, sizeof down);
                up[c] += step;
                down[c] -= step;
                slope[c] = log(law_of(up, irreducible, n, k) / law_of(down, irreducible, n, k)) /
                           (2 * step);
            }
            for (int a = 0; a < count; a++)
                for (int b = 0; b < count; b++)
                    square[a][b] += slope[a] * slope[b];
            cost += pow(log(points[i].loss / law_of(law.value, irreducible, n, k)), 2);
            total += pow(log(points[i].loss) - mean, 2);
        }
        ck_assert(fabs(law.sigma / sqrt(cost / (POINTS - count)) - 1.0) < 1e-9);
        ck_assert(fabs(law.r_square - (1.0 - cost / total)) < 1e-12);
        for (int c = 0; c < count; c++) {
            double error = law.sigma * sqrt(inverse_diagonal(count, square, c));
            ck_assert_msg(fabs(law.error[c] / error - 1.0) < 1e-5, "%s: %.10g, wanted %.10g",
                          orth_scaling_names[c], law.error[c], error);
        }
    }
}
END_TEST

START_TEST(predictions)
{
    orth_scaling_point points[POINTS];
    orth_scaling_law law;
    double error;
    make_grid(paper, false, 0.01, 3, points);
    ck_assert_int_eq(orth_scaling_fit(points, POINTS, false, &law), ORTH_OK);
    double n = 1e5, k = 20.0, basis[] = {1.0, log(k), log(n), log(k) * log(n)}, wanted = 0.0;
    for (int a = 0; a < 4; a++)
        for (int b = 0; b < 4; b++)
            wanted += basis[a] * basis[b] * law.covariance[a][b];
    orth_scaling_predict(&law, n, k, &error);
    ck_assert(fabs(error / sqrt(wanted) - 1.0) < 1e-9);
    ck_assert(error > 0.001 && error < law.sigma);
}
END_TEST

/* Points of one k are a law of n alone, and the other way round. */
START_TEST(reduced)
{
    orth_scaling_point points[POINTS], few[N_SIZES];
    orth_scaling_law law;
    static const bool of_n[] = {true, false, true, false, false, false};
    static const bool of_k[] = {true, true, false, false, false, false};
    static const bool with_floor[] = {true, false, true, false, true, false};
    make_grid(paper, false, 0.0, 0, points);
    for (int i = 0; i < N_SIZES; i++)
        few[i] = points[i * K_SIZES];
    ck_assert_int_eq(orth_scaling_fit(few, N_SIZES, false, &law), ORTH_OK);
    ck_assert_mem_eq(law.used, of_n, sizeof of_n);
    ck_assert(fabs(law.value[ORTH_SCALING_BETA_N] - (paper[2] + paper[3] * log(8.0))) < 1e-8);
    ck_assert_int_eq(orth_scaling_fit(points, K_SIZES, false, &law), ORTH_OK);
    ck_assert_mem_eq(law.used, of_k, sizeof of_k);
    ck_assert(fabs(law.value[ORTH_SCALING_BETA_K] - (paper[1] + paper[3] * log(2048.0))) < 1e-8);
    make_grid(paper, true, 0.0, 0, points);
    for (int i = 0; i < N_SIZES; i++)
        few[i] = points[i * K_SIZES];
    ck_assert_int_eq(orth_scaling_fit(few, N_SIZES, true, &law), ORTH_OK);
    ck_assert_mem_eq(law.used, with_floor, sizeof with_floor);
    ck_assert(fabs(law.value[ORTH_SCALING_ZETA] - (paper[4] + paper[5] * log(8.0))) < 1e-5);
    ck_assert(fabs(law.value[ORTH_SCALING_BETA_N] - (paper[2] + paper[3] * log(8.0))) < 1e-5);
}
END_TEST

/* As many points as coefficients: a fit without any idea of its errors. */
START_TEST(no_freedom)
{
    orth_scaling_point points[POINTS], four[4];
    orth_scaling_law law;
    double error;
    make_grid(paper, false, 0.0, 0, points);
    for (int i = 0; i < 4; i++)
        four[i] = points[(i / 2) * K_SIZES + i % 2];
    ck_assert_int_eq(orth_scaling_fit(four, 4, false, &law), ORTH_OK);
    ck_assert(fabs(law.value[ORTH_SCALING_GAMMA] - paper[3]) < 1e-6);
    ck_assert(isnan(law.sigma) && isnan(law.error[0]));
    orth_scaling_predict(&law, 1e5, 20.0, &error);
    ck_assert(isnan(error));
}
END_TEST

/* A floor that is not in the data is not taken for one. */
START_TEST(no_floor)
{
    orth_scaling_point points[POINTS];
    orth_scaling_law law;
    make_grid((const double[]){1.0, -0.1, -0.2, -0.01}, false, 0.01, 5, points);
    ck_assert_int_eq(orth_scaling_fit(points, POINTS, true, &law), ORTH_OK);
    double floor = exp(law.value[ORTH_SCALING_ZETA] + law.value[ORTH_SCALING_ETA] * log(32.0));
    ck_assert_msg(law.loose || floor < 0.2 * points[POINTS - 3].loss, "floor %g", floor);
}
END_TEST

static void refuse(const orth_scaling_point *points, int64_t count, bool irreducible,
                   const char *words)
{
    orth_scaling_law law = {.points = -1};
    ck_assert_int_eq(orth_scaling_fit(points, count, irreducible, &law), ORTH_ERR_DATA);
    ck_assert_msg(strstr(orth_error_text(), words) != NULL, "'%s' without '%s'", orth_error_text(),
                  words);
    ck_assert_int_eq(law.points, -1);
    orth_error_clear();
}

START_TEST(refusals)
{
    orth_scaling_point points[POINTS], same[POINTS], line[POINTS];
    make_grid(paper, true, 0.0, 0, points);
    refuse(points, 0, false, "0 runs cannot determine");
    refuse(points, 1, false, "all runs have n = 2048 and k = 8");
    const orth_scaling_point three[] = {points[0], points[1], points[K_SIZES]};
    refuse(three, 3, false, "3 runs cannot determine 4 coefficients");
    refuse(three, 3, true, "or leave the irreducible term out");
    refuse(points, K_SIZES, true, "two powers of k cannot be told apart");
    for (int i = 0; i < POINTS; i++) {
        same[i] = points[0];
        line[i] = points[i];
        line[i].k = line[i].n / 256.0;
    }
    refuse(same, POINTS, false, "all runs have n = 2048 and k = 8");
    refuse(line, POINTS, false, "move together");
    const double bad[] = {0.0, -1.0, NAN, INFINITY};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        make_grid(paper, true, 0.0, 0, points);
        points[7].loss = bad[i];
        refuse(points, POINTS, false, "a logarithm is taken");
        make_grid(paper, true, 0.0, 0, points);
        points[7].k = bad[i];
        refuse(points, POINTS, true, "a logarithm is taken");
    }
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("scaling_law");
    TCase *tests = tcase_create("fits");
    tcase_add_test(tests, known_coefficients);
    tcase_add_test(tests, other_floors);
    tcase_add_test(tests, noise);
    tcase_add_test(tests, standard_errors);
    tcase_add_test(tests, predictions);
    tcase_add_test(tests, reduced);
    tcase_add_test(tests, no_freedom);
    tcase_add_test(tests, no_floor);
    tcase_add_test(tests, refusals);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
