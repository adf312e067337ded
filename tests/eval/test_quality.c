/* Every figure of orth_quality against a plain computation in double from the codes, and the same
 * on every grid.
 * ranks: 1 2 3 4
 */
#include "check_mpi.h"

#include <orthant/base/random.h>
#include <orthant/eval/quality.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { D = 24, N = 70, ROWS = 203, BATCH = 64 };

/* Far from 0 in every coordinate, so that sums of squares about 0 would lose the variance. */
static float value_of(int64_t row, int64_t column)
{
    double noise = orth_random_normal(3, ORTH_RANDOM_TEST, (uint64_t)row, (uint64_t)column);
    return (float)(40.0 + 10.0 * sin((double)column) + noise);
}

static bool is_valid(int64_t row)
{
    return row % 17 != 5;
}

static float weight_of(uint64_t which, int64_t i, int64_t j)
{
    return (float)(0.3 *
                   orth_random_normal(which, ORTH_RANDOM_TEST, (uint64_t)(1000 + i), (uint64_t)j));
}

/* b_dec is near the tokens, as it is after training; one latent never fires. */
static void make_model(const orth_grid *grid, orth_selection_kind selection, orth_sae *out)
{
    orth_recipe recipe = {.n_latent = N, .selection = selection, .k = 6, .aux_k = 1};
    ck_agree(orth_sae_create(grid, &recipe, D, false, out) == ORTH_OK);
    for (int64_t i = out->own.begin; i < out->own.end; i++) {
        int64_t row = i - out->own.begin;
        out->weights.b_enc[row] = i == 13 ? -1e6f : weight_of(9, i, D);
        for (int64_t j = 0; j < D; j++) {
            out->weights.W_enc[row * D + j] = weight_of(10, i, j);
            out->weights.W_dec[row * D + j] = weight_of(11, i, j);
        }
    }
    for (int64_t j = 0; j < D; j++)
        out->weights.b_dec[j] = (float)(40.0 + 10.0 * sin((double)j) + 0.2 * cos((double)j));
}

static void place_batch(const orth_sae *sae, orth_workspace *w, int64_t first, int64_t size)
{
    bool *valid;
    float *x = orth_workspace_rows(w, sae, size, &valid);
    orth_range part = orth_grid_reads(sae->grid, size);
    for (int64_t t = part.begin; t < part.end; t++) {
        valid[t - part.begin] = is_valid(first + t);
        for (int64_t j = 0; j < D; j++)
            x[(t - part.begin) * D + j] = is_valid(first + t) ? value_of(first + t, j) : 0.0f;
    }
}

/* Dense codes of the whole table, where one rank has all of it. */
static void take_codes(const orth_workspace *w, int64_t first, double *codes)
{
    for (int64_t t = 0; codes && t < w->code.n_token; t++)
        for (int64_t e = w->code.start[t]; e < w->code.start[t + 1]; e++)
            codes[(first + t) * N + w->code.latent[e]] = (double)w->code.value[e];
}

static double eps_max; ///< of the model's directions, the bias's among them

static void evaluate(const orth_sae *sae, double *codes, orth_quality *out)
{
    orth_workspace w;
    orth_quality_sums *sums = NULL;
    ck_agree(orth_workspace_create(sae, BATCH, false, &w) == ORTH_OK);
    ck_agree(orth_quality_begin(sae, ROWS, BATCH, eps_max, &sums) == ORTH_OK);
    for (int64_t first = 0; first < ROWS; first += BATCH) {
        int64_t size = ROWS - first < BATCH ? ROWS - first : BATCH;
        place_batch(sae, &w, first, size);
        ck_agree(orth_forward(sae, size, &w, NULL) == ORTH_OK);
        ck_agree(orth_quality_add(sums, sae, &w, first) == ORTH_OK);
        take_codes(&w, first, codes);
    }
    ck_agree(orth_quality_finish(sums, sae, out) == ORTH_OK);
    orth_quality_free(sums);
    orth_workspace_free(&w);
}

/* ---- the plain computation ---- */

typedef struct plain {
    double mse, nmse, fvu, cosine, afa, l0, elbo_mean, description_length;
    double elbo[ROWS];
    double l0_of[ROWS];
    double z[ROWS], f[ROWS];
    double largest; ///< ratio of quasi-orthogonality
    int64_t tokens, dead, l0_max, within, within_wide;
} plain;

