/* The configuration: defaults, values, overrides, resolved text, compatibility.
 * ranks: 1 3 */
#include <orthant/run/config.h>

#include "check_mpi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static orth_status parse(const char *text, orth_config *out)
{
    return orth_config_parse(text, (int64_t)strlen(text), "test.yaml", NULL, 0, out);
}

static void must_parse(const char *text, orth_config *out)
{
    orth_status status = parse(text, out);
    ck_assert_msg(status == ORTH_OK, "%s: %s", text, orth_error_text());
}

static void must_set(const char *a, const char *b, orth_config *out)
{
    const char *overrides[] = {a, b};
    orth_status status = orth_config_load(NULL, overrides, b ? 2 : 1, out);
    ck_assert_msg(status == ORTH_OK, "%s: %s", a, orth_error_text());
}

START_TEST(test_defaults_are_the_contract)
{
    orth_config c;
    ck_assert_int_eq(orth_config_load(NULL, NULL, 0, &c), ORTH_OK);
    const orth_recipe *r = &c.recipe;
    ck_assert(!c.run_dir && c.data_files.count == 0 && c.data_eval_files.count == 0);
    ck_assert(c.run_steps == 0 && c.run_tokens == 0 && c.run_epochs == 1);
    ck_assert(c.run_max_time == 0 && c.run_watchdog == 1800 && c.run_rollback == 0);
    ck_assert_str_eq(c.data_dataset, "activations");
    ck_assert(c.data_shuffle && c.data_nonfinite == ORTH_NONFINITE_ABORT && !c.init_file);
    ck_assert(r->seed == 49 && r->input == ORTH_INPUT_NONE && r->n_latent == 0);
    ck_assert(r->selection == ORTH_SELECT_TOPK && r->k == 32 && r->b_enc && !r->relu_first);
    ck_assert(r->target == ORTH_TARGET_CENTRED && r->init == ORTH_INIT_GAO);
    ck_assert(r->loss == ORTH_LOSS_MSE_SCALED && r->multi_k == 0 && r->mse_scale == 0);
    ck_assert(r->aux == ORTH_AUX_GAO && r->aux_coefficient == 0.03125 && r->aux_k == 0);
    ck_assert(r->dead == ORTH_DEAD_TOKENS && r->dead_tokens == 10000000 && r->dead_batches == 5);
    ck_assert(r->afa_coefficient == 0 && r->batch == 4096 && r->lr == 1e-4);
    ck_assert(r->beta1 == 0.9 && r->beta2 == 0.999 && r->eps == 6.25e-10 && r->clip == 0);
    ck_assert(r->warmup == 0 && r->decay == 0 && r->decoder == ORTH_DECODER_GAO && r->ema == 0);
    ck_assert(c.grid_n_shard == 0 && c.grid_n_group == 0 && c.compute_encode == ORTH_ENCODE_AUTO);
    ck_assert(c.checkpoint_every.seconds == 1800 && c.checkpoint_every.steps == 0);
    ck_assert(c.checkpoint_keep == 2 && c.checkpoint_verify && c.eval_every == 0);
    ck_assert(c.log_every == 10 && !c.log_codes);
    orth_config_free(&c);
}
END_TEST

