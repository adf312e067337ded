/* Geometry of a dictionary against all pairs in double, on every grid.
 * ranks: 1 2 3 4
 */
#include "check_mpi.h"

#include <orthant/base/random.h>
#include <orthant/eval/geometry.h>

#include <math.h>
#include <stdlib.h>

static float weights[2201 * 5]; ///< of the dictionary of the case

static float weight_of(int64_t i, int64_t j)
{
    return (float)(0.4 + orth_random_normal(5, ORTH_RANDOM_TEST, (uint64_t)i, (uint64_t)j));
}

static void fill(int64_t n, int64_t d)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < d; j++)
            weights[i * d + j] = weight_of(i, j);
}

/* All pairs one by one: of the rows, or with `unit` of the rows divided by their lengths. */
typedef struct all_pairs {
    orth_coherence coherence;
    double mean_square;
    int64_t counts[128];
} all_pairs;

static double product_of(int64_t i, int64_t k, int64_t d)
{
    double product = 0.0;
    for (int64_t j = 0; j < d; j++)
        product += (double)weights[i * d + j] * (double)weights[k * d + j];
    return product;
}

static void plain(int64_t n, int64_t d, bool unit, all_pairs *out)
{
    double norms[n];
    orth_coherence *all = &out->coherence;
    *out = (all_pairs){.coherence = {.max = -INFINITY, .max_abs = -INFINITY}};
    for (int64_t i = 0; i < n; i++)
        norms[i] = unit ? sqrt(product_of(i, i, d)) : 1.0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = i + 1; k < n; k++) {
            double product = product_of(i, k, d) / (norms[i] * norms[k]);
            if (product > all->max) {
                all->max = product;
                all->max_pair[0] = i;
                all->max_pair[1] = k;
            }
            if (fabs(product) > all->max_abs) {
                all->max_abs = fabs(product);
                all->max_abs_pair[0] = i;
                all->max_abs_pair[1] = k;
            }
            all->mean += product;
            all->mean_abs += fabs(product);
            out->mean_square += product * product;
            out->counts[(int)fmax(0.0, fmin(127.0, (product + 1.0) * 64.0))]++;
        }
    double pairs = 0.5 * (double)n * (double)(n - 1);
    all->mean /= pairs;
    all->mean_abs /= pairs;
    out->mean_square /= pairs;
    all->welch = n > d ? sqrt((double)(n - d) / ((double)d * (double)(n - 1))) : 0.0;
}

static bool near(double found, double wanted)
{
    return fabs(found - wanted) <= 2e-6 * fabs(wanted);
}

static void compare(const orth_coherence *found, const orth_coherence *wanted)
{
    ck_agree(near(found->max, wanted->max));
    ck_agree(near(found->max_abs, wanted->max_abs));
    ck_agree(near(found->mean, wanted->mean));
    ck_agree(near(found->mean_abs, wanted->mean_abs));
    ck_agree(near(found->welch, wanted->welch));
    for (int side = 0; side < 2; side++) {
        ck_agree(found->max_pair[side] == wanted->max_pair[side]);
        ck_agree(found->max_abs_pair[side] == wanted->max_abs_pair[side]);
    }
}

static void compare_geometry(const orth_geometry *found, int64_t n, int64_t d,
                             const all_pairs *stored, const all_pairs *unit)
{
    int64_t count = 0, moved = 0;
    double least = INFINITY, sum = 0.0;
    compare(&found->stored, &stored->coherence);
    compare(&found->unit, &unit->coherence);
    ck_agree(fabs(found->mean_square - stored->mean_square) <= 1e-10 * stored->mean_square);
    ck_agree(fabs(found->mean_square_unit - unit->mean_square) <= 1e-10 * unit->mean_square);
    for (int64_t i = 0; i < n; i++) {
        double norm = sqrt(product_of(i, i, d));
        least = fmin(least, norm);
        sum += norm;
    }
    ck_agree(near(found->norm_min, least));
    ck_agree(near(found->norm_mean, sum / (double)n));
    ck_agree(found->norm_max >= found->norm_mean && found->zero_rows == 0);
    ck_agree(found->cosines.bins == 128 && found->cosines.edges[64] == 0.0);
    for (int i = 0; i < 128; i++) {
        count += found->cosines.counts[i];
        moved += llabs(found->cosines.counts[i] - unit->counts[i]);
    }
    ck_agree(count == n * (n - 1) / 2);
    ck_agree(moved <= 2 + count / 10000); /* over the edge of a bin */
}

static void set_weights(orth_sae *sae)
{
    for (int64_t i = sae->own.begin; i < sae->own.end; i++)
        for (int64_t j = 0; j < sae->d_model; j++)
            sae->weights.W_dec[(i - sae->own.begin) * sae->d_model + j] = weight_of(i, j);
}

static void check_size(int64_t n, int64_t d)
{
    int size;
    all_pairs stored, unit;
    fill(n, d);
    plain(n, d, false, &stored);
    plain(n, d, true, &unit);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int groups = 1; groups <= size; groups++) {
        orth_grid grid;
        orth_sae sae;
        orth_coherence found;
        orth_geometry geometry;
        orth_recipe recipe = {.n_latent = n, .k = 1, .aux_k = 1};
        if (size % groups)
            continue;
        ck_agree(orth_grid_create(MPI_COMM_WORLD, groups, size / groups, &grid) == ORTH_OK);
        ck_agree(orth_sae_create(&grid, &recipe, d, false, &sae) == ORTH_OK);
        set_weights(&sae);
        ck_agree(orth_coherence_measure(&sae, &found) == ORTH_OK);
        compare(&found, &stored.coherence);
        ck_agree(orth_geometry_measure(&sae, true, &geometry) == ORTH_OK);
        compare_geometry(&geometry, n, d, &stored, &unit);
        orth_geometry_free(&geometry);
        ck_agree(orth_geometry_measure(&sae, false, &geometry) == ORTH_OK);
        ck_agree(near(geometry.unit.mean, unit.coherence.mean) && isnan(geometry.unit.max));
        ck_agree(geometry.cosines.bins == 0);
        orth_geometry_free(&geometry);
        orth_sae_free(&sae);
        orth_grid_free(&grid);
    }
}

