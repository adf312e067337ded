/* Initial models: the schemes against plain formulas, and the same bits on every grid.
 * ranks: 1 2 3 4 */
#include "check_mpi.h"
#include "plain.h"

#include <orthant/base/random.h>
#include <orthant/sae/init.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Three chunks of the sample, the last one short, and rows that are left out. */
enum { N_LATENT = 37, WIDTH = 6, ROWS = 700 };

static float row_value(int64_t i, int64_t j)
{
    /* A skewed cloud, so that mean and median differ. */
    double u = plain_uniform(3, i * WIDTH + j);
    return (float)(u * u * u * (i % 10 == 0 ? 8.0 : 1.0) + (double)j - 1.0);
}

static bool row_valid(int64_t i)
{
    return i % 97 != 5;
}

static orth_sample make_sample(MPI_Comm comm)
{
    int rank, size;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    orth_sample sample = {.comm = comm, .total = ROWS, .d_model = WIDTH};
    sample.own = orth_sample_rows(ROWS, size, rank);
    int64_t n = orth_range_size(sample.own);
    sample.x = calloc((size_t)(n * WIDTH + 1), sizeof *sample.x);
    sample.valid = calloc((size_t)n + 1, sizeof *sample.valid);
    for (int64_t i = 0; i < n; i++) {
        sample.valid[i] = row_valid(sample.own.begin + i);
        for (int64_t j = 0; j < WIDTH; j++)
            sample.x[i * WIDTH + j] = sample.valid[i] ? row_value(sample.own.begin + i, j) : NAN;
    }
    for (int64_t i = 0; i < ROWS; i++)
        sample.count += row_valid(i);
    return sample;
}

static void free_sample(orth_sample *sample)
{
    free(sample->x);
    free(sample->valid);
}

static orth_recipe recipe_of(orth_init_scheme init)
{
    return (orth_recipe){.seed = 7,
                         .n_latent = N_LATENT,
                         .k = 4,
                         .b_enc = true,
                         .init = init,
                         .loss = ORTH_LOSS_MSE_SCALED,
                         .aux_k = 3,
                         .batch = 32,
                         .dead_batches = 5};
}

/* A model of `recipe` on a grid over `comm`, and the grid, initialised. */
typedef struct initial {
    orth_grid grid;
    orth_sae sae;
} initial;

static void open_initial(MPI_Comm comm, const orth_recipe *recipe, int n_group, int n_shard,
                         initial *out)
{
    orth_sample sample = make_sample(comm);
    ck_agree(orth_grid_create(comm, n_group, n_shard, &out->grid) == ORTH_OK);
    ck_agree(orth_sae_create(&out->grid, recipe, WIDTH, true, &out->sae) == ORTH_OK);
    ck_agree(orth_init_scales(&out->sae, &sample) == ORTH_OK);
    ck_agree(orth_init_random(&out->sae, &sample) == ORTH_OK);
    free_sample(&sample);
}

static void close_initial(initial *m)
{
    orth_sae_free(&m->sae);
    orth_grid_free(&m->grid);
}

static bool same(const float *a, const float *b, int64_t n)
{
    return memcmp(a, b, (size_t)n * sizeof *a) == 0;
}

static void check_grid(const orth_recipe *recipe, const initial *whole, int n_group, int n_shard)
{
    initial part;
    open_initial(MPI_COMM_WORLD, recipe, n_group, n_shard, &part);
    const orth_params *a = &part.sae.weights, *b = &whole->sae.weights;
    int64_t first = part.sae.own.begin, n = orth_range_size(part.sae.own);
    ck_agree(same(a->W_enc, b->W_enc + first * WIDTH, n * WIDTH));
    ck_agree(same(a->W_dec, b->W_dec + first * WIDTH, n * WIDTH));
    ck_agree(same(a->b_enc, b->b_enc + first, n) && same(a->b_dec, b->b_dec, WIDTH));
    ck_agree(part.sae.mse_scale == whole->sae.mse_scale);
    ck_agree(part.sae.input_scale == whole->sae.input_scale);
    bool untouched = part.sae.step == 0;
    for (int64_t i = 0; i < n; i++)
        untouched = untouched && part.sae.steps_since_fired[i] == 0;
    for (int64_t j = 0; j < orth_range_size(part.sae.part) * WIDTH; j++)
        untouched = untouched && part.sae.moment1.W_enc[j] == 0.0f;
    ck_agree(untouched);
    close_initial(&part);
}