/* Every key with a value that is not its default. */
static const char full[] =
    "run: {dir: 'runs/a b # c: \"\xC3\xA9', steps: 2^14, seed: 9223372036854775807, max_time: "
    "23:59:59,\n"
    "  watchdog: none}\n"
    "data:\n"
    "  files:\n"
    "    - a.h5\n"
    "    - \"none\"\n"
    "    - ' b, [c].h5'\n"
    "  dataset: group/x\n"
    "  eval_files: e.h5\n"
    "  shuffle: False\n"
    "  nonfinite: skip\n"
    "input.norm: unit # a dotted path is the same key\n"
    "model:\n"
    "  n_latent: 65_536\n"
    "  selection: batchtopk\n"
    "  k: 1e2\n"
    "  b_enc: false\n"
    "topk: {relu_first: True}\n"
    "topafa: {target: raw}\n"
    "init: {scheme: file, file: w.h5}\n"
    "loss: {kind: normalised, multi_k: none, mse_scale: 0.1}\n"
    "aux: {variant: topafa, coefficient: 1/3, k: 512}\n"
    "dead: {variant: batches, tokens: 5, batches: 7}\n"
    "afa: {coefficient: 1/24}\n"
    "train: {batch: 2^17, lr: 3e-4, beta1: 0.8, beta2: 0.99, eps: 1e-8, clip: 1e5, warmup: 10,\n"
    "  decay: 0.2, decoder_norm: none, ema: 0.999}\n"
    "grid: {n_shard: 3, n_group: 2}\n"
    "compute: {encode: int8}\n"
    "checkpoint: {every: 500, keep: 9, verify: false}\n"
    "eval: {every: 100}\n"
    "log: {every: 1, codes: true}\n";

static void check_full(const orth_config *c)
{
    const orth_recipe *r = &c->recipe;
    ck_assert_str_eq(c->run_dir, "runs/a b # c: \"\xC3\xA9");
    ck_assert(c->run_steps == 16384 && c->run_tokens == 0 && c->run_epochs == 0);
    ck_assert(r->seed == 9223372036854775807 && c->run_max_time == 86399 && c->run_watchdog == 0);
    ck_assert(c->data_files.count == 3 && c->data_eval_files.count == 1);
    ck_assert_str_eq(c->data_files.items[0], "a.h5");
    ck_assert_str_eq(c->data_files.items[1], "none");
    ck_assert_str_eq(c->data_files.items[2], " b, [c].h5");
    ck_assert_str_eq(c->data_eval_files.items[0], "e.h5");
    ck_assert_str_eq(c->data_dataset, "group/x");
    ck_assert(!c->data_shuffle && c->data_nonfinite == ORTH_NONFINITE_SKIP);
    ck_assert(r->input == ORTH_INPUT_UNIT && r->n_latent == 65536 && r->k == 100 && !r->b_enc);
    ck_assert(r->selection == ORTH_SELECT_BATCHTOPK && r->relu_first);
    ck_assert(r->target == ORTH_TARGET_RAW && r->init == ORTH_INIT_FILE);
    ck_assert_str_eq(c->init_file, "w.h5");
    ck_assert(r->loss == ORTH_LOSS_NORMALISED && r->multi_k == 0 && r->mse_scale == 0.1);
    ck_assert(r->aux == ORTH_AUX_TOPAFA && r->aux_coefficient == 1.0 / 3 && r->aux_k == 512);
    ck_assert(r->dead == ORTH_DEAD_BATCHES && r->dead_tokens == 5 && r->dead_batches == 7);
    ck_assert(r->afa_coefficient == 1.0 / 24 && r->batch == 131072 && r->lr == 3e-4);
    ck_assert(r->beta1 == 0.8 && r->beta2 == 0.99 && r->eps == 1e-8 && r->clip == 1e5);
    ck_assert(r->warmup == 10 && r->decay == 0.2 && r->decoder == ORTH_DECODER_NONE);
    ck_assert(r->ema == 0.999 && c->grid_n_shard == 3 && c->grid_n_group == 2);
    ck_assert(c->compute_encode == ORTH_ENCODE_INT8);
    ck_assert(c->checkpoint_every.steps == 500 && c->checkpoint_every.seconds == 0);
    ck_assert(c->checkpoint_keep == 9 && !c->checkpoint_verify && c->eval_every == 100);
    ck_assert(c->log_every == 1 && c->log_codes);
}

START_TEST(test_every_key_is_read)
{
    orth_config c;
    must_parse(full, &c);
    check_full(&c);
    orth_config_free(&c);
}
END_TEST

