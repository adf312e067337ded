/* eLBO and ZF counts of models and tokens made to the |z|^2, |f~|^2 and n that were published for
 * public SAEs, against the authors' notebook evaluated in double (tests/golden/elbo.py).
 * ranks: 1 3
 */
#include "check_mpi.h"

#include <orthant/eval/quality.h>
#include <orthant/eval/zf.h>

#include <jansson.h>
#include <math.h>
#include <string.h>

/* Axis 0 is the decoder bias's, axes 1 to 3 are the latents', 4 and 5 complete |z|. */
enum { D = 6, FIRED = 3 };

static const float BIAS = 1.5f, ENCODER = 8.0f, DECODER = 0.5f;

typedef struct published {
    const json_t *figures;
    int64_t n_latent, tokens;
} published;

static double number(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    ck_agree(json_is_number(value));
    return json_number_value(value);
}

/* The sets of tokens, or the lines, of the fixture; json_decref(*file) when done. */
static const json_t *fixture(const char *name, json_t **file)
{
    *file = json_load_file(ORTH_TEST_GOLDEN "/elbo.json", 0, NULL);
    ck_agree(*file != NULL);
    return json_object_get(*file, name);
}

static double element(const json_t *object, const char *name, int64_t i)
{
    return json_number_value(json_array_get(json_object_get(object, name), (size_t)i));
}

static void make_model(const orth_grid *grid, int64_t n_latent, orth_sae *sae)
{
    orth_recipe recipe = {
        .n_latent = n_latent, .selection = ORTH_SELECT_TOPK, .k = FIRED, .aux_k = 1};
    ck_agree(orth_sae_create(grid, &recipe, D, false, sae) == ORTH_OK);
    sae->weights.b_dec[0] = BIAS;
    /* The latents that fire lie in different shards. */
    for (int64_t i = 0; i < FIRED; i++) {
        int64_t latent = i * (n_latent - 1) / (FIRED - 1) - sae->own.begin;
        if (latent < 0 || latent >= orth_range_size(sae->own))
            continue;
        sae->weights.W_enc[latent * D + i + 1] = ENCODER;
        sae->weights.W_dec[latent * D + i + 1] = DECODER;
    }
}

/* Floats on some axes whose squares add up to `square` to 12 digits and more: each leaves a small
 * rest to the next. */
static void complete(double square, const int *axes, int count, float *x)
{
    for (int i = 0; i < count; i++) {
        x[axes[i]] = (float)(sqrt(square) * (i + 1 < count ? 0.9999 : 1.0));
        square = fmax(0.0, square - (double)x[axes[i]] * (double)x[axes[i]]);
    }
}

static void make_token(double ztz, double ftf, float *x)
{
    static const int latents[] = {1, 2, 3}, others[] = {0, 4, 5};
    double factor = (double)ENCODER * (double)DECODER, square = ztz;
    memset(x, 0, D * sizeof *x);
    complete((ftf - (double)BIAS * (double)BIAS) / (factor * factor), latents, 3, x);
    for (int i = 1; i <= FIRED; i++)
        square -= (double)x[i] * (double)x[i];
    complete(square, others, 3, x);
}

static void evaluate(const published *p, const orth_grid *grid, orth_quality *out)
{
    orth_sae sae;
    orth_workspace w;
    orth_quality_sums *sums = NULL;
    bool *valid;
    make_model(grid, p->n_latent, &sae);
    ck_agree(orth_workspace_create(&sae, p->tokens, false, &w) == ORTH_OK);
    ck_agree(orth_quality_begin(&sae, p->tokens, p->tokens, 0.0, &sums) == ORTH_OK);
    float *x = orth_workspace_rows(&w, &sae, p->tokens, &valid);
    orth_range part = orth_grid_reads(grid, p->tokens);
    for (int64_t t = part.begin; t < part.end; t++) {
        make_token(element(p->figures, "ztz", t), element(p->figures, "ftf", t),
                   x + (t - part.begin) * D);
        valid[t - part.begin] = true;
    }
    ck_agree(orth_forward(&sae, p->tokens, &w, NULL) == ORTH_OK);
    ck_agree(orth_quality_add(sums, &sae, &w, 0) == ORTH_OK);
    ck_agree(orth_quality_finish(sums, &sae, out) == ORTH_OK);
    orth_quality_free(sums);
    orth_workspace_free(&w);
    orth_sae_free(&sae);
}

