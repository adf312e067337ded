/* The gradient of one step, and the values that it reports, against central differences of a dense
 * loss in double. With beta1 = 0, decoder_norm none and no clip the first moment is the gradient.
 * ranks: 1 2 3 4 */
#include "check_mpi.h"
#include "rig.h"
#include "slope.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A loss and a selection, and what is special about the tokens. */
typedef struct problem {
    const char *name;
    orth_recipe recipe; ///< fields that differ from rig_recipe; 0: its default
    bool idle;          ///< some latents have not fired for long
    bool gaps;          ///< tokens of weight zero, and one that is zero
    bool dead_wanted;
    int64_t period; ///< one latent in so many is weak
} problem;

#define TOPK .selection = ORTH_SELECT_TOPK
#define TOPAFA .selection = ORTH_SELECT_TOPAFA
#define BATCHTOPK .selection = ORTH_SELECT_BATCHTOPK
#define AUX_GAO .aux = ORTH_AUX_GAO, .aux_coefficient = 0.5, .aux_k = 3, .dead = ORTH_DEAD_TOKENS
#define AUX_TOPAFA                                                                                 \
    .aux = ORTH_AUX_TOPAFA, .aux_coefficient = 0.5, .aux_k = 3, .dead = ORTH_DEAD_BATCHES
#define AUX_NONE .aux = ORTH_AUX_NONE, .aux_k = 3, .dead = ORTH_DEAD_BATCHES

static const problem problems[] = {
    {"mse", {TOPK, .k = 3, .loss = ORTH_LOSS_MSE, AUX_NONE}, false, false, false, 4},
    {"mse_scaled", {TOPK, .k = 3, .loss = ORTH_LOSS_MSE_SCALED, AUX_NONE}, false, true, false, 4},
    {"normalised", {TOPK, .k = 3, .loss = ORTH_LOSS_NORMALISED, AUX_NONE}, false, true, false, 4},
    {"gao", {TOPK, .k = 2, .loss = ORTH_LOSS_MSE_SCALED, AUX_GAO}, true, false, true, 4},
    {"gao, gaps", {TOPK, .k = 2, .loss = ORTH_LOSS_MSE, AUX_GAO}, true, true, true, 4},
    {"gao, none dead", {TOPK, .k = 2, .loss = ORTH_LOSS_MSE, AUX_GAO}, false, false, false, 4},
    {"topafa aux", {TOPK, .k = 2, .loss = ORTH_LOSS_MSE, AUX_TOPAFA}, true, true, true, 4},
    {"topafa aux, none dead",
     {TOPK, .k = 2, .loss = ORTH_LOSS_MSE, AUX_TOPAFA},
     false,
     false,
     false,
     4},
    {"topk, afa",
     {TOPK, .k = 4, .loss = ORTH_LOSS_MSE, .afa_coefficient = 0.3, AUX_NONE},
     0,
     1,
     0,
     4},
    {"topk, afa, gao",
     {TOPK, .k = 4, .loss = ORTH_LOSS_NORMALISED, .afa_coefficient = 0.3, AUX_GAO},
     true,
     true,
     true,
     4},
    {"topafa",
     {TOPAFA, .loss = ORTH_LOSS_MSE, .afa_coefficient = 0.3, AUX_TOPAFA},
     true,
     true,
     true,
     4},
    {"topafa raw",
     {TOPAFA, .target = ORTH_TARGET_RAW, .loss = ORTH_LOSS_MSE, .afa_coefficient = 0.3, AUX_GAO},
     true,
     false,
     true,
     4},
    {"batchtopk",
     {BATCHTOPK, .k = 2, .loss = ORTH_LOSS_MSE, .afa_coefficient = 0.3, AUX_TOPAFA},
     true,
     true,
     true,
     4},
    {"multi-topk",
     {TOPK, .k = 2, .multi_k = 4, .loss = ORTH_LOSS_MSE_SCALED, AUX_GAO},
     true,
     true,
     true,
     4},
    {"multi-topk, afa",
     {TOPK, .k = 3, .multi_k = 100, .loss = ORTH_LOSS_NORMALISED, .afa_coefficient = 0.3,
      AUX_TOPAFA},
     true,
     false,
     true,
     4},
    /* At most an eighth of the latents is dead on every rank; on some; on some with tokens of no
     * weight; one latent, so that most ranks have none. */
    {"few dead", {TOPK, .k = 2, .loss = ORTH_LOSS_MSE, AUX_GAO}, true, false, true, 16},
    {"few dead, topafa",
     {TOPAFA, .loss = ORTH_LOSS_MSE, .afa_coefficient = 0.3, AUX_TOPAFA},
     true,
     true,
     true,
     16},
    {"few dead, multi-topk",
     {TOPK, .k = 2, .multi_k = 4, .loss = ORTH_LOSS_MSE_SCALED, AUX_TOPAFA},
     true,
     false,
     true,
     16},
    {"few dead here and there",
     {TOPK, .k = 2, .loss = ORTH_LOSS_MSE, AUX_GAO},
     true,
     true,
     true,
     8},
    {"one dead", {TOPK, .k = 2, .loss = ORTH_LOSS_MSE, AUX_TOPAFA}, true, false, true, 37},
    {"all latents",
     {TOPK, .k = 38, .loss = ORTH_LOSS_MSE, .afa_coefficient = 0.1, AUX_NONE},
     0,
     0,
     0,
     4},
};
enum { N_PROBLEM = sizeof problems / sizeof *problems, N_LATENT = 38, WIDTH = 9, TOKENS = 13 };

