/* Input normalisations against formulas in double, and the batch: its exchange, norms and centring.
 * ranks: 1 2 3 4 */
#include "check_mpi.h"
#include "rig.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 37, ROWS = 9 };

/* Ordinary rows; a constant one, a zero one, a large and a tiny one. */
static void fill_rows(float *x)
{
    static const double sizes[] = {1.0, 1.0, 1.0, 0.0, 0.0, 1e4, 1e-5, 1.0, 30.0};
    for (int64_t i = 0; i < ROWS; i++)
        for (int64_t j = 0; j < WIDTH; j++)
            x[i * WIDTH + j] = (float)(sizes[i] * (plain_uniform(2, i * WIDTH + j) + 0.3)) +
                               (i == 3 ? 1.5f : 0.0f);
}

static void exact_row(orth_input_norm kind, double scale, const float *x, int64_t d, double *out)
{
    double mean = 0.0, square = 0.0, factor = 1.0;
    for (int64_t j = 0; j < d; j++)
        mean += (double)x[j]; /* exact for equal values */
    mean /= (double)d;
    for (int64_t j = 0; j < d; j++)
        square += pow((double)x[j] - mean, 2.0);
    if (kind == ORTH_INPUT_NONE || kind == ORTH_INPUT_SCALE)
        mean = 0.0;
    if (kind == ORTH_INPUT_SCALE)
        factor = scale;
    if (kind == ORTH_INPUT_LAYERNORM)
        factor = 1.0 / (sqrt(square / (double)(d - 1)) + 1e-5);
    if (kind == ORTH_INPUT_UNIT)
        factor = square > 0.0 ? 1.0 / sqrt(square) : 0.0;
    for (int64_t j = 0; j < d; j++)
        out[j] = ((double)x[j] - mean) * factor;
}

START_TEST(rows_are_normalised)
{
    static float x[ROWS * WIDTH], y[ROWS * WIDTH], z[ROWS * WIDTH];
    double wanted[WIDTH];
    fill_rows(x);
    memcpy(y, x, sizeof x);
    orth_input_normalise((orth_input_norm)_i, 0.7, ROWS, WIDTH, y);
    for (int64_t i = 0; i < ROWS; i++) {
        double worst = 0.0, largest = 1e-30;
        exact_row((orth_input_norm)_i, 0.7, x + i * WIDTH, WIDTH, wanted);
        for (int64_t j = 0; j < WIDTH; j++) {
            worst = fmax(worst, fabs((double)y[i * WIDTH + j] - wanted[j]));
            largest = fmax(largest, fabs(wanted[j]));
        }
        ck_assert_double_lt(worst / largest, 1e-6);
        /* A row's result depends on nothing else. */
        memcpy(z, x, sizeof x);
        orth_input_normalise((orth_input_norm)_i, 0.7, 1, WIDTH, z + i * WIDTH);
        ck_assert(memcmp(z + i * WIDTH, y + i * WIDTH, WIDTH * sizeof *y) == 0);
    }
    if (_i == ORTH_INPUT_NONE)
        ck_assert(memcmp(x, y, sizeof x) == 0);
}
END_TEST

START_TEST(rows_that_vary_in_nothing)
{
    float x[3 * WIDTH] = {0};
    for (int64_t j = 0; j < WIDTH; j++)
        x[WIDTH + j] = 2.0f;
    for (int kind = ORTH_INPUT_LAYERNORM; kind <= ORTH_INPUT_UNIT; kind++) {
        float y[2 * WIDTH];
        memcpy(y, x, sizeof y);
        orth_input_normalise((orth_input_norm)kind, 1.0, 2, WIDTH, y);
        for (int64_t j = 0; j < 2 * WIDTH; j++)
            ck_assert(y[j] == 0.0f);
        /* One value a row: its own mean. */
        float one[2] = {5.0f, -3.0f};
        orth_input_normalise((orth_input_norm)kind, 1.0, 2, 1, one);
        ck_assert(one[0] == 0.0f && one[1] == 0.0f);
    }
}
END_TEST

/* After the exchange every rank of a group has the group's tokens, in order. */
static void check_batch(const plain *p, int n_group, int n_shard, int64_t n_nonzero)
{
    rig r;
    orth_recipe recipe = rig_recipe(p);
    rig_open(p, &recipe, n_group, n_shard, &r);
    orth_batch *batch = &r.workspace.batch;
    rig_load(p, &r);
    ck_agree(orth_batch_exchange(&r.grid, p->n_token, p->b_dec, p->d, batch) == ORTH_OK);
    orth_range tokens = orth_grid_tokens(&r.grid, p->n_token);
    orth_range reads = orth_grid_reads(&r.grid, p->n_token);
    int64_t n = orth_range_size(tokens);
    ck_agree(batch->n_token == n && batch->first_token == tokens.begin);
    ck_agree(batch->n_valid == plain_n_valid(p) && batch->n_nonzero == n_nonzero);
    ck_agree(tokens.begin + batch->part.begin == reads.begin &&
             tokens.begin + batch->part.end == reads.end);
    ck_agree(memcmp(batch->valid, p->valid + tokens.begin, (size_t)n) == 0);
    bool right = true;
    for (int64_t t = 0; t < n; t++)
        right = right && fabs(batch->norm[t] - p->norm[tokens.begin + t]) <= 1e-14 * batch->norm[t];
    for (int64_t t = 0; t < n; t++) {
        int64_t token = tokens.begin + t;
        double wanted = p->valid[token] ? p->norm_centred[token] : 0.0;
        right = right && fabs(batch->norm_centred[t] - wanted) <= 1e-14 * wanted;
        for (int64_t j = 0; j < p->d; j++) {
            float centred = p->valid[token] ? p->x[token * p->d + j] - p->b_dec[j] : 0.0f;
            right = right && batch->x[t * p->d + j] == centred;
        }
    }
    ck_agree(right);
    rig_close(&r);
}

START_TEST(batches_are_completed)
{
    static const int64_t counts[] = {1, 2, 5, 16};
    int size;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int c = 0; c < 4; c++) {
        plain p = plain_create(5, 7, counts[c]);
        plain_random(&p, 8);
        int64_t n_nonzero = counts[c];
        if (counts[c] == 16) {
            p.valid[0] = p.valid[9] = false;
            memset(p.x + 9 * p.d, 0, (size_t)p.d * sizeof(float));
            memset(p.x + 3 * p.d, 0, (size_t)p.d * sizeof(float));
            n_nonzero = 13; /* 16 less the two of weight zero less one zero token */
        }
        plain_encode(&p);
        for (int n_group = 1; n_group <= size; n_group++)
            if (size % n_group == 0)
                check_batch(&p, n_group, size / n_group, n_nonzero);
        plain_free(&p);
    }
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("input");
    TCase *cases = tcase_create("input");
    tcase_add_loop_test(cases, rows_are_normalised, ORTH_INPUT_NONE, ORTH_INPUT_SCALE + 1);
    tcase_add_test(cases, rows_that_vary_in_nothing);
    tcase_add_test(cases, batches_are_completed);
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
