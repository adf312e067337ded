/* What a wrong configuration is told: place, key, reason.
 * ranks: 1 */
#include <orthant/base/random.h>
#include <orthant/run/config.h>

#include "check_mpi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct refused {
    const char *text;
    const char *says; ///< the error holds this
} refused;

static const refused by_text[] = {
    {"model:\n  kk: 3\n", "test.yaml, line 2: unknown key 'model.kk'; did you mean model.k?"},
    {"modle:\n  n_latent: 3\n", "line 1: unknown key 'modle'; did you mean model?"},
    {"trian: {lr: 3}\n", "line 1: unknown key 'trian'; did you mean train?"},
    {"model:\n  lr: 3\n", "line 2: unknown key 'model.lr'; did you mean "},
    {"log:\n  evry: 3\n", "line 2: unknown key 'log.evry'; did you mean log.every?"},
    {"k: 3\n", "line 1: unknown key 'k'; did you mean model.k?"},
    {"<<: {a: b}\n", "line 1: unknown key '<<'"},
    {"train:\n  learning_rate: 3\n", "line 2: unknown key 'train.learning_rate'"},
    {"model:\n  k: 3\n  k: 4\n", "line 3: model.k is given twice, first on line 2"},
    {"model:\n  k: 3\nmodel.k: 4\n", "line 3: model.k is given twice, first on line 2"},
    {"\n\nmodel:\n  k: 0\n",
     "test.yaml, line 4: model.k: '0' is out of range; give an integer >= 1"},
    {"model:\n  k: -3\n", "line 2: model.k: '-3' is out of range"},
    {"model:\n  k: 3.5\n", "line 2: model.k: '3.5' is not an integer"},
    {"model:\n  k: many\n", "line 2: model.k: 'many' is not a number"},
    {"model:\n  k: [3]\n", "line 2: model.k: a list is not allowed here"},
    {"model:\n  k:\n    x: 3\n", "line 2: model.k: a map is not allowed here"},
    {"model:\n  k: \"\"\n", "line 2: model.k: the value is empty"},
    {"model:\n  k:\n", "line 2: model.k: the value is empty"},
    {"run:\n  dir: ''\n", "line 2: run.dir: the value is empty"},
    {"data:\n  files: []\n", "line 2: data.files: the list is empty"},
    {"data:\n  files: [a, '']\n", "line 2: data.files: the value is empty"},
    {"data:\n  files: [a, [b]]\n", "line 2: a list holds a list or a map"},
    {"data:\n  files: {a: b}\n", "line 2: data.files: a map is not allowed here"},
    {"data:\n  files: \"a\\0b\"\n", "line 2: a value holds a zero byte"},
    {"data:\n  files: \"a\\nb\"\n", "holds control characters"},
    {"run:\n  \"dir\\0x\": out\n", "line 2: a key holds a zero byte"},
    {"\"run\\e[2J\": {dir: out}\n", "line 1: unknown key 'run [2J'"},
    {"model:\n  n_latent: 10\n  k: 11\n", "line 3: model.k: 11 is out of range: larger than"},
    {"model:\n  n_latent: 10\n", "line 2: model.k: 32 is out of range: larger than"},
    {"model:\n  n_latent: 4294967296\n", "line 2: model.n_latent: '4294967296' is out of range"},
    {"model:\n  n_latent: 2^70\n", "line 2: model.n_latent: '2^70' is too large"},
    {"model: {n_latent: 2^24, selection: topafa}\nloss:\n  multi_k: 4\n", "line 3: loss.multi_k"},
    {"model:\n  n_latent: 16777217\n  selection: topafa\n", "line 2: model.n_latent: 16777217"},
    {"model: {n_latent: 100}\nloss:\n  multi_k: 4\n", "line 3: loss.multi_k: 4 times model.k (32)"},
    {"model:\n  selection: topp\n",
     "'topp' is not one of the choices; give topk | topafa | batchtopk"},
    {"model:\n  b_enc: yes\n", "line 2: model.b_enc: 'yes' is not a truth value"},
    {"model: 5\n", "line 1: model is a section"},
    {"model: [k]\n", "line 1: model is a section"},
    {"train:\n  lr: -1e-4\n", "line 2: train.lr: '-1e-4' is out of range; give a number >= 0"},
    {"train:\n  lr: .nan\n", "line 2: train.lr: '.nan' is not a number"},
    {"train:\n  lr: nan\n", "line 2: train.lr: 'nan' is not a number"},
    {"train:\n  lr: .inf\n", "line 2: train.lr: '.inf' is not a number"},
    {"train:\n  lr: 1/0\n", "line 2: train.lr: '1/0' is not finite"},
    {"train:\n  beta1: 1\n",
     "line 2: train.beta1: '1' is out of range; give a number >= 0 and < 1"},
    {"train:\n  eps: 0\n", "line 2: train.eps: '0' is out of range"},
    {"train:\n  clip: 0\n", "train.clip: '0' is out of range; give a number > 0, or none"},
    {"train:\n  ema: 1\n", "line 2: train.ema: '1' is out of range"},
    {"train:\n  decay: 1.5\n", "line 2: train.decay: '1.5' is out of range"},
    {"train:\n  batch: 0\n", "line 2: train.batch: '0' is out of range"},
    {"train:\n  batch: 3e9\n", "line 2: train.batch: '3e9' is out of range"},
    {"train:\n  warmup: -1\n", "line 2: train.warmup: '-1' is out of range"},
    {"dead: {tokens: 0}\n", "line 1: dead.tokens: '0' is out of range"},
    {"aux: {coefficient: -1/32}\n", "line 1: aux.coefficient: '-1/32' is out of range"},
    {"aux: {k: none}\n", "line 1: aux.k: 'none' is not a number; give an integer >= 1"},
    {"loss: {mse_scale: 0}\n", "line 1: loss.mse_scale: '0' is out of range"},
    {"run:\n  steps: 0\n", "line 2: run.steps: '0' is out of range"},
    {"run:\n  steps: 10\n  epochs: 2\n", "line 3: run.epochs and run.steps (test.yaml, line 2)"},
    {"run: {steps: 1e15}\ntrain: {batch: 2e9}\n",
     "run.steps: 1000000000000000 steps of 2000000000"},
    {"run:\n  max_time: 90\n", "run.max_time: '90' is not a time HH:MM:SS"},
    {"run:\n  max_time: 00:00:00\n", "run.max_time: '00:00:00' is out of range"},
    {"run:\n  rollback: 1001\n", "line 2: run.rollback: '1001' is out of range"},
    {"run:\n  rollback: -3\n", "line 2: run.rollback: '-3' is out of range"},
    {"init:\n  scheme: file\n", "line 2: init.scheme: file needs init.file"},
    {"checkpoint:\n  every: 0\n", "line 2: checkpoint.every: '0' is out of range"},
    {"checkpoint:\n  every: 1:2:3\n", "line 2: checkpoint.every: '1:2:3' is not a time"},
    {"checkpoint:\n  keep: 0\n", "line 2: checkpoint.keep: '0' is out of range"},
    {"eval:\n  every: 5\n", "line 2: eval.every needs data.eval_files"},
    {"grid:\n  n_shard: 0\n", "line 2: grid.n_shard: '0' is out of range"},
    {"a: &x 1\n", "line 1: anchors, aliases and tags"},
    {"model: {k: *x}\n", "line 1: anchors, aliases and tags"},
    {"model: {k: !!int 3}\n", "line 1: anchors, aliases and tags"},
    {"model: {k: 3}\n---\nmodel: {k: 4}\n", "line 2: a second document starts here"},
    {"- a\n- b\n", "line 1: the document is not a map of keys"},
    {"just words\n", "line 1: the document is not a map of keys"},
    {"? [a, b]\n: c\n", "a key is a list or a map"},
    {"model:\n  k: 3\n bad\n", "line 3, column 2: malformed YAML"},
    {"model:\n\tk: 3\n", "line 2, column 1: malformed YAML"},
    {"model: {k: 3\n", "malformed YAML"},
    {"model: {k: \"3}\n", "malformed YAML"},
    {"model:\n  k: 3\n\xFF\xFE\n", "line 3, column 1: malformed YAML"},
};