static orth_recipe recipe_of(const problem *q, const plain *p)
{
    orth_recipe r = rig_recipe(p);
    r.selection = q->recipe.selection;
    r.target = q->recipe.target;
    r.loss = q->recipe.loss;
    r.multi_k = q->recipe.multi_k;
    r.aux = q->recipe.aux;
    r.aux_coefficient = q->recipe.aux_coefficient;
    r.aux_k = q->recipe.aux_k;
    r.dead = q->recipe.dead;
    r.afa_coefficient = q->recipe.afa_coefficient;
    r.k = q->recipe.k ? q->recipe.k : 1;
    r.beta1 = 0.0;
    return r;
}

/* Some latents are weak, so that they rarely fire, and have been so for long. */
static bool weak(const problem *q, int64_t latent)
{
    return latent % q->period == 1;
}

static plain make_plain(const problem *q, int64_t seed)
{
    plain p = plain_create(N_LATENT, WIDTH, TOKENS);
    plain_random(&p, seed);
    for (int64_t i = 0; i < p.n; i++)
        for (int64_t j = 0; weak(q, i) && j < p.d; j++) {
            p.W_enc[i * p.d + j] *= 0.05f;
            p.b_enc[i] = 0.02f;
        }
    if (q->gaps) {
        p.valid[2] = p.valid[TOKENS - 1] = false;
        memset(p.x + 5 * p.d, 0, (size_t)p.d * sizeof *p.x);
    }
    plain_encode(&p);
    return p;
}

