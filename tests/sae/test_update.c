/* What follows the gradient: projection, clip, Adam, EMA in each recipe's order, and the learning
 * rate, against RECIPES.md in double with the gradient from central differences.
 * ranks: 1 3 4 */
#include "check_mpi.h"
#include "rig.h"
#include "slope.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_LATENT = 14, WIDTH = 5, TOKENS = 9, STEPS = 4 };

/* Parameters in the order of slope.h, in double: before a step, and what is wanted after it. */
typedef struct expected {
    double *w;     ///< weights that Adam starts from (W_dec normalised)
    double *g;     ///< gradient after projection and clip
    double *m, *v; ///< moments
    double *e;     ///< averages
    double norm;   ///< at the place of the clip
} expected;

static double *doubles(int64_t count)
{
    double *block = calloc((size_t)count, sizeof *block);
    ck_assert_ptr_nonnull(block);
    return block;
}

static expected expected_create(int64_t size)
{
    return (expected){doubles(size), doubles(size), doubles(size), doubles(size), doubles(size), 0};
}

static void expected_free(expected *x)
{
    double *blocks[] = {x->w, x->g, x->m, x->v, x->e};
    for (int i = 0; i < 5; i++)
        free(blocks[i]);
}

static void copy_weights(const plain *p, double *to)
{
    const float *from[] = {p->W_enc, p->W_dec, p->b_enc, p->b_dec};
    int64_t counts[] = {p->n * p->d, p->n * p->d, p->n, p->d};
    for (int a = 0; a < 4; a++)
        for (int64_t i = 0; i < counts[a]; i++)
            *to++ = (double)from[a][i];
}

static void normalise_rows(const plain *p, double *w)
{
    double *W_dec = w + p->n * p->d;
    for (int64_t i = 0; i < p->n; i++) {
        double square = 0.0;
        for (int64_t j = 0; j < p->d; j++)
            square += W_dec[i * p->d + j] * W_dec[i * p->d + j];
        for (int64_t j = 0; j < p->d && square > 0.0; j++)
            W_dec[i * p->d + j] /= sqrt(square);
    }
}

static void project_rows(const plain *p, const double *w, double *g)
{
    const double *W_dec = w + p->n * p->d;
    double *g_dec = g + p->n * p->d;
    for (int64_t i = 0; i < p->n; i++) {
        double along = 0.0;
        for (int64_t j = 0; j < p->d; j++)
            along += g_dec[i * p->d + j] * W_dec[i * p->d + j];
        for (int64_t j = 0; j < p->d; j++)
            g_dec[i * p->d + j] -= along * W_dec[i * p->d + j];
    }
}

static double clip(double limit, double extra, double *g, int64_t size)
{
    double square = 0.0;
    for (int64_t i = 0; i < size; i++)
        square += g[i] * g[i];
    double norm = sqrt(square), factor = limit / (norm + extra);
    for (int64_t i = 0; i < size && limit > 0.0 && factor < 1.0; i++)
        g[i] *= factor;
    return norm;
}

/* One update of `x` up to Adam's moments, at p's weights. */
static void expect(const plain *p, const slope *s, expected *x)
{
    const orth_recipe *r = s->recipe;
    int64_t size = slope_size(p);
    slope_gradient(p, s, x->g);
    copy_weights(p, x->w);
    if (r->decoder != ORTH_DECODER_NONE)
        normalise_rows(p, x->w);
    if (r->decoder == ORTH_DECODER_GAO)
        project_rows(p, x->w, x->g);
    x->norm = clip(r->clip, r->decoder == ORTH_DECODER_GAO ? 0.0 : 1e-6, x->g, size);
    if (r->decoder == ORTH_DECODER_TOPAFA)
        project_rows(p, x->w, x->g);
    for (int64_t i = 0; i < size; i++) {
        x->e[i] = r->ema * x->e[i] + (1.0 - r->ema) * x->w[i];
        x->m[i] = r->beta1 * x->m[i] + (1.0 - r->beta1) * x->g[i];
        x->v[i] = r->beta2 * x->v[i] + (1.0 - r->beta2) * x->g[i] * x->g[i];
    }
}

/* Where a rank has the rows of its part in an array of parameters. */
static int64_t place_of_part(const rig *r, const orth_params *params)
{
    return params == &r->sae.weights ? (r->sae.part.begin - r->sae.own.begin) * r->sae.d_model : 0;
}

