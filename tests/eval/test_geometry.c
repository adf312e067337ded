/* Coherence of a dictionary against all pairs in double, on every grid.
 * ranks: 1 2 3 4
 */
#include "check_mpi.h"

#include <orthant/base/random.h>
#include <orthant/eval/geometry.h>

#include <math.h>

static float weight_of(int64_t i, int64_t j)
{
    return (float)(0.4 + orth_random_normal(5, ORTH_RANDOM_TEST, (uint64_t)i, (uint64_t)j));
}

static void plain(int64_t n, int64_t d, orth_coherence *out)
{
    *out = (orth_coherence){.max = -INFINITY};
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < i; k++) {
            double product = 0.0;
            for (int64_t j = 0; j < d; j++)
                product += (double)weight_of(i, j) * (double)weight_of(k, j);
            out->max = fmax(out->max, product);
            out->max_abs = fmax(out->max_abs, fabs(product));
            out->mean += product;
            out->mean_abs += fabs(product);
        }
    out->mean /= 0.5 * (double)n * (double)(n - 1);
    out->mean_abs /= 0.5 * (double)n * (double)(n - 1);
}

static bool near(double found, double wanted)
{
    return fabs(found - wanted) <= 2e-6 * fabs(wanted);
}

static void check_size(int64_t n, int64_t d, const orth_coherence *wanted)
{
    int size;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int groups = 1; groups <= size; groups++) {
        orth_grid grid;
        orth_sae sae;
        orth_coherence found;
        orth_recipe recipe = {.n_latent = n, .k = 1, .aux_k = 1};
        if (size % groups)
            continue;
        ck_agree(orth_grid_create(MPI_COMM_WORLD, groups, size / groups, &grid) == ORTH_OK);
        ck_agree(orth_sae_create(&grid, &recipe, d, false, &sae) == ORTH_OK);
        for (int64_t i = sae.own.begin; i < sae.own.end; i++)
            for (int64_t j = 0; j < d; j++)
                sae.weights.W_dec[(i - sae.own.begin) * d + j] = weight_of(i, j);
        ck_agree(orth_coherence_measure(&sae, &found) == ORTH_OK);
        ck_agree(near(found.max, wanted->max));
        ck_agree(near(found.max_abs, wanted->max_abs));
        ck_agree(near(found.mean, wanted->mean));
        ck_agree(near(found.mean_abs, wanted->mean_abs));
        ck_agree(near(found.welch, wanted->welch));
        orth_sae_free(&sae);
        orth_grid_free(&grid);
    }
}

/* More rows than a block that travels, in shards of unequal size. */
START_TEST(large)
{
    orth_coherence wanted;
    int64_t n = 2201, d = 5;
    plain(n, d, &wanted);
    wanted.welch = sqrt((double)(n - d) / ((double)d * (double)(n - 1)));
    check_size(n, d, &wanted);
}
END_TEST

/* Shards of one row or none. */
START_TEST(small)
{
    for (int64_t n = 2; n <= 6; n++) {
        orth_coherence wanted;
        plain(n, 7, &wanted);
        check_size(n, 7, &wanted);
    }
}
END_TEST

START_TEST(single)
{
    check_size(1, 7, &(orth_coherence){0});
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("geometry");
    TCase *tests = tcase_create("geometry");
    tcase_add_test(tests, large);
    tcase_add_test(tests, small);
    tcase_add_test(tests, single);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