static void must_refuse(orth_status status, const char *text, const char *says)
{
    ck_assert_msg(status == ORTH_ERR_USAGE, "%s gives %d", text, (int)status);
    ck_assert_msg(strstr(orth_error_text(), says) != NULL, "'%s' says '%s', not '%s'", text,
                  orth_error_text(), says);
    orth_error_clear();
}

START_TEST(test_texts_that_are_refused)
{
    for (size_t i = 0; i < sizeof by_text / sizeof *by_text; i++) {
        orth_config c = {.log_every = 77};
        const char *text = by_text[i].text;
        must_refuse(orth_config_parse(text, (int64_t)strlen(text), "test.yaml", NULL, 0, &c), text,
                    by_text[i].says);
        ck_assert_int_eq(c.log_every, 77);
    }
}
END_TEST

START_TEST(test_overrides_that_are_refused)
{
    static const refused by_override[] = {
        {"model.k", "--set: 'model.k' is not key=value"},
        {"=3", "--set: '=3' is not key=value"},
        {"model.k=", "--set: model.k: the value is empty"},
        {"model.k=0", "--set: model.k: '0' is out of range"},
        {"model.kk=1", "--set: unknown key 'model.kk'; did you mean model.k?"},
        {"data.files=[a", "--set data.files, line 2, column 1: malformed YAML"},
        {"data.files=[a], b", "--set data.files, line 1, column 4: malformed YAML"},
        {"data.files=[]", "--set: data.files: the list is empty"},
        {"data.files=\xFF", "is not UTF-8"},
        {"run.dir=\xED\xA0\x80", "is not UTF-8"},
    };
    for (size_t i = 0; i < sizeof by_override / sizeof *by_override; i++) {
        orth_config c;
        must_refuse(orth_config_load(NULL, &by_override[i].text, 1, &c), by_override[i].text,
                    by_override[i].says);
    }
}
END_TEST