/* The own part of an array of parameters against doubles, |a - b| / |b| over this rank. */
static double off(const rig *r, const plain *p, const orth_params *own, const double *wanted)
{
    int64_t size = p->n * p->d, first = r->sae.own.begin, n = orth_range_size(r->sae.own);
    int64_t begin = r->sae.part.begin * p->d, count = orth_range_size(r->sae.part) * p->d;
    int64_t place = place_of_part(r, own);
    const float *arrays[] = {own->W_enc + place, own->W_dec + place, own->b_enc, own->b_dec};
    const double *from[] = {wanted + begin, wanted + size + begin, wanted + 2 * size + first,
                            wanted + 2 * size + p->n};
    int64_t counts[] = {count, count, n, p->d};
    double worst = 0.0;
    for (int a = 0; a < 4; a++) {
        double sums[2] = {0.0, 0.0};
        for (int64_t i = 0; i < counts[a]; i++) {
            sums[0] += pow((double)arrays[a][i] - from[a][i], 2.0);
            sums[1] += from[a][i] * from[a][i];
        }
        worst = fmax(worst, sqrt(sums[0]) / fmax(sqrt(sums[1]), 1e-9));
    }
    return worst;
}

/* Whether the peers have the first one's bits in their shard. */
static bool peers_agree(const rig *r, const plain *p)
{
    const orth_params *w = &r->sae.weights;
    int64_t n = orth_range_size(r->sae.own);
    const float *arrays[] = {w->W_enc, w->W_dec, w->b_enc, w->b_dec};
    int64_t counts[] = {n * p->d, n * p->d, n, p->d};
    float *first = calloc((size_t)(p->n * p->d + p->d), sizeof *first);
    bool same = first != NULL;
    for (int a = 0; a < 4 && same; a++) {
        memcpy(first, arrays[a], (size_t)counts[a] * sizeof *first);
        MPI_Bcast(first, (int)counts[a], MPI_FLOAT, 0, r->grid.peers);
        same = memcmp(first, arrays[a], (size_t)counts[a] * sizeof *first) == 0;
        MPI_Allreduce(MPI_IN_PLACE, &same, 1, MPI_C_BOOL, MPI_LAND, r->grid.peers);
    }
    free(first);
    return same;
}

