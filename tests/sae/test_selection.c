/* Every selection against a full sort of the dense pre-activations, on every grid, bit for bit.
 * ranks: 1 2 3 4
 * timeout: 240 */
#include "check_mpi.h"
#include "rig.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is special about a problem's values. */
typedef enum flavour {
    RANDOM,
    COARSE,     /* small integers: ties everywhere, within a token and between tokens */
    TWINS,      /* every third latent and every fourth token repeat the one before */
    ZEROS,      /* zero rows, tokens that equal b_dec (t = 0) */
    NEGATIVE,   /* few positive pre-activations, for some tokens none */
    POSITIVE,   /* all pre-activations positive: top-AFA's last sum counts as 1e8 */
    FAR,        /* |x - b_dec| around 1e4, where that 1e8 may win */
    WEIGHTLESS, /* tokens of weight zero */
    ASCENDING,  /* the strongest latents come last, so that candidates are pruned again and again */
    NARROW, /* all strengths within a few bits, half of them equal: top-AFA needs several rounds */
    FLAVOURS
} flavour;

static const char *const flavour_names[] = {"random",    "coarse",   "twins", "zeros",
                                            "negative",  "positive", "far",   "weightless",
                                            "ascending", "narrow"};

typedef struct sizes {
    int64_t n, d, n_token;
} sizes;

static void make_coarse(plain *p)
{
    for (int64_t i = 0; i < p->n * p->d; i++) {
        p->W_enc[i] = rintf(1.4f * p->W_enc[i]);
        p->W_dec[i] = rintf(1.4f * p->W_dec[i]);
    }
    for (int64_t i = 0; i < p->n; i++)
        p->b_enc[i] = rintf(5.0f * p->b_enc[i]);
    for (int64_t j = 0; j < p->d; j++)
        p->b_dec[j] = rintf(p->b_dec[j]);
    for (int64_t j = 0; j < p->n_token * p->d; j++)
        p->x[j] = rintf(p->x[j]);
}

static void make_twins(plain *p)
{
    size_t row = (size_t)p->d * sizeof(float);
    for (int64_t i = 2; i < p->n; i += 3) {
        memcpy(p->W_enc + i * p->d, p->W_enc + (i - 1) * p->d, row);
        memcpy(p->W_dec + i * p->d, p->W_dec + (i - 1) * p->d, row);
        p->b_enc[i] = p->b_enc[i - 1];
    }
    for (int64_t t = 3; t < p->n_token; t += 4)
        memcpy(p->x + t * p->d, p->x + (t - 1) * p->d, row);
}

static void make_zeros(plain *p)
{
    size_t row = (size_t)p->d * sizeof(float);
    for (int64_t i = 0; i < p->n; i += 2) {
        memset(p->W_enc + i * p->d, 0, row);
        p->b_enc[i] = i % 4 ? -0.0f : 0.0f;
    }
    for (int64_t i = 1; i < p->n; i += 6)
        memset(p->W_dec + i * p->d, 0, row);
    for (int64_t t = 0; t < p->n_token; t += 3)
        memcpy(p->x + t * p->d, p->b_dec, row);
}

static void scale_tokens(plain *p, const double *lengths, int64_t n_length)
{
    for (int64_t t = 0; t < p->n_token; t++) {
        double square = 0.0, length = lengths[t % n_length];
        float *x = p->x + t * p->d;
        for (int64_t j = 0; j < p->d; j++)
            square += (double)x[j] * (double)x[j];
        for (int64_t j = 0; j < p->d; j++)
            x[j] = (float)((double)x[j] * length / sqrt(square)) + p->b_dec[j];
    }
}

static void make_narrow(plain *p)
{
    for (int64_t i = 0; i < p->n; i++) {
        memset(p->W_enc + i * p->d, 0, (size_t)p->d * sizeof(float));
        memset(p->W_dec + i * p->d, 0, (size_t)p->d * sizeof(float));
        p->W_dec[i * p->d] = 1.0f;
        p->b_enc[i] = i % 2 ? 1.0f : 1.0f + (float)((i * 37) % 200) * 0x1p-22f;
    }
    static const double lengths[] = {1.0, 5.5, 12.0, 20.0, 100.0, 1e4};
    scale_tokens(p, lengths, 6);
}