START_TEST(every_grid_gets_the_same_model)
{
    int size;
    orth_recipe recipe = recipe_of(_i % 2 ? ORTH_INIT_GAO : ORTH_INIT_KAIMING);
    recipe.input = _i / 2 ? ORTH_INPUT_SCALE : ORTH_INPUT_NONE;
    initial whole;
    open_initial(MPI_COMM_SELF, &recipe, 1, 1, &whole);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int n_group = 1; n_group <= size; n_group++)
        if (size % n_group == 0)
            check_grid(&recipe, &whole, n_group, size / n_group);
    close_initial(&whole);
}
END_TEST

static double row_norm(const float *row, int64_t d)
{
    double square = 0.0;
    for (int64_t j = 0; j < d; j++)
        square += (double)row[j] * (double)row[j];
    return sqrt(square);
}

/* W_dec is W_enc with unit rows. */
static bool decoder_follows(const orth_sae *sae)
{
    bool right = true;
    for (int64_t i = 0; i < sae->recipe.n_latent; i++) {
        const float *enc = sae->weights.W_enc + i * sae->d_model;
        const float *dec = sae->weights.W_dec + i * sae->d_model;
        double norm = row_norm(enc, sae->d_model);
        for (int64_t j = 0; j < sae->d_model; j++)
            right = right && fabs((double)dec[j] - (double)enc[j] / norm) < 1e-6;
        right = right && fabs(row_norm(dec, sae->d_model) - 1.0) < 2e-7;
    }
    return right;
}

START_TEST(kaiming_is_uniform_within_its_bound)
{
    orth_recipe recipe = recipe_of(ORTH_INIT_KAIMING);
    recipe.n_latent = 600;
    initial m;
    ck_agree(orth_grid_create(MPI_COMM_SELF, 1, 1, &m.grid) == ORTH_OK);
    ck_agree(orth_sae_create(&m.grid, &recipe, 50, true, &m.sae) == ORTH_OK);
    ck_agree(orth_init_random(&m.sae, NULL) == ORTH_OK);
    double bound = sqrt(6.0 / 600.0), sum = 0.0, square = 0.0, least = 1.0, most = -1.0;
    int64_t size = 600 * 50;
    for (int64_t j = 0; j < size; j++) {
        double w = (double)m.sae.weights.W_enc[j] / bound;
        sum += w;
        square += w * w;
        least = fmin(least, w);
        most = fmax(most, w);
    }
    /* Uniform in (-1, 1): mean 0, variance 1/3; five standard errors of each. */
    ck_agree(fabs(sum / (double)size) < 5.0 * sqrt(1.0 / 3.0 / (double)size));
    ck_agree(fabs(square / (double)size - 1.0 / 3.0) < 5.0 * sqrt(4.0 / 45.0 / (double)size));
    ck_agree(least >= -1.000001 && least < -0.999 && most <= 1.000001 && most > 0.999);
    ck_agree(decoder_follows(&m.sae));
    bool zero = true;
    for (int64_t i = 0; i < 600; i++)
        zero = zero && m.sae.weights.b_enc[i] == 0.0f;
    for (int64_t j = 0; j < 50; j++)
        zero = zero && m.sae.weights.b_dec[j] == 0.0f;
    ck_agree(zero);
    close_initial(&m);
}
END_TEST

START_TEST(seeds_differ)
{
    orth_recipe recipe = recipe_of(ORTH_INIT_KAIMING);
    initial a, b;
    open_initial(MPI_COMM_SELF, &recipe, 1, 1, &a);
    recipe.seed++;
    open_initial(MPI_COMM_SELF, &recipe, 1, 1, &b);
    int64_t equal = 0;
    for (int64_t j = 0; j < N_LATENT * WIDTH; j++)
        equal += a.sae.weights.W_enc[j] == b.sae.weights.W_enc[j];
    ck_agree(equal == 0);
    close_initial(&a);
    close_initial(&b);
}
END_TEST

static double median_objective(const double *centre)
{
    double sum = 0.0;
    for (int64_t i = 0; i < ROWS; i++) {
        double square = 0.0;
        for (int64_t j = 0; j < WIDTH && row_valid(i); j++)
            square += pow((double)row_value(i, j) - centre[j], 2.0);
        sum += sqrt(square);
    }
    return sum;
}