/* What decides whether a gradient is held must not differ: ranks would wait for each other. */
static bool equal_everywhere(double value)
{
    double ends[2] = {value, -value};
    MPI_Allreduce(MPI_IN_PLACE, ends, 2, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    return ends[0] == -ends[1];
}

/* Adam's step from the moments that the program has itself: its error is not that of the gradient,
 * which a division by a small sqrt(v) would magnify. */
static void expect_weights(const rig *r, const plain *p, double rate, expected *x)
{
    const orth_params *m = &r->sae.moment1, *v = &r->sae.moment2;
    const orth_recipe *recipe = &r->sae.recipe;
    int64_t size = p->n * p->d, first = r->sae.own.begin, n = orth_range_size(r->sae.own);
    int64_t begin = r->sae.part.begin * p->d, count = orth_range_size(r->sae.part) * p->d;
    const float *ms[] = {m->W_enc, m->W_dec, m->b_enc, m->b_dec};
    const float *vs[] = {v->W_enc, v->W_dec, v->b_enc, v->b_dec};
    double *ws[] = {x->w + begin, x->w + size + begin, x->w + 2 * size + first,
                    x->w + 2 * size + p->n};
    int64_t counts[] = {count, count, n, p->d};
    double t = (double)r->sae.step;
    for (int a = 0; a < 4; a++)
        for (int64_t i = 0; i < counts[a]; i++)
            ws[a][i] -= rate * ((double)ms[a][i] / (1.0 - pow(recipe->beta1, t))) /
                        (sqrt((double)vs[a][i] / (1.0 - pow(recipe->beta2, t))) + recipe->eps);
}

static void check_steps(const orth_recipe *recipe, double mse_scale, int n_group, int n_shard,
                        const char *name)
{
    rig r;
    plain p = plain_create(N_LATENT, WIDTH, TOKENS);
    plain_random(&p, 77);
    memset(p.W_dec + 3 * p.d, 0, (size_t)p.d * sizeof *p.W_dec); /* a zero row is left alone */
    expected x = expected_create(slope_size(&p));
    char text[200];
    rig_open(&p, recipe, n_group, n_shard, &r);
    r.sae.mse_scale = mse_scale;
    for (int step = 1; step <= STEPS; step++) {
        slope s;
        orth_step_report report;
        double rate = 1e-2 / step;
        for (int64_t j = 0; j < p.n_token * p.d; j++)
            p.x[j] = (float)plain_uniform(step, j);
        rig_gather(&r, &p);
        plain_encode(&p);
        slope_begin(&p, recipe, mse_scale, NULL, &s);
        expect(&p, &s, &x);
        rig_load(&p, &r);
        orth_step_options options = {.rate = rate};
        ck_agree(orth_step(&r.sae, &r.workspace, &options, NULL, &report) == ORTH_OK);
        ck_agree(peers_agree(&r, &p));
        expect_weights(&r, &p, rate, &x);
        ck_agree(recipe->clip == 0.0 || r.workspace.bound >= report.grad_norm);
        ck_agree(equal_everywhere(r.workspace.bound) && equal_everywhere(report.grad_norm));
        double offs[] = {fabs(report.grad_norm / x.norm - 1.0), off(&r, &p, &r.sae.moment1, x.m),
                         off(&r, &p, &r.sae.moment2, x.v), off(&r, &p, &r.sae.weights, x.w),
                         recipe->ema > 0.0 ? off(&r, &p, &r.sae.average, x.e) : 0.0};
        snprintf(text, sizeof text, "%s, step %d: norm %.1e, m %.1e, v %.1e, w %.1e, ema %.1e",
                 name, step, offs[0], offs[1], offs[2], offs[3], offs[4]);
        orth_check_agree(offs[0] < 2e-6 && offs[1] < 4e-6 && offs[2] < 8e-6 && offs[3] < 3e-7 &&
                             offs[4] < 3e-7 && r.sae.step == step,
                         text, __FILE__, __LINE__);
        slope_end(&s);
    }
    expected_free(&x);
    plain_free(&p);
    rig_close(&r);
}

static void check_grids(const orth_recipe *recipe, double mse_scale, const char *name)
{
    int size;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int n_group = 1; n_group <= size; n_group++)
        if (size % n_group == 0)
            check_steps(recipe, mse_scale, n_group, size / n_group, name);
}

static const char *const decoder_names[] = {"gao", "topafa", "none"};

START_TEST(updates_follow_the_recipes)
{
    static const double clips[] = {0.0, 1e5, 0.05};
    plain p = plain_create(N_LATENT, WIDTH, TOKENS);
    for (int c = 0; c < 3; c++)
        for (int ema = 0; ema < 2; ema++) {
            orth_recipe recipe = rig_recipe(&p);
            char name[80];
            recipe.k = 4;
            recipe.decoder = (orth_decoder_norm)_i;
            recipe.clip = clips[c];
            recipe.ema = ema ? 0.9 : 0.0;
            recipe.eps = c == 2 ? 6.25e-10 : 1e-3;
            recipe.beta2 = ema ? 0.99 : 0.999;
            snprintf(name, sizeof name, "%s, clip %g, ema %g", decoder_names[_i], recipe.clip,
                     recipe.ema);
            check_grids(&recipe, 1.0, name);
        }
    plain_free(&p);
}
END_TEST

/* Where the gradient is of the order of 1e-6, the 1e-6 that the top-AFA code adds to its norm
 * shows. */
START_TEST(the_clip_of_small_gradients)
{
    plain p = plain_create(N_LATENT, WIDTH, TOKENS);
    orth_recipe recipe = rig_recipe(&p);
    recipe.k = 4;
    recipe.decoder = (orth_decoder_norm)_i;
    recipe.loss = ORTH_LOSS_MSE_SCALED;
    recipe.clip = 1e-7;
    check_grids(&recipe, 2e-6, decoder_names[_i]);
    plain_free(&p);
}
END_TEST

/* What a few steps leave behind. */
typedef struct outcome {
    rig r;
    double norm;
    bool held;
} outcome;