/* Norms of the tokens below and above that of the whole code. */
static void make_positive(plain *p)
{
    for (int64_t i = 0; i < p->n * p->d; i++)
        p->W_enc[i] *= 0.01f;
    for (int64_t i = 0; i < p->n; i++)
        p->b_enc[i] += 9.0f;
    for (int64_t j = 0; j < p->n_token * p->d; j++)
        p->x[j] *= (float)exp2((double)((j / p->d) % 9)) * 0.25f;
}

static void set_flavour(plain *p, flavour kind)
{
    static const double far[] = {9000.0,  9990.0, 9999.9, 1e4,  10000.1, 10500.0,
                                 14142.0, 3e4,    1e6,    1e-3, 50.0,    1e-20};
    float shift = kind == NEGATIVE ? -4.0f : 0.0f;
    plain_random(p, 100 * kind + p->n);
    for (int64_t i = 0; i < p->n; i++)
        p->b_enc[i] += shift + (kind == ASCENDING ? 0.05f * (float)i : 0.0f);
    if (kind == POSITIVE)
        make_positive(p);
    if (kind == COARSE)
        make_coarse(p);
    if (kind == TWINS)
        make_twins(p);
    if (kind == ZEROS)
        make_zeros(p);
    if (kind == FAR)
        scale_tokens(p, far, 12);
    if (kind == NARROW)
        make_narrow(p);
    for (int64_t t = 0; kind == WEIGHTLESS && t < p->n_token; t++)
        p->valid[t] = t % 3 != 1 && t != p->n_token - 1;
    plain_encode(p);
    /* What equals its threshold stays out. */
    for (int64_t i = 2; i < p->n; i += 4)
        p->threshold[i] = fmaxf(0.0f, p->a[i]);
}

typedef struct expected {
    bool *mask;  /* what is selected */
    bool *multi; /* multi-topk's larger set */
    bool *aux;   /* the best of the latents that `dead` names */
    bool *dead;
} expected;

static bool is_dead(int64_t latent)
{
    return latent % 5 == 1 || latent % 7 == 0;
}

static expected expect(const plain *p, const orth_recipe *recipe)
{
    expected e = {plain_mask(p), plain_mask(p), plain_mask(p), malloc((size_t)p->n)};
    for (int64_t i = 0; i < p->n; i++)
        e.dead[i] = is_dead(i);
    if (recipe->selection == ORTH_SELECT_TOPK)
        plain_topk(p, recipe->k, NULL, e.mask);
    if (recipe->selection == ORTH_SELECT_TOPAFA)
        plain_topafa(p, recipe->target == ORTH_TARGET_CENTRED, e.mask);
    if (recipe->selection == ORTH_SELECT_BATCHTOPK)
        plain_batchtopk(p, recipe->k, e.mask);
    if (recipe->selection == ORTH_SELECT_JUMPRELU)
        plain_jumprelu(p, e.mask);
    plain_topk(p, recipe->k * recipe->multi_k, NULL, e.multi);
    plain_topk(p, recipe->aux_k, e.dead, e.aux);
    return e;
}

static void expected_free(expected *e)
{
    free(e->mask);
    free(e->multi);
    free(e->aux);
    free(e->dead);
}

/* AuxK's choice, over the dead latents of each rank. */
static orth_status select_aux(rig *r)
{
    orth_workspace *w = &r->workspace;
    int64_t count = 0;
    for (int64_t i = r->sae.own.begin; i < r->sae.own.end; i++)
        if (is_dead(i))
            w->dead.index[count++] = (uint32_t)(i - r->sae.own.begin);
    return orth_encode_select(&r->sae, &w->batch, w->dead.index, count, &w->encoder,
                              &w->aux_selection, NULL);
}

static void limit_block(orth_selection *selection, int64_t block)
{
    if (block && block < selection->candidates.block)
        selection->candidates.block = block;
}