START_TEST(test_resolved_text_reads_back)
{
    static const char *const texts[] = {full, "", "{}", "---\n...\n", "run: {tokens: 7}\nmodel:\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        orth_config c, back;
        must_parse(texts[i], &c);
        char *text, *again;
        ck_assert_int_eq(orth_config_text(&c, &text), ORTH_OK);
        must_parse(text, &back);
        ck_assert_int_eq(orth_config_text(&back, &again), ORTH_OK);
        ck_assert_str_eq(text, again);
        if (i == 0)
            check_full(&back);
        ck_assert_ptr_nonnull(strstr(text, "\n  codes: "));
        ck_assert(memcmp(&c.recipe.aux_coefficient, &back.recipe.aux_coefficient, 8) == 0);
        ck_assert(memcmp(&c.recipe.eps, &back.recipe.eps, 8) == 0);
        free(text);
        free(again);
        orth_config_free(&c);
        orth_config_free(&back);
    }
}
END_TEST

START_TEST(test_overrides)
{
    orth_config c;
    must_set("model.k=64", "model.k=2^4", &c);
    ck_assert_int_eq(c.recipe.k, 16);
    orth_config_free(&c);
    must_set("data.files=a: #b=[c].h5", NULL, &c);
    ck_assert_int_eq(c.data_files.count, 1);
    ck_assert_str_eq(c.data_files.items[0], "a: #b=[c].h5");
    orth_config_free(&c);
    must_set("data.files=[a.h5, \"b c.h5\",d.h5]", "data.files=[a.h5,b.h5]", &c);
    ck_assert_int_eq(c.data_files.count, 2);
    ck_assert_str_eq(c.data_files.items[1], "b.h5");
    orth_config_free(&c);
    must_set("data.eval_files=x.h5", "data.eval_files=none", &c);
    ck_assert_int_eq(c.data_eval_files.count, 0);
    orth_config_free(&c);
    must_set("checkpoint.every=01:00:00", "run.watchdog=none", &c);
    ck_assert(c.checkpoint_every.seconds == 3600 && c.run_watchdog == 0);
    orth_config_free(&c);
    must_set("checkpoint.every=none", "train.lr=0", &c);
    ck_assert(c.checkpoint_every.seconds == 0 && c.checkpoint_every.steps == 0);
    orth_config_free(&c);
    must_set("model.k=16", "loss.multi_k=4", &c);
    ck_assert(c.recipe.multi_k == 4);
    orth_config_free(&c);
    must_set("run.epochs=none", "run.tokens=100", &c);
    ck_assert(c.run_epochs == 0 && c.run_tokens == 100);
    orth_config_free(&c);

    const char *overrides[] = {"model.k=8", "run.dir=/r"};
    const char text[] = "model:\n  k: 5\n  n_latent: 100\n";
    ck_assert_int_eq(orth_config_parse(text, sizeof text - 1, "t", overrides, 2, &c), ORTH_OK);
    ck_assert(c.recipe.k == 8 && c.recipe.n_latent == 100);
    ck_assert_str_eq(c.run_dir, "/r");
    orth_config_free(&c);
}
END_TEST

START_TEST(test_training_needs_folder_and_files)
{
    orth_config c;
    must_set("run.dir=r", NULL, &c);
    ck_assert_int_eq(orth_config_require_training(&c, "x.yaml"), ORTH_ERR_USAGE);
    ck_assert_ptr_nonnull(strstr(orth_error_text(), "x.yaml: data.files is missing"));
    orth_error_clear();
    orth_config_free(&c);
    must_set("data.files=f", NULL, &c);
    ck_assert_int_eq(orth_config_require_training(&c, "x.yaml"), ORTH_ERR_USAGE);
    ck_assert_ptr_nonnull(strstr(orth_error_text(), "x.yaml: run.dir is missing"));
    orth_error_clear();
    orth_config_free(&c);
    must_set("data.files=f", "run.dir=r", &c);
    ck_assert_int_eq(orth_config_require_training(&c, "x.yaml"), ORTH_OK);
    orth_config_free(&c);
    must_set("init.file=f", NULL, &c);
    ck_assert_int_eq(orth_config_check_init(&c), ORTH_ERR_USAGE);
    ck_assert_ptr_nonnull(strstr(orth_error_text(), "but init.scheme is gao"));
    orth_error_clear();
    orth_config_free(&c);
    must_set("init.file=f", "init.scheme=file", &c);
    ck_assert_int_eq(orth_config_check_init(&c), ORTH_OK);
    orth_config_free(&c);
}
END_TEST

