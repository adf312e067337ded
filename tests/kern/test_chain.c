/* Canonical pre-activations: every kernel set against one chain of fmaf, bit for bit. */
#include "check_mpi.h"
#include "values.h"

#include <orthant/kern/pack.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { D_MAX = 384, STRIDE = ORTH_PANEL_LATENTS_MAX + 5 };

/* A chain kernel's operands, and room for a panel of each behind one odd float. */
typedef struct operands {
    float tokens[ORTH_PANEL_TOKENS_MAX * D_MAX];
    float latents[ORTH_PANEL_LATENTS_MAX * D_MAX];
    float x[1 + ORTH_PANEL_TOKENS_MAX * D_MAX];
    float w[1 + ORTH_PANEL_LATENTS_MAX * D_MAX];
    float bias[1 + ORTH_PANEL_LATENTS_MAX];
    float out[1 + ORTH_PANEL_TOKENS_MAX * STRIDE];
} operands;

static float one_chain(const float *x, const float *w, int64_t d, float bias)
{
    float sum = 0.0f;
    for (int64_t j = 0; j < d; j++)
        sum = fmaf(x[j], w[j], sum);
    return sum + bias;
}

/* The panel by definition: vectors that are missing are zero, so their chain is +0. */
static float expected(const operands *o, int64_t d, int64_t n_token, int64_t n_latent, int64_t t,
                      int64_t i)
{
    if (t < n_token && i < n_latent)
        return one_chain(o->tokens + t * d, o->latents + i * d, d, o->bias[1 + i]);
    return 0.0f + o->bias[1 + i];
}

static int64_t wrong_values(const orth_kernels *set, const operands *o, int64_t d, int64_t n_token,
                            int64_t n_latent)
{
    int64_t wrong = 0;
    for (int64_t t = 0; t < set->panel_tokens; t++)
        for (int64_t i = 0; i < STRIDE; i++) {
            const float *value = o->out + 1 + t * STRIDE + i;
            float wanted = i < set->panel_latents ? expected(o, d, n_token, n_latent, t, i) : 77.0f;
            wrong += !same_bits(value, &wanted, 1);
        }
    return wrong;
}

static void check_panel(const orth_kernels *set, operands *o, int64_t d, int64_t n_token,
                        int64_t n_latent)
{
    for (int64_t i = 0; i < 1 + ORTH_PANEL_TOKENS_MAX * STRIDE; i++)
        o->out[i] = 77.0f;
    orth_pack(o->tokens, NULL, n_token, set->panel_tokens, d, o->x + 1);
    orth_pack(o->latents, NULL, n_latent, set->panel_latents, d, o->w + 1);
    set->chain(d, o->x + 1, o->w + 1, o->bias + 1, o->out + 1, STRIDE);
    ck_assert_msg(wrong_values(set, o, d, n_token, n_latent) == 0,
                  "%s: d %d, %d tokens, %d latents: %d values differ", set->name, (int)d,
                  (int)n_token, (int)n_latent, (int)wrong_values(set, o, d, n_token, n_latent));
}

START_TEST(every_set_is_one_fma_chain)
{
    static const int64_t widths[] = {1, 2, 7, 16, 33, D_MAX};
    const orth_kernels *sets[KERNEL_SETS];
    int n_set = kernel_sets(sets);
    operands *o = malloc(sizeof *o);
    ck_assert_ptr_nonnull(o);
    for (int s = 0; s < n_set; s++)
        for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
            int64_t d = widths[w];
            fill_random(d + 1, ORTH_PANEL_TOKENS_MAX * d, o->tokens);
            fill_random(d + 2, ORTH_PANEL_LATENTS_MAX * d, o->latents);
            fill_random(d + 3, 1 + ORTH_PANEL_LATENTS_MAX, o->bias);
            for (int64_t t = 1; t <= sets[s]->panel_tokens; t++)
                check_panel(sets[s], o, d, t, sets[s]->panel_latents);
            for (int64_t i = 1; i < sets[s]->panel_latents; i++)
                check_panel(sets[s], o, d, 1 + i % sets[s]->panel_tokens, i);
        }
    free(o);
}
END_TEST