static void run_steps(const plain *p, const orth_recipe *recipe, int n_group, int threads,
                      outcome *out)
{
    int size;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    omp_set_num_threads(threads);
    rig_open(p, recipe, n_group, size / n_group, &out->r);
    for (int step = 0; step < 2; step++) {
        orth_step_report report;
        orth_step_options options = {.rate = 1e-2};
        rig_load(p, &out->r);
        ck_agree(orth_step(&out->r.sae, &out->r.workspace, &options, NULL, &report) == ORTH_OK);
        out->norm = step == 0 ? report.grad_norm : fmax(out->norm, report.grad_norm);
    }
    const float *held = out->r.workspace.learner.held.W_dec;
    int64_t count = held ? orth_range_size(out->r.sae.part) * p->d : 0;
    out->held = false;
    for (int64_t j = 0; j < count; j++)
        out->held = out->held || held[j] != 0.0f;
    omp_set_num_threads(1);
}

static bool same_params(const orth_sae *sae, const orth_params *a, const orth_params *b)
{
    orth_range held = a == &sae->weights ? sae->own : sae->part;
    size_t rows = (size_t)orth_range_size(held), n_own = (size_t)orth_range_size(sae->own);
    size_t d = (size_t)sae->d_model, f = sizeof(float);
    return memcmp(a->W_enc, b->W_enc, rows * d * f) == 0 &&
           memcmp(a->W_dec, b->W_dec, rows * d * f) == 0 &&
           memcmp(a->b_enc, b->b_enc, n_own * f) == 0 && memcmp(a->b_dec, b->b_dec, d * f) == 0;
}

static bool same_outcome(const outcome *a, const outcome *b)
{
    const orth_sae *x = &a->r.sae, *y = &b->r.sae;
    return a->norm == b->norm && same_params(x, &x->weights, &y->weights) &&
           same_params(x, &x->moment1, &y->moment1) && same_params(x, &x->moment2, &y->moment2) &&
           (x->recipe.ema == 0.0 || same_params(x, &x->average, &y->average));
}

/* Chunks updated at once, and a gradient that is held for its norm, give the same bits when the
 * clip does not bind; so does any number of threads, also when it binds. */
static void check_passes(const plain *p, orth_recipe *recipe, int n_group)
{
    outcome once, again, held;
    double factors[] = {1.0 + 1e-6, 0.3};
    recipe->clip = 0.0;
    run_steps(p, recipe, n_group, 1, &once);
    recipe->clip = 1e5;
    for (int threads = 1; threads <= 3; threads++) {
        run_steps(p, recipe, n_group, threads, &again);
        ck_agree(!again.held && same_outcome(&once, &again));
        rig_close(&again.r);
    }
    for (int f = 0; f < 2; f++) {
        recipe->clip = once.norm * factors[f] + 1e-6;
        run_steps(p, recipe, n_group, 1, &held);
        ck_agree(held.held && same_outcome(&once, &held) == (f == 0));
        for (int threads = 2; threads <= 3; threads++) {
            run_steps(p, recipe, n_group, threads, &again);
            ck_agree(again.held && same_outcome(&held, &again));
            rig_close(&again.r);
        }
        rig_close(&held.r);
    }
    /* Nodes differ in their processors. */
    recipe->clip = 0.0;
    run_steps(p, recipe, n_group, 1 + 2 * (once.r.grid.group_index % 2), &again);
    ck_agree(same_outcome(&once, &again));
    rig_close(&again.r);
    rig_close(&once.r);
}

START_TEST(one_pass_and_a_held_gradient_agree)
{
    int size;
    plain p = plain_create(2300, 11, 40);
    plain_random(&p, 5);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int decoder = 0; decoder < 3; decoder++)
        for (int n_group = 1; n_group <= size; n_group *= 2) {
            orth_recipe recipe = rig_recipe(&p);
            recipe.k = 7;
            recipe.decoder = (orth_decoder_norm)decoder;
            recipe.ema = decoder == 1 ? 0.0 : 0.9;
            recipe.b_enc = decoder != 2;
            if (size % n_group == 0)
                check_passes(&p, &recipe, n_group);
        }
    plain_free(&p);
}
END_TEST

