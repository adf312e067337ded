/* Spectra that are known: tight frames, simplices, planted eigenvectors; on every number of ranks,
 * d odd, of one block and of many, and smaller than the grid.
 * ranks: 1 2 3 4 5
 */
#include "check_mpi.h"

#include <orthant/base/random.h>
#include <orthant/eval/spectrum.h>

#include <math.h>
#include <string.h>

static void make_sae(int groups, int64_t n, int64_t d, orth_grid *grid, orth_sae *sae)
{
    int size;
    orth_recipe recipe = {.n_latent = n, .k = 1, .aux_k = 1};
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    ck_agree(orth_grid_create(MPI_COMM_WORLD, groups, size / groups, grid) == ORTH_OK);
    ck_agree(orth_sae_create(grid, &recipe, d, false, sae) == ORTH_OK);
}

static float *row_of(const orth_sae *sae, int64_t i)
{
    return sae->weights.W_dec + (i - sae->own.begin) * sae->d_model;
}

static void end(orth_grid *grid, orth_sae *sae, orth_spectrum *spectrum)
{
    orth_spectrum_free(spectrum);
    orth_sae_free(sae);
    orth_grid_free(grid);
}

/* Coordinate j of a unit vector k of an orthonormal basis that is no coordinate system: the columns
 * of 1 - 2 v v^T. */
static double basis(int64_t k, int64_t j, int64_t d)
{
    static const double squares[] = {0.0, 1.0, 5.0, 14.0, 30.0}; /* of 1, 2, 3, 4 */
    double norm = 55.0 * (double)(d / 5) + squares[d % 5];
    return (j == k ? 1.0 : 0.0) - 2.0 * (1.0 + (double)(j % 5)) * (1.0 + (double)(k % 5)) / norm;
}

/* Row i is sizes[i % d] times basis vector i % d: the eigenvalues are n / d sizes^2. */
static void plant(orth_sae *sae, double (*size)(int64_t))
{
    int64_t d = sae->d_model;
    for (int64_t i = sae->own.begin; i < sae->own.end; i++)
        for (int64_t j = 0; j < d; j++)
            row_of(sae, i)[j] = (float)(size(i % d) * basis(i % d, j, d));
}

static double unit_size(int64_t k)
{
    (void)k;
    return 1.0;
}

static double growing_size(int64_t k)
{
    return 1.0 + 0.25 * (double)k;
}

/* Orthonormal rows, each repeated: a tight frame. */
START_TEST(tight)
{
    static const int64_t sizes[] = {1, 2, 3, 7, 61, 127, 130};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        int64_t d = sizes[s], n = 6 * d;
        orth_grid grid;
        orth_sae sae;
        orth_spectrum spectrum;
        make_sae(1, n, d, &grid, &sae);
        plant(&sae, unit_size);
        ck_agree(orth_frame_spectrum(&sae, &spectrum) == ORTH_OK);
        ck_agree(spectrum.d == d && spectrum.rank == d);
        for (int64_t i = 0; i < d; i++)
            ck_agree(fabs(spectrum.eigenvalues[i] - 6.0) < 1e-5);
        ck_agree(fabs(spectrum.trace - (double)n) < 1e-5 * (double)n);
        ck_agree(fabs(spectrum.condition - 1.0) < 1e-5);
        ck_agree(fabs(spectrum.effective_rank - (double)d) < 1e-5 * (double)d);
        ck_agree(fabs(spectrum.participation - (double)d) < 1e-5 * (double)d);
        end(&grid, &sae, &spectrum);
    }
}
END_TEST

/* Distinct eigenvalues, descending, on every grid; of several panels' worth of columns. */
START_TEST(planted)
{
    int size;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int groups = 1; groups <= size; groups++) {
        int64_t d = 45, n = 2 * d;
        orth_grid grid;
        orth_sae sae;
        orth_spectrum spectrum;
        if (size % groups)
            continue;
        make_sae(groups, n, d, &grid, &sae);
        plant(&sae, growing_size);
        ck_agree(orth_frame_spectrum(&sae, &spectrum) == ORTH_OK);
        for (int64_t i = 0; i < d; i++) {
            double wanted = 2.0 * growing_size(d - 1 - i) * growing_size(d - 1 - i);
            ck_agree(fabs(spectrum.eigenvalues[i] - wanted) < 1e-6 * wanted);
        }
        double wanted = growing_size(d - 1) * growing_size(d - 1);
        ck_agree(fabs(spectrum.condition - wanted) < 1e-5 * wanted);
        end(&grid, &sae, &spectrum);
    }
}
END_TEST