/* More rows than a block that travels, in shards of unequal size. */
START_TEST(large)
{
    check_size(2201, 5);
}
END_TEST

/* Shards of one row or none. */
START_TEST(small)
{
    for (int64_t n = 2; n <= 6; n++)
        check_size(n, 7);
}
END_TEST

static void make_sae(int64_t n, int64_t d, orth_grid *grid, orth_sae *sae)
{
    int size;
    orth_recipe recipe = {.n_latent = n, .k = 1, .aux_k = 1};
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    ck_agree(orth_grid_create(MPI_COMM_WORLD, 1, size, grid) == ORTH_OK);
    ck_agree(orth_sae_create(grid, &recipe, d, false, sae) == ORTH_OK);
    set_weights(sae);
}

START_TEST(single)
{
    orth_grid grid;
    orth_sae sae;
    orth_coherence found;
    orth_geometry geometry;
    make_sae(1, 7, &grid, &sae);
    ck_agree(orth_coherence_measure(&sae, &found) == ORTH_OK);
    ck_agree(found.max == 0.0 && found.mean == 0.0 && found.max_abs == 0.0 && found.welch == 0.0);
    ck_agree(orth_geometry_measure(&sae, true, &geometry) == ORTH_OK);
    ck_agree(geometry.unit.max == 0.0 && geometry.mean_square == 0.0 && geometry.norm_min > 0.0);
    ck_agree(geometry.unit.max_pair[0] == -1);
    orth_geometry_free(&geometry);
    orth_sae_free(&sae);
    orth_grid_free(&grid);
}
END_TEST

/* A row of zeros is orthogonal to all; opposite rows have the greatest size and not the greatest
 * cosine. */
START_TEST(zeros_and_opposites)
{
    orth_grid grid;
    orth_sae sae;
    orth_geometry geometry;
    int64_t n = 40, d = 11;
    make_sae(n, d, &grid, &sae);
    for (int64_t i = sae.own.begin; i < sae.own.end; i++)
        for (int64_t j = 0; j < d; j++) {
            float *weight = &sae.weights.W_dec[(i - sae.own.begin) * d + j];
            if (i == 13)
                *weight = 0.0f;
            if (i == 31)
                *weight = -2.0f * weight_of(4, j);
        }
    ck_agree(orth_geometry_measure(&sae, true, &geometry) == ORTH_OK);
    ck_agree(geometry.zero_rows == 1 && geometry.norm_min == 0.0);
    ck_agree(fabs(geometry.unit.max_abs - 1.0) < 1e-6 && geometry.unit.max < 0.999);
    ck_agree(geometry.unit.max_abs_pair[0] == 4 && geometry.unit.max_abs_pair[1] == 31);
    orth_geometry_free(&geometry);
    orth_sae_free(&sae);
    orth_grid_free(&grid);
}
END_TEST

/* The vertices of a simplex, d + 1 in d dimensions, attain the Welch bound: every cosine -1/d. */
START_TEST(simplex)
{
    orth_grid grid;
    orth_sae sae;
    orth_geometry geometry;
    int64_t d = 12, n = d + 1;
    make_sae(n, d, &grid, &sae);
    double last = (1.0 - sqrt((double)n)) / (double)d; /* the vertex beside the unit vectors */
    for (int64_t i = sae.own.begin; i < sae.own.end; i++)
        for (int64_t j = 0; j < d; j++) {
            double vertex = i < d ? (i == j ? 1.0 : 0.0) : last;
            double centre = (1.0 + last) / (double)n;
            sae.weights.W_dec[(i - sae.own.begin) * d + j] = (float)(vertex - centre);
        }
    ck_agree(orth_geometry_measure(&sae, true, &geometry) == ORTH_OK);
    ck_agree(fabs(geometry.unit.max_abs - 1.0 / (double)d) < 1e-6);
    ck_agree(fabs(geometry.unit.welch - 1.0 / (double)d) < 1e-15);
    ck_agree(fabs(geometry.mean_square_unit - 1.0 / (double)(d * d)) < 1e-8);
    ck_agree(fabs(geometry.unit.mean + 1.0 / (double)d) < 1e-7);
    orth_geometry_free(&geometry);
    orth_sae_free(&sae);
    orth_grid_free(&grid);
}
END_TEST

START_TEST(not_finite)
{
    orth_grid grid;
    orth_sae sae;
    orth_geometry geometry;
    make_sae(9, 3, &grid, &sae);
    if (sae.own.begin <= 5 && sae.own.end > 5)
        sae.weights.W_dec[(5 - sae.own.begin) * 3 + 1] = NAN;
    ck_agree(orth_geometry_measure(&sae, true, &geometry) == ORTH_ERR_CORRUPT);
    orth_error_clear();
    orth_sae_free(&sae);
    orth_grid_free(&grid);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("geometry");
    TCase *tests = tcase_create("geometry");
    tcase_add_test(tests, large);
    tcase_add_test(tests, small);
    tcase_add_test(tests, single);
    tcase_add_test(tests, zeros_and_opposites);
    tcase_add_test(tests, simplex);
    tcase_add_test(tests, not_finite);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