/* One grid, one number of threads, one size of a block of tokens. */
static void check_program(const plain *p, const orth_recipe *recipe, const expected *e, int n_group,
                          int64_t block, const char *what)
{
    int size;
    rig r;
    char name[160];
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    snprintf(name, sizeof name, "%s, k %d: n %d, d %d, B %d, grid %d x %d, block %d", what,
             (int)recipe->k, (int)p->n, (int)p->d, (int)p->n_token, n_group, size / n_group,
             (int)block);
    rig_open(p, recipe, n_group, size / n_group, &r);
    limit_block(&r.workspace.selection, block);
    limit_block(&r.workspace.aux_selection, block);
    for (int repeat = 0; repeat < 2; repeat++) {
        rig_load(p, &r);
        if (repeat == 1 && block != 5) /* what evaluation does */
            orth_check_agree(orth_workspace_fix(&r.sae, &r.workspace) == ORTH_OK, name, __FILE__,
                             __LINE__);
        orth_check_agree(orth_forward(&r.sae, p->n_token, &r.workspace, NULL) == ORTH_OK, name,
                         __FILE__, __LINE__);
        orth_check_agree(rig_code_is(&r, &r.workspace.code, p, e->mask), name, __FILE__, __LINE__);
        if (recipe->multi_k)
            orth_check_agree(rig_code_is(&r, &r.workspace.multi_code, p, e->multi), name, __FILE__,
                             __LINE__);
        orth_check_agree(select_aux(&r) == ORTH_OK, name, __FILE__, __LINE__);
        orth_check_agree(rig_code_is(&r, &r.workspace.aux_code, p, e->aux), name, __FILE__,
                         __LINE__);
    }
    rig_close(&r);
}

static void check_everywhere(const plain *p, const orth_recipe *recipe, const char *what)
{
    static const int64_t blocks[] = {0, 5, 12};
    int size;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    expected e = expect(p, recipe);
    for (int n_group = 1; n_group <= size; n_group++)
        for (int b = 0; b < 3 && size % n_group == 0; b++) {
            omp_set_num_threads(b == 1 ? 3 : 1);
            if (b == 0 || p->n_token > blocks[b])
                check_program(p, recipe, &e, n_group, blocks[b], what);
        }
    omp_set_num_threads(1);
    expected_free(&e);
}

static const sizes all_sizes[] = {{1, 1, 1}, {2, 3, 4}, {37, 5, 11}, {130, 7, 2}, {300, 9, 29}};
enum { N_SIZES = sizeof all_sizes / sizeof *all_sizes };

/* Run `recipe_of` on every size and flavour for k = 1, 4 and n. */
static void check_all(void (*adjust)(orth_recipe *), const char *what)
{
    for (int s = 0; s < N_SIZES; s++)
        for (int kind = 0; kind < FLAVOURS; kind++) {
            plain p = plain_create(all_sizes[s].n, all_sizes[s].d, all_sizes[s].n_token);
            const int64_t ks[] = {1, 4, p.n};
            char name[64];
            set_flavour(&p, (flavour)kind);
            snprintf(name, sizeof name, "%s, %s", what, flavour_names[kind]);
            for (int i = 0; i < 3; i++) {
                orth_recipe recipe = rig_recipe(&p);
                recipe.k = ks[i] < p.n ? ks[i] : p.n;
                recipe.aux = ORTH_AUX_TOPAFA;
                recipe.aux_coefficient = 1.0;
                recipe.aux_k = i == 2 ? p.n : 3;
                adjust(&recipe);
                if (orth_selection_uses_k(recipe.selection) || i == 0)
                    check_everywhere(&p, &recipe, name);
            }
            plain_free(&p);
        }
}

static void as_topk(orth_recipe *recipe)
{
    recipe->selection = ORTH_SELECT_TOPK;
}

static void as_multi_topk(orth_recipe *recipe)
{
    recipe->multi_k = 4;
}

static void as_batchtopk(orth_recipe *recipe)
{
    recipe->selection = ORTH_SELECT_BATCHTOPK;
}

static void as_jumprelu(orth_recipe *recipe)
{
    recipe->selection = ORTH_SELECT_JUMPRELU;
}

static void as_topafa_centred(orth_recipe *recipe)
{
    recipe->selection = ORTH_SELECT_TOPAFA;
}

static void as_topafa_raw(orth_recipe *recipe)
{
    recipe->selection = ORTH_SELECT_TOPAFA;
    recipe->target = ORTH_TARGET_RAW;
}

START_TEST(topk)
{
    check_all(as_topk, "topk");
}
END_TEST

START_TEST(multi_topk)
{
    check_all(as_multi_topk, "multi-topk");
}
END_TEST

START_TEST(batchtopk)
{
    check_all(as_batchtopk, "batchtopk");
}
END_TEST

START_TEST(jumprelu)
{
    check_all(as_jumprelu, "jumprelu");
}
END_TEST