START_TEST(test_files_that_are_refused)
{
    char path[256];
    orth_config c;
    snprintf(path, sizeof path, "%s/missing.yaml", orth_check_folder());
    must_refuse(orth_config_load(path, NULL, 0, &c), path, "cannot be opened: No such file");
    must_refuse(orth_config_load(orth_check_folder(), NULL, 0, &c), "folder", "is a folder");
    snprintf(path, sizeof path, "%s/long.yaml", orth_check_folder());
    FILE *file = fopen(path, "w");
    for (int i = 0; i < 70000; i++)
        fputs("# sixteen bytes\n", file);
    fclose(file);
    must_refuse(orth_config_load(path, NULL, 0, &c), path, "longer than 1048576 bytes");
}
END_TEST

/* Brackets nested far deeper than any stack: refused at the second one. */
START_TEST(test_nesting_bombs)
{
    static const char *const openings[] = {"[", "{", "{a: ", "- ", "? ", "data: {files: [["};
    enum { LENGTH = 1 << 19 };
    char *text = malloc(LENGTH);
    for (size_t i = 0; i < sizeof openings / sizeof *openings; i++) {
        size_t n = strlen(openings[i]);
        for (size_t at = 0; at < LENGTH; at++)
            text[at] = openings[i][at % n];
        orth_config c;
        ck_assert_int_eq(orth_config_parse(text, LENGTH, "bomb", NULL, 0, &c), ORTH_ERR_USAGE);
        orth_error_clear();
    }
    free(text);
}
END_TEST

/* A valid text with random bytes changed, cut or doubled is read or refused, and never crashes. */
START_TEST(test_mutated_texts)
{
    static const char seed[] = "run: {dir: runs/a, steps: 2^14}\ndata:\n  files: [a.h5, 'b.h5']\n"
                               "model:\n  n_latent: 65_536\n  k: 32 # comment\ntrain:\n  lr: 1/32\n"
                               "checkpoint:\n  every: 00:30:00\n";
    static const char bytes[] = "[]{}:#&*!|>'\"%@`,-?\n\t \\0\xFF\xC3 19ae";
    int accepted = 0;
    for (uint64_t i = 0; i < 20000; i++) {
        char text[sizeof seed];
        memcpy(text, seed, sizeof seed);
        int64_t length = sizeof seed - 1;
        uint64_t changes = 1 + orth_random_bits(1, ORTH_RANDOM_TEST, i, 0) % 4;
        for (uint64_t j = 1; j <= changes; j++) {
            uint64_t bits = orth_random_bits(1, ORTH_RANDOM_TEST, i, j);
            text[bits % (sizeof seed - 1)] = bytes[(bits >> 32) % (sizeof bytes - 1)];
        }
        if (i % 5 == 0)
            length = (int64_t)(orth_random_bits(1, ORTH_RANDOM_TEST, i, 9) % sizeof seed);
        orth_config c;
        orth_status status = orth_config_parse(text, length, "fuzz", NULL, 0, &c);
        ck_assert(status == ORTH_OK || status == ORTH_ERR_USAGE);
        ck_assert(status == ORTH_OK || orth_error_text()[0]);
        if (status == ORTH_OK) {
            accepted++;
            orth_config_free(&c);
        }
        orth_error_clear();
    }
    ck_assert_msg(accepted > 100 && accepted < 19900, "%d accepted", accepted);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("config errors");
    TCase *test = tcase_create("config errors");
    tcase_set_timeout(test, 60);
    tcase_add_test(test, test_texts_that_are_refused);
    tcase_add_test(test, test_overrides_that_are_refused);
    tcase_add_test(test, test_files_that_are_refused);
    tcase_add_test(test, test_nesting_bombs);
    tcase_add_test(test, test_mutated_texts);
    suite_add_tcase(suite, test);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