/* |a - b| / |b| of the own part of one array of the gradient, over all ranks. */
static double distance(const float *own, const double *wanted, orth_range part)
{
    double sums[2] = {0.0, 0.0};
    for (int64_t i = part.begin; i < part.end; i++) {
        sums[0] += pow((double)own[i - part.begin] - wanted[i], 2.0);
        sums[1] += wanted[i] * wanted[i];
    }
    MPI_Allreduce(MPI_IN_PLACE, sums, 2, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    return sqrt(sums[0]) / fmax(sqrt(sums[1]), 1e-6);
}

static void check_gradient(const rig *r, const plain *p, const double *wanted, const char *name)
{
    const orth_params *g = &r->sae.moment1;
    int64_t size = p->n * p->d;
    orth_range own = r->sae.own, entries = {r->sae.part.begin * p->d, r->sae.part.end * p->d};
    double off[4] = {distance(g->W_enc, wanted, entries),
                     distance(g->W_dec, wanted + size, entries),
                     distance(g->b_enc, wanted + 2 * size, own),
                     distance(g->b_dec, wanted + 2 * size + p->n, (orth_range){0, p->d})};
    char text[200];
    for (int i = 0; i < 4; i++) {
        snprintf(text, sizeof text, "%s: gradient of %s is off by %.2g", name,
                 (const char *[]){"W_enc", "W_dec", "b_enc", "b_dec"}[i], off[i]);
        orth_check_agree(off[i] < 2e-6, text, __FILE__, __LINE__);
    }
}

static bool close_to(double value, double wanted)
{
    return fabs(value - wanted) <= 2e-6 * fabs(wanted) + 1e-12;
}

static void check_report(const orth_step_report *report, const plain *p, const slope *s,
                         const double *gradient, const char *name)
{
    slope_terms terms = slope_loss(p, s);
    double square = 0.0;
    for (int64_t i = 0; i < slope_size(p); i++)
        square += gradient[i] * gradient[i];
    const double pairs[][2] = {
        {report->terms.mse, terms.mse},    {report->terms.aux, terms.aux},
        {report->terms.afa, terms.afa},    {report->loss, terms.mse + terms.aux + terms.afa},
        {report->l0, slope_l0(p, s)},      {(double)report->n_dead, (double)s->n_dead},
        {report->grad_norm, sqrt(square)}, {report->fvu, slope_fvu(p, s)}};
    char text[200];
    for (int i = 0; i < 8; i++) {
        snprintf(text, sizeof text, "%s: report %d: %.9g, wanted %.9g", name, i, pairs[i][0],
                 pairs[i][1]);
        orth_check_agree(close_to(pairs[i][0], pairs[i][1]), text, __FILE__, __LINE__);
    }
}

/* A model that has made one step. */
static void step_once(const problem *q, const plain *p, const slope *s, int n_group, int n_shard,
                      bool compact, rig *r, orth_step_report *report)
{
    rig_open(p, s->recipe, n_group, n_shard, r);
    r->sae.mse_scale = s->mse_scale;
    for (int64_t i = r->sae.own.begin; i < r->sae.own.end; i++)
        r->sae.steps_since_fired[i - r->sae.own.begin] = q->idle && weak(q, i) ? 100 : 1;
    if (!compact)
        r->workspace.compact.capacity = -1;
    rig_load(p, r);
    orth_step_options options = {.rate = 1e-3, .fvu = true};
    ck_agree(orth_step(&r->sae, &r->workspace, &options, NULL, report) == ORTH_OK);
}

static bool same(const float *a, const float *b, int64_t n)
{
    return memcmp(a, b, (size_t)n * sizeof *a) == 0;
}

/* Dead latents taken out of the dictionary, or not, are the same bits. */
static void check_compact(const problem *q, const plain *p, const slope *s, const rig *r)
{
    rig other;
    orth_step_report report;
    bool few = r->workspace.dead.n_own <= orth_range_size(r->sae.own) / ORTH_COMPACT_SHARE;
    step_once(q, p, s, r->grid.n_group, r->grid.n_shard, false, &other, &report);
    const orth_params *a = &r->sae.moment1, *b = &other.sae.moment1;
    int64_t n = orth_range_size(r->sae.own), part = orth_range_size(r->sae.part) * p->d;
    if (s->n_dead > 0 && s->recipe->aux != ORTH_AUX_NONE)
        ck_agree(r->workspace.compact.used == few && !other.workspace.compact.used);
    ck_agree(same(a->W_enc, b->W_enc, part) && same(a->W_dec, b->W_dec, part));
    ck_agree(same(a->b_enc, b->b_enc, n) && same(a->b_dec, b->b_dec, p->d));
    rig_close(&other);
}

static void check_grid(const problem *q, const plain *p, const slope *s, const double *gradient,
                       int n_group, int n_shard)
{
    rig r;
    orth_step_report report;
    char name[100];
    snprintf(name, sizeof name, "%s on %d x %d", q->name, n_group, n_shard);
    step_once(q, p, s, n_group, n_shard, true, &r, &report);
    check_gradient(&r, p, gradient, name);
    check_report(&report, p, s, gradient, name);
    check_compact(q, p, s, &r);
    rig_close(&r);
}

START_TEST(gradients_are_slopes_of_the_loss)
{
    int size;
    const problem *q = problems + _i;
    plain p = make_plain(q, 1000 + 17 * _i);
    orth_recipe recipe = recipe_of(q, &p);
    bool idle[N_LATENT];
    slope s;
    double *gradient = calloc((size_t)slope_size(&p), sizeof *gradient);
    for (int64_t i = 0; i < p.n; i++)
        idle[i] = q->idle && weak(q, i);
    slope_begin(&p, &recipe, recipe.loss == ORTH_LOSS_MSE_SCALED ? 2.5 : 1.0, idle, &s);
    ck_agree((s.n_dead > 0) == q->dead_wanted);
    slope_gradient(&p, &s, gradient);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int n_group = 1; n_group <= size; n_group++)
        if (size % n_group == 0)
            check_grid(q, &p, &s, gradient, n_group, size / n_group);
    free(gradient);
    slope_end(&s);
    plain_free(&p);
}
END_TEST