START_TEST(test_compatibility_lists_what_differs)
{
    orth_config a, b;
    must_set("model.k=64", "run.steps=10", &a);
    must_set("run.steps=99", "grid.n_shard=4", &b);
    ck_assert_int_eq(orth_config_compatible(&a, &b, "step-1.h5"), ORTH_ERR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(orth_error_text(), "step-1.h5"));
    ck_assert_ptr_nonnull(strstr(orth_error_text(), "model.k is 64 here and 32 there"));
    ck_assert_ptr_null(strstr(orth_error_text(), "run.steps"));
    orth_error_clear();
    a.recipe.k = 32;
    ck_assert_int_eq(orth_config_compatible(&a, &b, "step-1.h5"), ORTH_OK);
    a.recipe.lr = 1.0000000000000002e-4;
    a.recipe.seed = 50;
    a.data_shuffle = false;
    ck_assert_int_eq(orth_config_compatible(&a, &b, "step-1.h5"), ORTH_ERR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(orth_error_text(), "train.lr"));
    ck_assert_ptr_nonnull(strstr(orth_error_text(), "run.seed is 50 here and 49 there"));
    ck_assert_ptr_nonnull(strstr(orth_error_text(), "data.shuffle is false here and true there"));
    orth_error_clear();
    orth_config_free(&a);
    must_set("data.files=moved.h5", "run.max_time=01:00:00", &a);
    ck_assert_int_eq(orth_config_compatible(&a, &b, "step-1.h5"), ORTH_OK);
    orth_config_free(&a);
    orth_config_free(&b);
}
END_TEST

START_TEST(test_ranks_agree_on_the_configuration)
{
    int rank, size;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    orth_config c;
    must_set("model.k=64", NULL, &c);
    ck_agree(orth_config_same(&c, MPI_COMM_WORLD) == ORTH_OK);
    if (rank == size - 1)
        c.recipe.k = 65;
    orth_status status = orth_config_same(&c, MPI_COMM_WORLD);
    ck_agree(status == (size == 1 ? ORTH_OK : ORTH_ERR_ENVIRONMENT));
    ck_agree(size == 1 || rank != size - 1 || strstr(orth_error_text(), "rank 2") != NULL);
    orth_error_clear();
    orth_config_free(&c);
}
END_TEST

START_TEST(test_help_names_every_key)
{
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    orth_config_help(stream);
    fclose(stream);
    static const char *const lines[] = {
        "  model.k: an integer >= 1 and at most 2147483647 [default: 32]\n",
        "  train.ema: a number > 0 and < 1, or none [default: none]\n",
        "  input.norm: none | layernorm | unit | scale [default: none]\n",
        "  checkpoint.every: a time HH:MM:SS > 0 or a number of steps >= 1, or none [default: "
        "00:30:00]\n",
        "  data.shuffle: true or false [default: true]\n",
        "  run.dir: a text\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        ck_assert_msg(strstr(text, lines[i]) != NULL, "%s is not in\n%s", lines[i], text);
    free(text);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("config");
    TCase *test = tcase_create("config");
    tcase_add_test(test, test_defaults_are_the_contract);
    tcase_add_test(test, test_every_key_is_read);
    tcase_add_test(test, test_resolved_text_reads_back);
    tcase_add_test(test, test_overrides);
    tcase_add_test(test, test_training_needs_folder_and_files);
    tcase_add_test(test, test_compatibility_lists_what_differs);
    tcase_add_test(test, test_ranks_agree_on_the_configuration);
    tcase_add_test(test, test_help_names_every_key);
    suite_add_tcase(suite, test);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