/* A latent without any gradient moves on by its moments. */
START_TEST(rows_without_gradient_move_too)
{
    int size;
    rig r;
    plain p = plain_create(8, 4, 6);
    plain_random(&p, 6);
    p.b_enc[5] = -100.0f;
    orth_recipe recipe = rig_recipe(&p);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    rig_open(&p, &recipe, size, 1, &r);
    int64_t first = (5 - r.sae.part.begin) * p.d;
    for (int64_t j = first; r.sae.part.begin <= 5 && 5 < r.sae.part.end && j < first + p.d; j++)
        r.sae.moment1.W_enc[j] = r.sae.moment2.W_enc[j] = 0.25f;
    orth_step_report report;
    orth_step_options options = {.rate = 1e-3};
    rig_load(&p, &r);
    ck_agree(orth_step(&r.sae, &r.workspace, &options, NULL, &report) == ORTH_OK);
    bool moved = true;
    for (int64_t j = 5 * p.d; j < 6 * p.d; j++) {
        double step = 1e-3 * (0.9 * 0.25 / 0.1) / (sqrt(0.999 * 0.25 / 0.001) + 1e-8);
        moved = moved && fabs((double)p.W_enc[j] - (double)r.sae.weights.W_enc[j] - step) <
                             1e-6 * step + 1e-7;
    }
    ck_agree(moved);
    rig_close(&r);
    plain_free(&p);
}
END_TEST

/* A loss that is not finite stops the step on every rank before a weight changes. */
START_TEST(a_loss_that_is_not_finite_changes_nothing)
{
    int size;
    rig r;
    plain p = plain_create(8, 4, 6);
    plain_random(&p, 6);
    orth_recipe recipe = rig_recipe(&p);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    int n_group = size == 4 ? 2 : 1;
    p.b_dec[1] = INFINITY;
    rig_open(&p, &recipe, n_group, size / n_group, &r);
    orth_step_report report;
    orth_step_options options = {.rate = 1e-3};
    rig_load(&p, &r);
    ck_agree(orth_step(&r.sae, &r.workspace, &options, NULL, &report) == ORTH_ERR_NONFINITE);
    ck_agree(strstr(orth_error_text(), "step 1: the loss is not finite") != NULL);
    orth_error_clear();
    size_t first = (size_t)(r.sae.own.begin * p.d), rows = (size_t)orth_range_size(r.sae.own);
    ck_agree(memcmp(r.sae.weights.W_enc, p.W_enc + first, rows * 4 * sizeof(float)) == 0);
    ck_agree(memcmp(r.sae.weights.W_dec, p.W_dec + first, rows * 4 * sizeof(float)) == 0);
    ck_agree(r.sae.step == 0);
    rig_close(&r);
    plain_free(&p);
}
END_TEST

START_TEST(the_learning_rate_rises_and_falls)
{
    orth_recipe recipe = {.lr = 2e-3};
    for (int64_t t = 1; t <= 100; t++)
        ck_agree(orth_learning_rate(&recipe, t, 100) == 2e-3);
    recipe.warmup = 8;
    for (int64_t t = 1; t <= 100; t++)
        ck_agree(fabs(orth_learning_rate(&recipe, t, 100) - 2e-3 * fmin(1.0, (double)t / 8)) <
                 1e-18);
    recipe.warmup = 0;
    recipe.decay = 0.2;
    /* The last 20 steps: linear, and 0 would come next. */
    for (int64_t t = 1; t <= 100; t++)
        ck_agree(fabs(orth_learning_rate(&recipe, t, 100) -
                      2e-3 * fmin(1.0, (double)(101 - t) / 20)) < 1e-18);
    ck_agree(orth_learning_rate(&recipe, 100, 100) > 0.0);
    recipe.warmup = 10;
    recipe.decay = 1.0;
    ck_agree(fabs(orth_learning_rate(&recipe, 5, 100) - 2e-3 * 0.5 * 0.96) < 1e-18);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("update");
    TCase *cases = tcase_create("update");
    tcase_set_timeout(cases, 0);
    tcase_add_loop_test(cases, updates_follow_the_recipes, 0, 3);
    tcase_add_loop_test(cases, the_clip_of_small_gradients, 0, 3);
    tcase_add_test(cases, one_pass_and_a_held_gradient_agree);
    tcase_add_test(cases, rows_without_gradient_move_too);
    tcase_add_test(cases, a_loss_that_is_not_finite_changes_nothing);
    tcase_add_test(cases, the_learning_rate_rises_and_falls);
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