static double square(double v)
{
    return v * v;
}

/* |W_dec,i|^2 in double. */
static double decoder_square(const orth_sae *sae, int64_t i)
{
    double sum = 0.0;
    for (int64_t j = 0; j < D; j++)
        sum += square((double)sae->weights.W_dec[i * D + j]);
    return sum;
}

/* The largest |cos| of two of the n + 1 directions; *bias: of one and the bias. */
static double plain_eps(const orth_sae *sae, double *bias)
{
    double most = 0.0;
    *bias = 0.0;
    for (int64_t i = 0; i <= N; i++)
        for (int64_t k = 0; k < i && k < N; k++) {
            const float *a = i < N ? sae->weights.W_dec + i * D : sae->weights.b_dec;
            const float *b = sae->weights.W_dec + k * D;
            double ab = 0.0, aa = 0.0, bb = 0.0;
            for (int64_t j = 0; j < D; j++) {
                ab += (double)a[j] * (double)b[j];
                aa += (double)a[j] * (double)a[j];
                bb += (double)b[j] * (double)b[j];
            }
            most = fmax(most, fabs(ab) / sqrt(aa * bb));
            *bias = i == N ? fmax(*bias, fabs(ab) / sqrt(aa * bb)) : *bias;
        }
    return most;
}

static void add_plain_quasi(plain *p, double x2, double h2, double s2, double s1)
{
    double pairs = s1 * s1 - s2;
    p->largest = fmax(p->largest, fabs(h2 - s2) / pairs);
    p->within += fabs(x2 - s2) <= eps_max * pairs;
    p->within_wide += fabs(x2 - s2) <= eps_max * N * s2;
}

static void add_plain(const orth_sae *sae, const double *f, int64_t row, plain *p)
{
    double r2 = 0.0, x2 = 0.0, h2 = 0.0, xh = 0.0, f2 = 0.0, s2 = 0.0, s1 = 0.0, l0 = 0.0;
    for (int64_t j = 0; j < D; j++) {
        double x = (double)value_of(row, j), h = (double)sae->weights.b_dec[j];
        s2 += h * h;
        for (int64_t i = 0; i < N; i++)
            h += f[i] * (double)sae->weights.W_dec[i * D + j];
        r2 += square(h - x);
        x2 += x * x;
        h2 += h * h;
        xh += x * h;
    }
    s1 = sqrt(s2);
    for (int64_t i = 0; i < N; i++) {
        f2 += f[i] * f[i];
        s2 += f[i] * f[i] * decoder_square(sae, i);
        s1 += f[i] * sqrt(decoder_square(sae, i));
        l0 += f[i] > 0.0;
    }
    int64_t t = p->tokens++;
    p->mse += r2;
    p->nmse += r2 / x2;
    p->cosine += xh / sqrt(x2 * h2);
    p->afa += square(sqrt(f2) - sqrt(x2));
    p->l0 += l0;
    p->l0_max = (int64_t)l0 > p->l0_max ? (int64_t)l0 : p->l0_max;
    p->l0_of[t] = l0;
    p->elbo[t] = fabs(x2 - s2) / ((N - 1) * s2);
    p->elbo_mean += p->elbo[t];
    p->z[t] = sqrt(x2);
    p->f[t] = sqrt(s2);
    add_plain_quasi(p, x2, h2, s2, s1);
}

static double plain_variance(int64_t tokens)
{
    double variance = 0.0;
    for (int64_t j = 0; j < D; j++) {
        double mean = 0.0;
        for (int64_t t = 0; t < ROWS; t++)
            mean += is_valid(t) ? (double)value_of(t, j) / (double)tokens : 0.0;
        for (int64_t t = 0; t < ROWS; t++)
            variance += is_valid(t) ? square((double)value_of(t, j) - mean) : 0.0;
    }
    return variance;
}

