/* Synthetic activations: the tokens are what the dictionary and the options say, on any number of
 * ranks.
 * ranks: 1 3 */
#include <orthant/io/dataset.h>
#include <orthant/io/synth.h>

#include "check_mpi.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int rank;

static void find_rank(void)
{
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    orth_error_clear();
}

static orth_synth_options usual(void)
{
    return (orth_synth_options){.tokens = 101,
                                .d_model = 16,
                                .latents = 12,
                                .active = 1,
                                .noise = 0,
                                .seed = 3,
                                .type = ORTH_H5_FLOAT};
}

typedef struct table {
    int64_t rows, width;
    float *values; ///< owned
} table;

static table read_table(const char *path, const char *name)
{
    orth_dataset *dataset = NULL;
    ck_agree(orth_dataset_open(&path, 1, name, MPI_COMM_WORLD, &dataset) == ORTH_OK);
    table t = {orth_dataset_rows(dataset), orth_dataset_width(dataset), NULL};
    t.values = malloc((size_t)(t.rows * t.width) * sizeof *t.values);
    int64_t *order = malloc((size_t)t.rows * sizeof *order);
    for (int64_t i = 0; i < t.rows; i++)
        order[i] = i;
    ck_agree(orth_dataset_read(dataset, order, t.rows, t.values) == ORTH_OK);
    free(order);
    orth_dataset_close(dataset);
    return t;
}

static const char *write_world(const char *name, orth_synth_options options)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", orth_check_folder(), name);
    orth_status status = orth_synth_write(path, &options, MPI_COMM_WORLD);
    ck_agree(status == ORTH_OK, "%s", orth_error_text());
    return path;
}