START_TEST(topafa_centred)
{
    check_all(as_topafa_centred, "topafa centred");
}
END_TEST

START_TEST(topafa_raw)
{
    check_all(as_topafa_raw, "topafa raw");
}
END_TEST

/* Enough latents for candidates to be pruned, and for top-AFA to search in rounds. */
START_TEST(many_latents)
{
    static const flavour kinds[] = {COARSE, ASCENDING, NARROW, POSITIVE, FAR};
    static void (*const recipes[])(orth_recipe *) = {as_topk, as_batchtopk, as_topafa_centred,
                                                     as_jumprelu};
    static const char *const names[] = {"topk", "batchtopk", "topafa", "jumprelu"};
    for (int i = 0; i < 5; i++) {
        plain p = plain_create(1500, 4, 17);
        set_flavour(&p, kinds[i]);
        for (int s = 0; s < 4; s++) {
            orth_recipe recipe = rig_recipe(&p);
            recipe.k = 3;
            recipe.aux = ORTH_AUX_TOPAFA;
            recipe.aux_coefficient = 1.0;
            recipes[s](&recipe);
            check_everywhere(&p, &recipe, names[s]);
        }
        plain_free(&p);
    }
}
END_TEST

/* Four pre-activations (d 1, rows of W_dec are 1), norms of tokens, how many latents each keeps. */
typedef struct by_hand {
    float a[4];
    float t[7];
    int kept[7];
} by_hand;

/* The rules of RECIPES.md by hand, so that a slip that the reference shares would show. */
static const by_hand hands[] = {
    /* Sums 9, 13, 17, 1e8, so |sqrt(c) - t| is least at 3, 3.61, 4.12, 1e4; 6000 is nearer to 1e4
     * than to 4.12. */
    {{3, 2, 2, 1}, {0, 1, 3.3f, 3.5f, 4, 100, 6000}, {1, 1, 1, 2, 3, 3, 4}},
    /* sqrt 225 and sqrt 289 are equally far from 16: the first minimum wins. */
    {{15, 8, 1, -1}, {15.9f, 16, 16.1f, 17, 17.1f, 17.2f, 9000}, {1, 1, 2, 2, 3, 3, 3}},
    /* However small, an entry adds to the sum; but not the last of all, which counts as 1e8. */
    {{3, 1e-5f, 1e-6f, 1e-7f}, {1, 2.9f, 3.1f, 10, 100, 4000, 6000}, {1, 1, 3, 3, 3, 3, 4}},
    /* The same where not all are positive: all that are positive are kept. */
    {{3, 1e-5f, 1e-6f, 0}, {1, 2.9f, 3.1f, 10, 100, 4000, 6000}, {1, 1, 3, 3, 3, 3, 3}},
};
enum { N_HAND = sizeof hands / sizeof *hands };

START_TEST(topafa_by_hand)
{
    const by_hand *hand = hands + _i;
    plain p = plain_create(4, 1, 7);
    bool *mask = plain_mask(&p), right = true;
    for (int i = 0; i < 4; i++) {
        p.b_enc[i] = hand->a[i];
        p.W_dec[i] = 1.0f;
    }
    memcpy(p.x, hand->t, sizeof hand->t);
    plain_encode(&p);
    plain_topafa(&p, true, mask);
    for (int token = 0; token < 7; token++)
        for (int i = 0; i < 4; i++)
            right = right && mask[token * 4 + i] == (i < hand->kept[token]);
    ck_agree(right);
    orth_recipe recipe = rig_recipe(&p);
    recipe.selection = ORTH_SELECT_TOPAFA;
    recipe.aux = ORTH_AUX_TOPAFA;
    recipe.aux_coefficient = 1.0;
    check_everywhere(&p, &recipe, "topafa by hand");
    free(mask);
    plain_free(&p);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("selection");
    TCase *cases = tcase_create("selection");
    tcase_set_timeout(cases, 0);
    tcase_add_loop_test(cases, topafa_by_hand, 0, N_HAND);
    tcase_add_test(cases, topk);
    tcase_add_test(cases, multi_topk);
    tcase_add_test(cases, batchtopk);
    tcase_add_test(cases, jumprelu);
    tcase_add_test(cases, topafa_centred);
    tcase_add_test(cases, topafa_raw);
    tcase_add_test(cases, many_latents);
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
