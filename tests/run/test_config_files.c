/* The shipped configurations: each is read, and holds the recipe that its name says.
 * ranks: 1 */
#include <orthant/run/config.h>

#include "check_mpi.h"

#include <glob.h>
#include <stdlib.h>
#include <string.h>

static void load(const char *name, orth_config *out)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/../../configs/%s", ORTH_TEST_DATA, name);
    orth_status status = orth_config_load(path, NULL, 0, out);
    ck_assert_msg(status == ORTH_OK, "%s", orth_error_text());
}

START_TEST(test_every_file_can_train)
{
    glob_t found;
    ck_assert_int_eq(glob(ORTH_TEST_DATA "/../../configs/*.yaml", 0, NULL, &found), 0);
    ck_assert(found.gl_pathc >= 9);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        /* The length can be given on the command line, whatever the file says about steps. */
        const char *steps = "run.steps=7";
        orth_config c;
        orth_status status = orth_config_load(found.gl_pathv[i], &steps, 1, &c);
        ck_assert_msg(status == ORTH_OK, "%s", orth_error_text());
        status = orth_config_require_training(&c, found.gl_pathv[i]);
        ck_assert_msg(status == ORTH_OK, "%s", orth_error_text());
        ck_assert_int_eq(c.run_steps, 7);
        orth_config_free(&c);
    }
    globfree(&found);
}
END_TEST

/* What the arms of the top-AFA paper have in common. */
static void check_arm(const char *name, orth_selection_kind selection, double afa, int64_t n,
                      int64_t batch, double lr, int64_t aux_k)
{
    orth_config c;
    load(name, &c);
    const orth_recipe *r = &c.recipe;
    ck_assert_msg(r->selection == selection && r->afa_coefficient == afa, "%s", name);
    ck_assert_msg(r->n_latent == n && r->batch == batch && r->lr == lr, "%s", name);
    ck_assert_msg(r->input == ORTH_INPUT_LAYERNORM && r->init == ORTH_INIT_KAIMING, "%s", name);
    ck_assert_msg(r->loss == ORTH_LOSS_MSE && !r->b_enc && r->seed == 49, "%s", name);
    ck_assert_msg(r->aux == ORTH_AUX_TOPAFA && r->aux_coefficient == 1.0 / 32, "%s", name);
    ck_assert_msg(r->aux_k == aux_k && r->dead == ORTH_DEAD_BATCHES, "%s", name);
    ck_assert_msg(r->dead_batches == 5 && r->decoder == ORTH_DECODER_TOPAFA, "%s", name);
    ck_assert_msg(r->beta1 == 0.9 && r->beta2 == 0.99 && r->eps == 1e-8, "%s", name);
    ck_assert_msg(r->clip == 1e5 && r->ema == 0, "%s", name);
    orth_config_free(&c);
}

START_TEST(test_arms_of_the_top_afa_paper)
{
    check_arm("topk.yaml", ORTH_SELECT_TOPK, 0, 0, 4096, 3e-4, 512);
    check_arm("batchtopk.yaml", ORTH_SELECT_BATCHTOPK, 0, 0, 4096, 3e-4, 512);
    check_arm("topafa.yaml", ORTH_SELECT_TOPAFA, 1.0 / 24, 0, 4096, 3e-4, 512);
    check_arm("gpt2-small-topk.yaml", ORTH_SELECT_TOPK, 0, 12288, 4096, 3e-4, 512);
    check_arm("gpt2-small-topafa.yaml", ORTH_SELECT_TOPAFA, 1.0 / 24, 12288, 4096, 3e-4, 512);
    check_arm("quickstart-topk.yaml", ORTH_SELECT_TOPK, 0, 3072, 1024, 1e-3, 192);
    check_arm("quickstart-topafa.yaml", ORTH_SELECT_TOPAFA, 1.0 / 24, 3072, 1024, 1e-3, 192);
}
END_TEST

START_TEST(test_recipe_of_gao)
{
    static const char *const names[] = {"gao-topk.yaml", "gpt2-small-gao.yaml"};
    for (int i = 0; i < 2; i++) {
        orth_config c;
        load(names[i], &c);
        const orth_recipe *r = &c.recipe;
        ck_assert(r->selection == ORTH_SELECT_TOPK && r->k == 32 && r->b_enc);
        ck_assert(r->input == ORTH_INPUT_UNIT && r->init == ORTH_INIT_GAO);
        ck_assert(r->loss == ORTH_LOSS_MSE_SCALED && r->mse_scale == 0 && r->multi_k == 0);
        ck_assert(r->aux == ORTH_AUX_GAO && r->aux_coefficient == 1.0 / 32);
        ck_assert(r->aux_k == (i ? 512 : 0) && r->n_latent == (i ? 32768 : 0));
        ck_assert(r->dead == ORTH_DEAD_TOKENS && r->dead_tokens == 10000000);
        ck_assert(r->batch == 131072 && r->lr == 1e-4 && r->eps == 6.25e-10);
        ck_assert(r->beta1 == 0.9 && r->beta2 == 0.999 && r->clip == 0 && r->ema == 0.999);
        ck_assert(r->decoder == ORTH_DECODER_GAO && r->afa_coefficient == 0);
        orth_config_free(&c);
    }
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("config files");
    TCase *test = tcase_create("config files");
    tcase_add_test(test, test_every_file_can_train);
    tcase_add_test(test, test_arms_of_the_top_afa_paper);
    tcase_add_test(test, test_recipe_of_gao);
    suite_add_tcase(suite, test);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