/* Weiszfeld's iteration as RECIPES.md has it, row after row; 0 iterations: the mean. */
static void plain_median(int iterations, double *median)
{
    double count = 0.0, before = INFINITY;
    memset(median, 0, WIDTH * sizeof *median);
    for (int64_t i = 0; i < ROWS; i++)
        count += row_valid(i);
    for (int64_t i = 0; i < ROWS; i++)
        for (int64_t j = 0; j < WIDTH && row_valid(i); j++)
            median[j] += (double)row_value(i, j) / count;
    for (int it = 0; it < iterations; it++) {
        double sums[WIDTH] = {0.0}, weights = 0.0, objective = 0.0;
        for (int64_t i = 0; i < ROWS; i++) {
            double square = 0.0;
            for (int64_t j = 0; j < WIDTH; j++)
                square += pow((double)row_value(i, j) - median[j], 2.0);
            if (!row_valid(i))
                continue;
            double weight = 1.0 / fmax(sqrt(square), 1e-6);
            for (int64_t j = 0; j < WIDTH; j++)
                sums[j] += weight * (double)row_value(i, j);
            weights += weight;
            objective += sqrt(square);
        }
        if (objective >= before)
            break;
        before = objective;
        for (int64_t j = 0; j < WIDTH; j++)
            median[j] = sums[j] / weights;
    }
}

START_TEST(the_geometric_median)
{
    double plain_one[WIDTH], mean[WIDTH], found[WIDTH], sample_mean[WIDTH], square, variance = 0.0;
    orth_sample sample = make_sample(MPI_COMM_WORLD);
    plain_median(100, plain_one);
    plain_median(0, mean);
    ck_agree(orth_sample_median(&sample, found) == ORTH_OK);
    ck_agree(orth_sample_mean(&sample, sample_mean) == ORTH_OK);
    ck_agree(orth_sample_mean_square(&sample, mean, &square) == ORTH_OK);
    for (int64_t i = 0; i < ROWS; i++)
        for (int64_t j = 0; j < WIDTH && row_valid(i); j++)
            variance += pow((double)row_value(i, j) - mean[j], 2.0) / (double)sample.count;
    ck_agree(fabs(square / variance - 1.0) < 1e-12);
    double apart = 0.0;
    for (int64_t j = 0; j < WIDTH; j++) {
        ck_agree(fabs(found[j] - plain_one[j]) < 1e-6);
        ck_agree(fabs(sample_mean[j] - mean[j]) < 1e-12);
        apart = fmax(apart, fabs(found[j] - mean[j]));
    }
    ck_agree(apart > 1e-3); /* else the test would not tell median from mean */
    /* It is a minimum: every step away from it makes the sum of distances larger. */
    double least = median_objective(found);
    for (int64_t j = 0; j < 2 * WIDTH; j++) {
        double moved[WIDTH];
        memcpy(moved, found, sizeof moved);
        moved[j / 2] += j % 2 ? 1e-3 : -1e-3;
        ck_agree(median_objective(moved) > least);
    }
    free_sample(&sample);
}
END_TEST

/* Mean |W_dec^T f| over the 256 probes, by a full sort in double. */
static double mean_reconstruction(const orth_sae *sae, const orth_recipe *recipe)
{
    plain p = plain_create(N_LATENT, WIDTH, 256);
    double bound = 1.0 / sqrt((double)WIDTH), mean = 0.0;
    for (int64_t i = 0; i < N_LATENT; i++)
        for (int64_t j = 0; j < WIDTH; j++) {
            double u = orth_random_uniform((uint64_t)recipe->seed, ORTH_RANDOM_WEIGHTS, (uint64_t)i,
                                           (uint64_t)j);
            p.W_enc[i * WIDTH + j] = (float)((2.0 * u - 1.0) * bound);
        }
    memcpy(p.W_dec, sae->weights.W_dec, N_LATENT * WIDTH * sizeof(float));
    for (int64_t t = 0; t < 256; t++) {
        double u[WIDTH], square = 0.0;
        for (int64_t j = 0; j < WIDTH; j++) {
            u[j] = orth_random_normal((uint64_t)recipe->seed, ORTH_RANDOM_PROBES, (uint64_t)t,
                                      (uint64_t)j);
            square += u[j] * u[j];
        }
        for (int64_t j = 0; j < WIDTH; j++)
            p.x[t * WIDTH + j] = (float)(u[j] / sqrt(square));
    }
    bool *mask = plain_mask(&p);
    plain_encode(&p);
    plain_topk(&p, recipe->k, NULL, mask);
    for (int64_t t = 0; t < 256; t++) {
        double square = 0.0;
        for (int64_t j = 0; j < WIDTH; j++) {
            double sum = 0.0;
            for (int64_t i = 0; i < N_LATENT; i++)
                if (mask[t * N_LATENT + i])
                    sum += (double)p.a[t * N_LATENT + i] * (double)p.W_dec[i * WIDTH + j];
            square += sum * sum;
        }
        mean += sqrt(square) / 256.0;
    }
    free(mask);
    plain_free(&p);
    return mean;
}

