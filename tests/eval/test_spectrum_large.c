/* Large matrices with known eigenvalues on four ranks: d 2048 and 8192, or what the argument says.
 * ranks: 4
 * timeout: 1800
 * labels: long
 */
#include "check_mpi.h"

#include <orthant/eval/spectrum.h>
#include <orthant/par/phase.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

static int64_t sizes[] = {2048, 8192};
static int64_t d;

static double direction(int64_t j)
{
    return 1.0 + (double)(j * 37 % 11);
}

/* Row i is size(i) times column i of 1 - 2 v v^T / |v|^2: orthogonal rows of chosen lengths. */
static double size_of(int64_t i)
{
    return 1.0 + (double)i / (double)d;
}

static void plant(orth_sae *sae)
{
    double square = 0.0;
    for (int64_t j = 0; j < d; j++)
        square += direction(j) * direction(j);
    for (int64_t i = sae->own.begin; i < sae->own.end; i++) {
        float *row = sae->weights.W_dec + (i - sae->own.begin) * d;
        for (int64_t j = 0; j < d; j++) {
            double entry = (i == j ? 1.0 : 0.0) - 2.0 * direction(i) * direction(j) / square;
            row[j] = (float)(size_of(i) * entry);
        }
    }
}

static void tell(double seconds)
{
    struct rusage usage;
    double most = 0.0;
    int rank;
    getrusage(RUSAGE_SELF, &usage);
    double mib = (double)usage.ru_maxrss / 1024.0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Reduce(&mib, &most, 1, MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD);
    if (rank == 0)
        printf("d %lld: %.1f s, at most %.0f MiB a rank\n", (long long)d, seconds, most);
}

static void check_size(void)
{
    int size;
    orth_grid grid;
    orth_sae sae;
    orth_spectrum spectrum;
    orth_recipe recipe = {.n_latent = d, .k = 1, .aux_k = 1};
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    ck_agree(orth_grid_create(MPI_COMM_WORLD, 1, size, &grid) == ORTH_OK);
    ck_agree(orth_sae_create(&grid, &recipe, d, false, &sae) == ORTH_OK);
    plant(&sae);
    double start = orth_now();
    ck_agree(orth_frame_spectrum(&sae, &spectrum) == ORTH_OK);
    tell(orth_now() - start);
    double worst = 0.0;
    for (int64_t i = 0; i < d; i++) {
        double wanted = size_of(d - 1 - i) * size_of(d - 1 - i);
        worst = fmax(worst, fabs(spectrum.eigenvalues[i] - wanted));
    }
    ck_agree(worst < 1e-5); /* the rows are fp32 */
    orth_spectrum_free(&spectrum);
    orth_sae_free(&sae);
    orth_grid_free(&grid);
}

START_TEST(large)
{
    for (int i = 0; i < 2; i++) {
        d = sizes[i];
        check_size();
    }
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("spectrum_large");
    TCase *tests = tcase_create("spectrum_large");
    tcase_set_timeout(tests, 0);
    tcase_add_test(tests, large);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(int argc, char **argv)
{
    if (argc > 1)
        sizes[0] = sizes[1] = atoll(argv[1]);
    return orth_check_main(make);
}