static void compute_plain(const orth_sae *sae, const double *codes, plain *p)
{
    memset(p, 0, sizeof *p);
    for (int64_t t = 0; t < ROWS; t++)
        if (is_valid(t))
            add_plain(sae, codes + t * N, t, p);
    double tokens = (double)p->tokens;
    p->fvu = p->mse / plain_variance(p->tokens);
    p->mse /= tokens * D;
    double *means[] = {&p->nmse, &p->cosine, &p->afa, &p->l0, &p->elbo_mean};
    for (size_t i = 0; i < sizeof means / sizeof *means; i++)
        *means[i] /= tokens;
    p->description_length = p->l0 * (7.0 + log2(N));
    for (int64_t i = 0; i < N; i++) {
        bool fired = false;
        for (int64_t t = 0; t < ROWS; t++)
            fired = fired || codes[t * N + i] > 0.0;
        p->dead += !fired;
    }
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* numpy's linear interpolation; sorts. */
static double quantile(double *values, int64_t n, double share)
{
    qsort(values, (size_t)n, sizeof *values, ascending);
    double place = share * (double)(n - 1);
    int64_t below = (int64_t)floor(place), above = (int64_t)ceil(place);
    return values[below] + (place - floor(place)) * (values[above] - values[below]);
}

static bool near(double found, double wanted, double tolerance)
{
    bool good = fabs(found - wanted) <= tolerance * fabs(wanted);
    if (!good)
        fprintf(stderr, "found %.17g, wanted %.17g\n", found, wanted);
    return good;
}

static int64_t total_of(const orth_histogram *histogram)
{
    int64_t total = 0;
    for (int64_t i = 0; i < histogram->bins; i++)
        total += histogram->counts[i];
    return total;
}

/* |z| against |f~|. */
static void compare_norms(const orth_quality *q, const plain *p)
{
    static const double eps[] = {0.25, 0.5, 1.0};
    int64_t over = 0, above[3] = {0}, below[3] = {0};
    for (int64_t t = 0; t < p->tokens; t++) {
        over += p->f[t] > p->z[t];
        for (int i = 0; i < 3; i++) {
            above[i] += p->f[t] > p->z[t] / sqrt(1.0 - eps[i]);
            below[i] += p->f[t] < p->z[t] / sqrt(1.0 + eps[i]);
        }
    }
    ck_agree(q->zf_counts.over == over && q->zf_counts.under == p->tokens - over);
    ck_agree(!memcmp(q->zf_counts.above, above, sizeof above));
    ck_agree(!memcmp(q->zf_counts.below, below, sizeof below));
    ck_agree(q->quasi.violations == 0 && q->quasi.eps == eps_max && p->largest <= eps_max);
    ck_agree(near(q->quasi.largest, p->largest, 1e-5));
    ck_agree(q->quasi.within == p->within && q->quasi.within_wide == p->within_wide);
}

/* Decoding is fp32: figures of the residual are that exact. */
static void compare_plain(const orth_quality *q, plain *p)
{
    ck_agree(q->tokens == p->tokens && q->tokens == ROWS - 12);
    ck_agree(near(q->mse, p->mse, 1e-6));
    ck_agree(near(q->nmse, p->nmse, 1e-6));
    ck_agree(near(q->fvu, p->fvu, 1e-6));
    ck_agree(near(q->cosine, p->cosine, 1e-7));
    ck_agree(near(q->afa, p->afa, 1e-9));
    ck_agree(near(q->l0, p->l0, 1e-14));
    ck_agree(near(q->description_length, p->description_length, 1e-14));
    ck_agree(q->dead == p->dead && q->rare == p->dead && p->dead >= 1);
    ck_agree(q->l0_max == p->l0_max);
    ck_agree(q->zf.count == p->tokens);
    for (int64_t t = 0; t < q->zf.count; t++)
        ck_agree(near(q->zf.z[t], p->z[t], 1e-12) && near(q->zf.f[t], p->f[t], 1e-12));
    ck_agree(near(q->l0_p5, quantile(p->l0_of, p->tokens, 0.05), 1e-14));
    ck_agree(near(q->l0_p50, quantile(p->l0_of, p->tokens, 0.5), 1e-14));
    ck_agree(near(q->l0_p95, quantile(p->l0_of, p->tokens, 0.95), 1e-14));
    ck_agree(near(q->elbo_mean, p->elbo_mean, 1e-9));
    ck_agree(near(q->elbo_median, quantile(p->elbo, p->tokens, 0.5), 1e-9));
    ck_agree(near(q->elbo_q25, quantile(p->elbo, p->tokens, 0.25), 1e-9));
    ck_agree(near(q->elbo_q75, quantile(p->elbo, p->tokens, 0.75), 1e-9));
    ck_agree(q->elbo_undefined == 0);
    compare_norms(q, p);
    ck_agree(total_of(&q->l0_histogram) == p->tokens);
    ck_agree(total_of(&q->elbo_histogram) == p->tokens);
    ck_agree(total_of(&q->frequency) == N - p->dead);
}

static void compare_grids(const orth_quality *a, const orth_quality *b)
{
    const double pairs[][2] = {
        {a->mse, b->mse},           {a->nmse, b->nmse},         {a->fvu, b->fvu},
        {a->cosine, b->cosine},     {a->afa, b->afa},           {a->elbo_median, b->elbo_median},
        {a->elbo_q25, b->elbo_q25}, {a->elbo_q75, b->elbo_q75}, {a->elbo_mean, b->elbo_mean},
    };
    /* The first four see x_hat, whose fp32 sums over shards differ between grids. */
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        ck_agree(near(pairs[i][0], pairs[i][1], i < 4 ? 1e-6 : 1e-10));
    ck_agree(a->tokens == b->tokens && a->dead == b->dead && a->rare == b->rare);
    ck_agree(a->l0 == b->l0 && a->l0_max == b->l0_max && a->l0_p5 == b->l0_p5);
    ck_agree(a->frequency.bins == b->frequency.bins);
    ck_agree(!memcmp(a->frequency.counts, b->frequency.counts,
                     (size_t)a->frequency.bins * sizeof *a->frequency.counts));
    ck_agree(!memcmp(a->l0_histogram.counts, b->l0_histogram.counts,
                     (size_t)a->l0_histogram.bins * sizeof *a->l0_histogram.counts));
    ck_agree(!memcmp(&a->zf_counts, &b->zf_counts, sizeof a->zf_counts));
    ck_agree(a->quasi.violations == b->quasi.violations && a->quasi.within == b->quasi.within);
    ck_agree(near(a->quasi.largest, b->quasi.largest, 1e-5));
    ck_agree(a->zf.count == b->zf.count);
    for (int64_t i = 0; i < a->zf.count; i++)
        ck_agree(a->zf.z[i] == b->zf.z[i] && near(a->zf.f[i], b->zf.f[i], 1e-13));
}

static void check_selection(orth_selection_kind selection)
{
    static double codes[ROWS * N];
    static plain p;
    orth_grid alone, grid;
    orth_sae sae;
    orth_quality reference, found;
    double bias, cosine;
    int size;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    memset(codes, 0, sizeof codes);
    ck_agree(orth_grid_create(MPI_COMM_SELF, 1, 1, &alone) == ORTH_OK);
    make_model(&alone, selection, &sae);
    eps_max = plain_eps(&sae, &bias);
    evaluate(&sae, codes, &reference);
    compute_plain(&sae, codes, &p);
    compare_plain(&reference, &p);
    orth_sae_free(&sae);
    for (int groups = 1; groups <= size; groups++) {
        if (size % groups)
            continue;
        ck_agree(orth_grid_create(MPI_COMM_WORLD, groups, size / groups, &grid) == ORTH_OK);
        make_model(&grid, selection, &sae);
        ck_agree(orth_bias_coherence(&sae, &cosine) == ORTH_OK);
        ck_agree(near(cosine, bias, 1e-12));
        evaluate(&sae, NULL, &found);
        compare_grids(&found, &reference);
        orth_quality_clear(&found);
        orth_sae_free(&sae);
        orth_grid_free(&grid);
    }
    orth_quality_clear(&reference);
    orth_grid_free(&alone);
}

START_TEST(topk)
{
    check_selection(ORTH_SELECT_TOPK);
}
END_TEST

START_TEST(topafa)
{
    check_selection(ORTH_SELECT_TOPAFA);
}
END_TEST

/* What a smaller eps_max than the model's is caught by. */
START_TEST(violations)
{
    orth_quasi quasi = orth_quasi_begin(0.1), none = orth_quasi_begin(NAN);
    /* Two entries of 1: |f~|_2^2 = 2, |f~|_1^2 - |f~|_2^2 = 2. */
    orth_quasi_add(&quasi, 9, 2.0, 2.19, 2.0, 2.0);
    orth_quasi_add(&quasi, 9, 2.21, 2.21, 2.0, 2.0);
    orth_quasi_add(&quasi, 9, 5.0, 1.79, 2.0, 2.0);
    orth_quasi_add(&quasi, 9, 5.0, 2.0, 2.0, 2.0);
    orth_quasi_add(&none, 9, 5.0, 1.0, 2.0, 2.0);
    /* One entry: nothing but rounding can differ. */
    orth_quasi_add(&quasi, 9, 1.0, 1.0 + 1e-7, 1.0, 1.0);
    ck_agree(quasi.violations == 2 && quasi.within == 2 && quasi.within_wide == 3);
    ck_agree(near(quasi.largest, 0.105, 1e-12));
    ck_agree(none.violations == 0 && near(none.largest, 0.5, 1e-12));
    /* A second entry of 1e-4: what rounding adds asks for no larger eps_max. */
    orth_quasi weak = orth_quasi_begin(0.1);
    orth_quasi_add(&weak, 9, 1.0, 1.0 + 0.1 * 2e-4 + 3e-7, 1.0 + 1e-8, 1.0 + 1e-4);
    ck_agree(weak.violations == 0 && weak.within == 1 && weak.largest == 0.1);
    /* Values that overflowed are within nothing. */
    orth_quasi_add(&weak, 9, INFINITY, INFINITY, INFINITY, INFINITY);
    orth_quasi_add(&weak, 9, NAN, NAN, 2.0, 2.0);
    ck_agree(weak.violations == 0 && weak.within == 1 && weak.within_wide == 1);
    ck_agree(weak.largest == 0.1);
}
END_TEST

START_TEST(batchtopk)
{
    check_selection(ORTH_SELECT_BATCHTOPK);
}
END_TEST

/* Nothing to divide by: no token, no norm, no variance. */
START_TEST(nothing)
{
    orth_grid grid;
    orth_sae sae;
    orth_workspace w;
    orth_quality_sums *sums;
    orth_quality quality = {0};
    int size;
    bool *valid;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    ck_agree(orth_grid_create(MPI_COMM_WORLD, 1, size, &grid) == ORTH_OK);
    make_model(&grid, ORTH_SELECT_TOPK, &sae);
    memset(sae.weights.b_dec, 0, D * sizeof *sae.weights.b_dec);
    memset(sae.weights.b_enc, 0, (size_t)orth_range_size(sae.own) * sizeof *sae.weights.b_enc);
    ck_agree(orth_workspace_create(&sae, 5, false, &w) == ORTH_OK);
    for (int pass = 0; pass < 2; pass++) {
        ck_agree(orth_quality_begin(&sae, 5, 5, NAN, &sums) == ORTH_OK);
        float *x = orth_workspace_rows(&w, &sae, 5, &valid);
        for (int64_t t = 0; t < orth_range_size(orth_grid_reads(&grid, 5)); t++) {
            valid[t] = pass == 1;
            memset(x + t * D, 0, D * sizeof *x);
        }
        ck_agree(orth_forward(&sae, 5, &w, NULL) == ORTH_OK);
        ck_agree(orth_quality_add(sums, &sae, &w, 0) == ORTH_OK);
        orth_status status = orth_quality_finish(sums, &sae, &quality);
        ck_agree(status == (pass == 0 ? ORTH_ERR_DATA : ORTH_OK));
        orth_error_clear();
        orth_quality_free(sums);
    }
    ck_agree(quality.tokens == 5 && quality.mse == 0.0 && isnan(quality.nmse));
    ck_agree(isnan(quality.fvu) && isnan(quality.cosine) && isnan(quality.elbo_median));
    ck_agree(quality.elbo_undefined == 5 && quality.dead == N && quality.l0 == 0.0);
    orth_quality_clear(&quality);
    orth_workspace_free(&w);
    orth_sae_free(&sae);
    orth_grid_free(&grid);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("quality");
    TCase *tests = tcase_create("quality");
    tcase_add_test(tests, topk);
    tcase_add_test(tests, topafa);
    tcase_add_test(tests, batchtopk);
    tcase_add_test(tests, violations);
    tcase_add_test(tests, nothing);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