/* Huge, tiny and cancelling terms: a split or reordered sum would not give these bits. */
START_TEST(the_order_of_the_terms_counts)
{
    const orth_kernels *sets[KERNEL_SETS];
    int n_set = kernel_sets(sets);
    operands *o = malloc(sizeof *o);
    ck_assert_ptr_nonnull(o);
    const int64_t d = 96;
    int64_t order_sensitive = 0;
    fill_random(5, ORTH_PANEL_TOKENS_MAX * d, o->tokens);
    fill_random(6, ORTH_PANEL_LATENTS_MAX * d, o->latents);
    memset(o->bias, 0, sizeof o->bias);
    for (int64_t i = 0; i < ORTH_PANEL_TOKENS_MAX * d; i++)
        o->tokens[i] *= (float)exp2((double)(i * 7 % 41) - 20.0);
    for (int64_t i = 0; i < ORTH_PANEL_LATENTS_MAX; i++) {
        float half[2] = {one_chain(o->tokens, o->latents + i * d, d / 2, 0.0f),
                         one_chain(o->tokens + d / 2, o->latents + i * d + d / 2, d / 2, 0.0f)};
        float sum = half[0] + half[1], whole = one_chain(o->tokens, o->latents + i * d, d, 0.0f);
        order_sensitive += !same_bits(&sum, &whole, 1);
    }
    ck_assert_int_gt(order_sensitive, ORTH_PANEL_LATENTS_MAX / 4);
    for (int s = 0; s < n_set; s++)
        check_panel(sets[s], o, d, sets[s]->panel_tokens, sets[s]->panel_latents);
    free(o);
}
END_TEST

START_TEST(values_that_are_not_finite_pass_through)
{
    const orth_kernels *sets[KERNEL_SETS];
    int n_set = kernel_sets(sets);
    for (int s = 0; s < n_set; s++) {
        float x[ORTH_PANEL_TOKENS_MAX] = {0}, w[ORTH_PANEL_LATENTS_MAX] = {0};
        float bias[ORTH_PANEL_LATENTS_MAX] = {0};
        float out[ORTH_PANEL_TOKENS_MAX * ORTH_PANEL_LATENTS_MAX];
        int64_t width = sets[s]->panel_latents;
        x[0] = 1.0f;
        x[1] = -2.0f;
        w[1] = INFINITY;
        w[2] = NAN;
        bias[3] = NAN;
        sets[s]->chain(1, x, w, bias, out, width);
        ck_assert(out[0] == 0.0f && out[1] == INFINITY && isnan(out[2]) && isnan(out[3]));
        ck_assert(out[width + 1] == -INFINITY);
        ck_assert(isnan(out[2 * width + 1])); /* 0 times infinity */
    }
}
END_TEST

START_TEST(sets_are_what_their_names_say)
{
    const orth_kernels *sets[KERNEL_SETS];
    int n_set = kernel_sets(sets);
    ck_assert_int_ge(n_set, 1);
    ck_assert_str_eq(sets[0]->name, "reference");
    for (int s = 0; s < n_set; s++) {
        ck_assert_ptr_eq(orth_kernels_named(sets[s]->name), sets[s]);
        ck_assert_int_le(sets[s]->panel_tokens, ORTH_PANEL_TOKENS_MAX);
        ck_assert_int_le(sets[s]->panel_latents, ORTH_PANEL_LATENTS_MAX);
        ck_assert_int_eq(ORTH_PANEL_TOKENS_MAX % sets[s]->panel_tokens, 0);
    }
    ck_assert_ptr_null(orth_kernels_named("no-such-set"));
    ck_assert_ptr_null(orth_kernels_named(""));
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("chain");
    TCase *cases = tcase_create("chain");
    tcase_add_test(cases, sets_are_what_their_names_say);
    tcase_add_test(cases, every_set_is_one_fma_chain);
    tcase_add_test(cases, the_order_of_the_terms_counts);
    tcase_add_test(cases, values_that_are_not_finite_pass_through);
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