/* The eigenvalues of any matrix: their sum and the sum of their squares against its trace and its
 * norm in plain loops, at odd sizes around the blocks' edges. */
START_TEST(moments)
{
    static float rows[260 * 257];
    static const int64_t sizes[] = {5, 63, 64, 65, 97, 193, 257};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        int64_t d = sizes[s], n = d + 3;
        orth_grid grid;
        orth_sae sae;
        orth_spectrum spectrum;
        make_sae(1, n, d, &grid, &sae);
        double trace = 0.0, square = 0.0, sum = 0.0;
        for (int64_t i = 0; i < n * d; i++)
            rows[i] = (float)sin((double)(i / d * 131 + i % d * (i % d)));
        for (int64_t i = 0; i < n; i++)
            for (int64_t k = 0; k < n; k++) {
                double product = 0.0;
                for (int64_t j = 0; j < d; j++)
                    product += (double)rows[i * d + j] * (double)rows[k * d + j];
                square += product * product;
                trace += i == k ? product : 0.0;
            }
        for (int64_t i = sae.own.begin; i < sae.own.end; i++)
            for (int64_t j = 0; j < d; j++)
                row_of(&sae, i)[j] = rows[i * d + j];
        ck_agree(orth_frame_spectrum(&sae, &spectrum) == ORTH_OK);
        for (int64_t i = 0; i < d; i++)
            sum += spectrum.eigenvalues[i] * spectrum.eigenvalues[i];
        ck_agree(fabs(spectrum.trace - trace) < 1e-10 * trace);
        ck_agree(fabs(sum - square) < 1e-10 * square);
        for (int64_t i = 1; i < d; i++)
            ck_agree(spectrum.eigenvalues[i] <= spectrum.eigenvalues[i - 1]);
        end(&grid, &sae, &spectrum);
    }
}
END_TEST

/* Fewer rows than dimensions, and none that is not zero. */
START_TEST(deficient)
{
    orth_grid grid;
    orth_sae sae;
    orth_spectrum spectrum;
    make_sae(1, 9, 33, &grid, &sae);
    plant(&sae, growing_size);
    ck_agree(orth_frame_spectrum(&sae, &spectrum) == ORTH_OK);
    ck_agree(spectrum.rank == 9 && isinf(spectrum.condition));
    ck_agree(fabs(spectrum.eigenvalues[0] - 9.0) < 1e-5 && spectrum.effective_rank < 9.0);
    end(&grid, &sae, &spectrum);
    make_sae(1, 9, 33, &grid, &sae);
    ck_agree(orth_frame_spectrum(&sae, &spectrum) == ORTH_OK);
    ck_agree(spectrum.trace == 0.0 && spectrum.rank == 0 && isnan(spectrum.condition));
    ck_agree(isnan(spectrum.effective_rank) && isnan(spectrum.participation));
    end(&grid, &sae, &spectrum);
}
END_TEST

START_TEST(not_finite)
{
    orth_grid grid;
    orth_sae sae;
    orth_spectrum spectrum = {0};
    make_sae(1, 12, 5, &grid, &sae);
    plant(&sae, unit_size);
    if (sae.own.begin <= 11 && sae.own.end > 11)
        row_of(&sae, 11)[0] = INFINITY;
    ck_agree(orth_frame_spectrum(&sae, &spectrum) == ORTH_ERR_CORRUPT);
    orth_error_clear();
    end(&grid, &sae, &spectrum);
}
END_TEST

/* A share of more entries than ScaLAPACK's integers count; their product is near to 2^32. */
START_TEST(too_large)
{
    orth_grid grid;
    orth_sae sae;
    orth_spectrum spectrum = {0};
    make_sae(1, 2, 70000, &grid, &sae);
    ck_agree(orth_frame_spectrum(&sae, &spectrum) == ORTH_ERR_ENVIRONMENT);
    ck_agree(strstr(orth_error_text(), "more than ScaLAPACK") != NULL);
    orth_error_clear();
    end(&grid, &sae, &spectrum);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("spectrum");
    TCase *tests = tcase_create("spectrum");
    tcase_set_timeout(tests, 0);
    tcase_add_test(tests, tight);
    tcase_add_test(tests, planted);
    tcase_add_test(tests, moments);
    tcase_add_test(tests, deficient);
    tcase_add_test(tests, not_finite);
    tcase_add_test(tests, too_large);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