static double dot(const float *a, const float *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* One latent a token and no noise: x is c g with c >= 1/2, mean 1; every latent gets its turn. */
START_TEST(test_one_latent)
{
    orth_synth_options options = usual();
    options.tokens = 3000;
    const char *path = write_world("one.h5", options);
    table x = read_table(path, "activations"), g = read_table(path, "dictionary");
    ck_agree(x.rows == 3000 && x.width == 16 && g.rows == 12 && g.width == 16);
    int used[12] = {0};
    double mean = 0;
    bool good = true;
    for (int64_t l = 0; l < g.rows; l++)
        good = good && fabs(dot(g.values + 16 * l, g.values + 16 * l, 16) - 1) < 1e-6;
    for (int64_t i = 0; i < x.rows; i++) {
        int64_t best = 0;
        for (int64_t l = 1; l < g.rows; l++)
            if (dot(x.values + 16 * i, g.values + 16 * l, 16) >
                dot(x.values + 16 * i, g.values + 16 * best, 16))
                best = l;
        double c = dot(x.values + 16 * i, g.values + 16 * best, 16);
        for (int64_t j = 0; j < 16; j++)
            good = good && fabs(x.values[16 * i + j] - c * (double)g.values[16 * best + j]) < 1e-5;
        good = good && c >= 0.5 - 1e-6;
        used[best]++;
        mean += c / 3000;
    }
    for (int l = 0; l < 12; l++) /* 250 expected, deviation 15 */
        good = good && used[l] > 160 && used[l] < 340;
    ck_agree(good && fabs(mean - 1) < 0.05);
    free(x.values);
    free(g.values);
}
END_TEST

/* As many active latents as there are: all of them, each once. */
START_TEST(test_all_latents)
{
    orth_synth_options options = usual();
    options.latents = options.active = 2;
    options.type = ORTH_H5_DOUBLE;
    const char *path = write_world("all.h5", options);
    table x = read_table(path, "activations"), g = read_table(path, "dictionary");
    double overlap = dot(g.values, g.values + 16, 16);
    bool good = true;
    for (int64_t i = 0; i < x.rows; i++) {
        const float *row = x.values + 16 * i;
        double p = dot(row, g.values, 16), q = dot(row, g.values + 16, 16);
        double det = 1 - overlap * overlap;
        double a = (p - overlap * q) / det, b = (q - overlap * p) / det;
        good = good && a >= 0.5 - 1e-5 && b >= 0.5 - 1e-5;
        for (int64_t j = 0; j < 16; j++)
            good = good &&
                   fabs(row[j] - a * (double)g.values[j] - b * (double)g.values[16 + j]) < 1e-5;
    }
    ck_agree(good);
    free(x.values);
    free(g.values);
}
END_TEST

START_TEST(test_noise)
{
    orth_synth_options options = usual();
    options.active = 0;
    options.noise = 0.25;
    options.tokens = 1000;
    table x = read_table(write_world("noise.h5", options), "activations");
    double mean = 0, square = 0;
    for (int64_t i = 0; i < x.rows * x.width; i++) {
        mean += x.values[i] / 16000;
        square += (double)x.values[i] * (double)x.values[i] / 16000;
    }
    ck_agree(fabs(mean) < 0.01 && fabs(sqrt(square) - 0.25) < 0.01);
    free(x.values);
}
END_TEST

/* What each rank writes alone equals what all write together; another seed gives other tokens; the
 * 16-bit types are roundings of the same values. */
START_TEST(test_ranks_and_types)
{
    orth_synth_options options = usual();
    options.active = 3;
    options.noise = 0.1;
    table all = read_table(write_world("world.h5", options), "activations");
    char path[256];
    snprintf(path, sizeof path, "%s/self-%d.h5", orth_check_folder(), rank);
    ck_agree(orth_synth_write(path, &options, MPI_COMM_SELF) == ORTH_OK);
    orth_dataset *dataset = NULL;
    const char *files[] = {path};
    ck_agree(orth_dataset_open(files, 1, "activations", MPI_COMM_SELF, &dataset) == ORTH_OK);
    float row[16];
    bool equal = true;
    for (int64_t i = 0; i < all.rows; i++)
        equal = equal && orth_dataset_read(dataset, &i, 1, row) == ORTH_OK &&
                !memcmp(row, all.values + 16 * i, sizeof row);
    ck_agree(equal);
    orth_dataset_close(dataset);

    const struct {
        orth_h5_type type;
        float unit;
    } narrow[] = {{ORTH_H5_FLOAT16, 0x1p-11f}, {ORTH_H5_BFLOAT16, 0x1p-8f}};
    for (int t = 0; t < 2; t++) {
        options.type = narrow[t].type;
        table half = read_table(write_world("half.h5", options), "activations");
        bool close = true;
        for (int64_t i = 0; i < half.rows * half.width; i++)
            close = close && fabsf(half.values[i] - all.values[i]) <=
                                 fabsf(all.values[i]) * narrow[t].unit + 0x1p-25f;
        ck_agree(close);
        free(half.values);
    }
    options = usual();
    options.seed = 4;
    table other = read_table(write_world("other.h5", options), "activations");
    ck_agree(memcmp(other.values, all.values, 16 * sizeof *all.values) != 0);
    free(other.values);
    free(all.values);
}
END_TEST

START_TEST(test_refusals)
{
    orth_synth_options options = usual();
    options.active = 13;
    ck_agree(orth_synth_write("/tmp/never.h5", &options, MPI_COMM_WORLD) == ORTH_ERR_USAGE);
    ck_agree(strstr(orth_error_text(), "active 13"));
    orth_error_clear();
    options = usual();
    options.tokens = 0;
    ck_agree(orth_synth_write("/tmp/never.h5", &options, MPI_COMM_WORLD) == ORTH_ERR_USAGE);
    options = usual();
    options.noise = NAN;
    ck_agree(orth_synth_write("/tmp/never.h5", &options, MPI_COMM_WORLD) == ORTH_ERR_USAGE);
    ck_agree(access("/tmp/never.h5", F_OK) != 0);
    orth_error_clear();
    orth_h5_type type = ORTH_H5_OTHER;
    ck_agree(orth_synth_type("bf16", &type) == ORTH_OK && type == ORTH_H5_BFLOAT16);
    ck_agree(orth_synth_type("int8", &type) == ORTH_ERR_USAGE && type == ORTH_H5_BFLOAT16);
    ck_agree(strstr(orth_error_text(), "'int8'") && strstr(orth_error_text(), "bfloat16"));
    orth_error_clear();
    options = usual();
    ck_agree(orth_synth_write("/no/folder/x.h5", &options, MPI_COMM_WORLD) == ORTH_ERR_STORAGE);
    orth_error_clear();
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("synth");
    TCase *tests = tcase_create("all");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, find_rank, NULL);
    tcase_add_test(tests, test_one_latent);
    tcase_add_test(tests, test_all_latents);
    tcase_add_test(tests, test_noise);
    tcase_add_test(tests, test_ranks_and_types);
    tcase_add_test(tests, test_refusals);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
