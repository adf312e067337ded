/* Counters of dead latents in both variants, over all token groups.
 * ranks: 1 2 4
 * threads: 2 */
#include "check_mpi.h"
#include "rig.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N_LATENT = 11, TOKENS = 8, STEPS = 9 };

/* The value with which latent i fires for token t in a step; 0: it does not. */
static float value_of(int64_t step, int64_t t, int64_t i)
{
    static const float boundary = 1e-3f;
    switch (i) {
    case 0: /* never */
        return 0.0f;
    case 1: /* always, for the last token only */
        return t == TOKENS - 1 ? 1.0f : 0.0f;
    case 2: /* with the threshold itself, which is not above it */
        return boundary;
    case 3: /* just above */
        return nextafterf(boundary, 1.0f);
    case 4: /* the least positive value there is */
        return 1e-45f;
    case 5: /* in step 4 alone, for the first token */
        return step == 4 && t == 0 ? 0.5f : 0.0f;
    default: /* every (i - 4)-th step, for one token */
        return step % (i - 4) == 0 && t == (i + step) % TOKENS ? 0.5f : 0.0f;
    }
}

/* The own part of the step's code. */
static void make_code(const rig *r, int64_t step, orth_code *code)
{
    orth_range tokens = orth_grid_tokens(&r->grid, TOKENS), own = r->sae.own;
    int64_t n_token = orth_range_size(tokens), e = 0;
    ck_agree(orth_code_begin(code, n_token) == ORTH_OK &&
             orth_code_reserve(code, n_token * N_LATENT) == ORTH_OK);
    for (int64_t t = tokens.begin; t < tokens.end; t++) {
        for (int64_t i = own.begin; i < own.end; i++)
            if (value_of(step, t, i) > 0.0f) {
                code->latent[e] = (uint32_t)(i - own.begin);
                code->value[e++] = value_of(step, t, i);
            }
        code->start[t - tokens.begin + 1] = e;
    }
    code->n_token = n_token;
}

static bool fires(int64_t step, int64_t i, float above)
{
    bool any = false;
    for (int64_t t = 0; t < TOKENS; t++)
        any = any || value_of(step, t, i) > above;
    return any;
}

/* RECIPES.md: tokens: count = fired ? 1 : count + 1, dead iff count > floor(dead.tokens / B);
 * batches: count = fired ? 0 : count + 1, dead iff count >= dead.batches. */
static void check_variant(const orth_recipe *recipe, int n_group, int n_shard)
{
    bool tokens = recipe->dead == ORTH_DEAD_TOKENS;
    int64_t count[N_LATENT] = {0};
    orth_code code = {0};
    rig r;
    plain p = plain_create(N_LATENT, 2, TOKENS);
    rig_open(&p, recipe, n_group, n_shard, &r);
    for (int64_t step = 1; step <= STEPS; step++) {
        int64_t n_dead = 0, listed = 0;
        bool right = true;
        make_code(&r, step, &code);
        ck_agree(orth_dead_update(&r.sae, &code, &r.workspace.dead) == ORTH_OK);
        for (int64_t i = 0; i < N_LATENT; i++) {
            bool fired = fires(step, i, tokens ? 1e-3f : 0.0f);
            count[i] = fired ? (tokens ? 1 : 0) : count[i] + 1;
            bool dead =
                tokens ? count[i] > recipe->dead_tokens / TOKENS : count[i] >= recipe->dead_batches;
            n_dead += dead;
            if (i < r.sae.own.begin || i >= r.sae.own.end)
                continue;
            int64_t own = i - r.sae.own.begin;
            right = right && r.sae.steps_since_fired[own] == count[i];
            if (dead)
                right = right && listed < r.workspace.dead.n_own &&
                        r.workspace.dead.index[listed++] == own;
        }
        ck_agree(right && listed == r.workspace.dead.n_own);
        ck_agree(r.workspace.dead.n_dead == n_dead);
    }
    orth_code_free(&code);
    rig_close(&r);
    plain_free(&p);
}

static void check_grids(orth_dead_variant variant, int64_t limit)
{
    int size;
    plain p = plain_create(N_LATENT, 2, TOKENS);
    orth_recipe recipe = rig_recipe(&p);
    recipe.dead = variant;
    recipe.dead_tokens = recipe.dead_batches = limit;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int n_group = 1; n_group <= size; n_group++)
        if (size % n_group == 0)
            check_variant(&recipe, n_group, size / n_group);
    plain_free(&p);
}

START_TEST(tokens_since_fired)
{
    check_grids(ORTH_DEAD_TOKENS, 3 * TOKENS);
    check_grids(ORTH_DEAD_TOKENS, 3 * TOKENS + TOKENS - 1); /* the floor of 3.9 */
    check_grids(ORTH_DEAD_TOKENS, TOKENS - 1);              /* dead as soon as nothing fires */
}
END_TEST

START_TEST(batches_since_fired)
{
    check_grids(ORTH_DEAD_BATCHES, 1);
    check_grids(ORTH_DEAD_BATCHES, 3);
}
END_TEST

/* AuxK uses dead latents but does not bring them back to life, and multi-topk's larger set does not
 * count as firing. */
START_TEST(only_the_selection_counts)
{
    int size;
    rig r;
    plain p = plain_create(N_LATENT, 2, TOKENS);
    plain_random(&p, 9);
    for (int64_t i = 0; i < p.n; i++)
        p.b_enc[i] = 10.0f + (float)(p.n - i); /* latent 0 is the strongest for every token */
    orth_recipe recipe = rig_recipe(&p);
    recipe.aux = ORTH_AUX_GAO;
    recipe.aux_coefficient = 1.0;
    recipe.aux_k = 4;
    recipe.multi_k = 3;
    recipe.dead_batches = 2;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    int n_group = size == 4 ? 2 : size;
    rig_open(&p, &recipe, n_group, size / n_group, &r);
    for (int64_t step = 1; step <= 3; step++) {
        orth_step_report report;
        orth_step_options options = {.rate = 0.0};
        rig_load(&p, &r);
        ck_agree(orth_step(&r.sae, &r.workspace, &options, NULL, &report) == ORTH_OK);
        ck_agree(report.l0 == 1.0);
        ck_agree(report.n_dead == (step >= 2 ? N_LATENT - 1 : 0));
        ck_agree(report.terms.aux > 0.0);
        bool counted = true;
        for (int64_t i = r.sae.own.begin; i < r.sae.own.end; i++)
            counted =
                counted && r.sae.steps_since_fired[i - r.sae.own.begin] == (i == 0 ? 0 : step);
        ck_agree(counted);
    }
    rig_close(&r);
    plain_free(&p);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("dead");
    TCase *cases = tcase_create("dead");
    tcase_add_test(cases, tokens_since_fired);
    tcase_add_test(cases, batches_since_fired);
    tcase_add_test(cases, only_the_selection_counts);
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