START_TEST(gao_starts_at_the_median_with_unit_reconstructions)
{
    double median[WIDTH];
    orth_recipe recipe = recipe_of(ORTH_INIT_GAO);
    initial m;
    open_initial(MPI_COMM_SELF, &recipe, 1, 1, &m);
    plain_median(100, median);
    double factor = mean_reconstruction(&m.sae, &recipe), bound = 1.0 / sqrt((double)WIDTH);
    bool right = true;
    for (int64_t i = 0; i < N_LATENT; i++)
        for (int64_t j = 0; j < WIDTH; j++) {
            double u = orth_random_uniform((uint64_t)recipe.seed, ORTH_RANDOM_WEIGHTS, (uint64_t)i,
                                           (uint64_t)j);
            double wanted = (2.0 * u - 1.0) * bound / factor;
            right = right && fabs((double)m.sae.weights.W_enc[i * WIDTH + j] - wanted) < 2e-5;
        }
    for (int64_t j = 0; j < WIDTH; j++)
        right = right && fabs((double)m.sae.weights.b_dec[j] - median[j]) < 2e-6;
    for (int64_t i = 0; i < N_LATENT; i++)
        right = right && m.sae.weights.b_enc[i] == 0.0f;
    ck_agree(right && decoder_follows(&m.sae));
    ck_agree(fabs(factor - 1.0) > 0.05); /* else a missing division would not show */
    close_initial(&m);
}
END_TEST

START_TEST(scales_come_from_the_sample)
{
    double mean[WIDTH], square = 0.0, variance = 0.0, count = 0.0;
    orth_recipe recipe = recipe_of(ORTH_INIT_KAIMING);
    initial m;
    int size;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    plain_median(0, mean);
    for (int64_t i = 0; i < ROWS; i++)
        count += row_valid(i);
    for (int64_t i = 0; i < ROWS; i++)
        for (int64_t j = 0; j < WIDTH && row_valid(i); j++) {
            square += pow((double)row_value(i, j), 2.0) / count;
            variance += pow((double)row_value(i, j) - mean[j], 2.0) / (count * WIDTH);
        }
    open_initial(MPI_COMM_WORLD, &recipe, 1, size, &m);
    ck_agree(fabs(m.sae.mse_scale * variance - 1.0) < 1e-6 && m.sae.input_scale == 1.0);
    close_initial(&m);
    recipe.input = ORTH_INPUT_SCALE;
    open_initial(MPI_COMM_SELF, &recipe, 1, 1, &m);
    double scale = sqrt(WIDTH / square);
    ck_agree(fabs(m.sae.input_scale / scale - 1.0) < 1e-12);
    /* The sample is scaled before its variance is taken. */
    ck_agree(fabs(m.sae.mse_scale * variance * scale * scale - 1.0) < 1e-6);
    close_initial(&m);
    recipe.mse_scale = 2.5;
    open_initial(MPI_COMM_SELF, &recipe, 1, 1, &m);
    ck_agree(m.sae.mse_scale == 2.5);
    close_initial(&m);
    recipe.loss = ORTH_LOSS_MSE;
    open_initial(MPI_COMM_SELF, &recipe, 1, 1, &m);
    ck_agree(m.sae.mse_scale == 1.0);
    close_initial(&m);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("init");
    TCase *cases = tcase_create("init");
    tcase_add_loop_test(cases, every_grid_gets_the_same_model, 0, 4);
    tcase_add_test(cases, kaiming_is_uniform_within_its_bound);
    tcase_add_test(cases, seeds_differ);
    tcase_add_test(cases, the_geometric_median);
    tcase_add_test(cases, gao_starts_at_the_median_with_unit_reconstructions);
    tcase_add_test(cases, scales_come_from_the_sample);
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