static void near(double found, double wanted, double tolerance, const char *what)
{
    bool good = fabs(found - wanted) <= tolerance * fabs(wanted);
    if (!good)
        fprintf(stderr, "%s: found %.17g, wanted %.17g\n", what, found, wanted);
    ck_agree(good);
}

static void compare(const published *p, const orth_quality *q)
{
    const json_t *f = p->figures;
    ck_agree(q->tokens == p->tokens && q->elbo_undefined == 0 && q->zf.count == p->tokens);
    near(q->elbo_median, number(f, "median"), 1e-6, "median");
    near(q->elbo_q25, number(f, "q25"), 1e-6, "q25");
    near(q->elbo_q75, number(f, "q75"), 1e-6, "q75");
    near(q->elbo_mean, number(f, "mean"), 1e-6, "mean");
    for (int64_t t = 0; t < p->tokens; t++) {
        near(q->zf.z[t] * q->zf.z[t], element(f, "ztz", t), 1e-10, "ztz");
        near(q->zf.f[t] * q->zf.f[t], element(f, "ftf", t), 1e-10, "ftf");
    }
    ck_agree(q->zf_counts.over == (int64_t)number(f, "over"));
    ck_agree(q->zf_counts.under == (int64_t)number(f, "under"));
    for (int i = 0; i < ORTH_ZF_BOUNDS; i++)
        ck_agree(p->tokens - q->zf_counts.above[i] - q->zf_counts.below[i] ==
                 (int64_t)element(f, "within", i));
    /* All directions are orthogonal: |x_hat| = |f~| to rounding, and eps_max = 0 holds. */
    ck_agree(q->quasi.violations == 0);
    ck_agree(q->l0 == FIRED);
}

START_TEST(published_statistics)
{
    json_t *file;
    const json_t *sets = fixture("sets", &file);
    orth_grid grid;
    int size;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    ck_agree(json_array_size(sets) == 2 + 12 + 25 + 1 + 10);
    ck_agree(orth_grid_create(MPI_COMM_WORLD, 1, size, &grid) == ORTH_OK);
    for (size_t i = 0; i < json_array_size(sets); i++) {
        published p = {.figures = json_array_get(sets, i)};
        orth_quality quality;
        p.n_latent = (int64_t)number(p.figures, "n_latent");
        p.tokens = (int64_t)json_array_size(json_object_get(p.figures, "ztz"));
        evaluate(&p, &grid, &quality);
        compare(&p, &quality);
        orth_quality_clear(&quality);
    }
    orth_grid_free(&grid);
    json_decref(file);
}
END_TEST

START_TEST(published_lines)
{
    json_t *file;
    const json_t *lines = fixture("lines", &file);
    ck_agree(json_array_size(lines) == ORTH_ZF_BOUNDS);
    for (int i = 0; i < ORTH_ZF_BOUNDS; i++) {
        const json_t *line = json_array_get(lines, (size_t)i);
        double lower, upper;
        ck_agree(number(line, "e") == orth_zf_eps[i]);
        orth_zf_bounds(orth_zf_eps[i], &lower, &upper);
        near(lower, number(line, "lower"), 1e-15, "lower");
        /* The notebook draws infinity with a slope of 999. */
        if (orth_zf_eps[i] < 1.0)
            near(upper, number(line, "upper"), 1e-15, "upper");
        else
            ck_agree(isinf(upper) && number(line, "upper") == 999.0);
    }
    json_decref(file);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("elbo");
    TCase *tests = tcase_create("elbo");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, published_statistics);
    tcase_add_test(tests, published_lines);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