/* AuxK of Gao: a target that is the same for every token has variance 0, so value 0, no gradient.
 */
START_TEST(aux_without_variance_is_nothing)
{
    int size;
    rig r;
    orth_step_report report;
    plain p = plain_create(6, 4, 5);
    plain_random(&p, 3);
    for (int64_t t = 1; t < p.n_token; t++)
        memcpy(p.x + t * p.d, p.x, (size_t)p.d * sizeof *p.x);
    plain_encode(&p);
    orth_recipe recipe = rig_recipe(&p);
    recipe.aux = ORTH_AUX_GAO;
    recipe.aux_coefficient = 0.5;
    recipe.beta1 = 0.0;
    slope s;
    double *gradient = calloc((size_t)slope_size(&p), sizeof *gradient);
    slope_begin(&p, &recipe, 1.0, NULL, &s);
    s.variance = 0.0;
    slope_gradient(&p, &s, gradient);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    rig_open(&p, &recipe, size, 1, &r);
    rig_load(&p, &r);
    orth_step_options options = {.rate = 1e-3};
    ck_agree(orth_step(&r.sae, &r.workspace, &options, NULL, &report) == ORTH_OK);
    ck_agree(report.terms.aux == 0.0);
    check_gradient(&r, &p, gradient, "no variance");
    rig_close(&r);
    free(gradient);
    slope_end(&s);
    plain_free(&p);
}
END_TEST

/* model.b_enc false: b_enc stays zero and is in no norm. */
START_TEST(unused_bias_stays_zero)
{
    int size;
    rig r;
    orth_step_report report;
    plain p = plain_create(N_LATENT, WIDTH, TOKENS);
    plain_random(&p, 4);
    memset(p.b_enc, 0, (size_t)p.n * sizeof *p.b_enc);
    plain_encode(&p);
    orth_recipe recipe = rig_recipe(&p);
    recipe.k = 3;
    recipe.b_enc = false;
    slope s;
    double *gradient = calloc((size_t)slope_size(&p), sizeof *gradient), square = 0.0;
    slope_begin(&p, &recipe, 1.0, NULL, &s);
    slope_gradient(&p, &s, gradient);
    int64_t bias = 2 * p.n * p.d;
    for (int64_t i = 0; i < slope_size(&p); i++)
        square += i >= bias && i < bias + p.n ? 0.0 : gradient[i] * gradient[i];
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    rig_open(&p, &recipe, 1, size, &r);
    rig_load(&p, &r);
    orth_step_options options = {.rate = 1e-3};
    ck_agree(orth_step(&r.sae, &r.workspace, &options, NULL, &report) == ORTH_OK);
    ck_agree(close_to(report.grad_norm, sqrt(square)));
    bool zero = true;
    for (int64_t i = 0; i < orth_range_size(r.sae.own); i++)
        zero = zero && r.sae.weights.b_enc[i] == 0.0f && r.sae.moment1.b_enc[i] == 0.0f;
    ck_agree(zero);
    rig_close(&r);
    free(gradient);
    slope_end(&s);
    plain_free(&p);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("gradient");
    TCase *cases = tcase_create("gradient");
    tcase_set_timeout(cases, 0);
    tcase_add_loop_test(cases, gradients_are_slopes_of_the_loss, 0, N_PROBLEM);
    tcase_add_test(cases, aux_without_variance_is_nothing);
    tcase_add_test(cases, unused_bias_stays_zero);
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
