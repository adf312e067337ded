/* metrics.jsonl: lines, what is not finite, cutting back; the progress line.
 * ranks: 1 */
#include "check_mpi.h"

#include <orthant/base/fault.h>
#include <orthant/par/signals.h>
#include <orthant/run/metrics.h>
#include <orthant/run/progress.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *metrics_path(void)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/metrics.jsonl", orth_check_folder());
    return path;
}

static void put_file(const char *text)
{
    FILE *file = fopen(metrics_path(), "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static void get_file(char *text, size_t size)
{
    FILE *file = fopen(metrics_path(), "r");
    ck_assert_ptr_nonnull(file);
    size_t length = fread(text, 1, size - 1, file);
    text[length] = '\0';
    fclose(file);
}

static orth_metrics sample(int64_t step)
{
    orth_metrics m = {.step = step,
                      .tokens = 4096 * step,
                      .epoch = 2,
                      .loss = 0.1,
                      .mse = 1.0 / 3.0,
                      .aux = 5e-324,
                      .afa = NAN,
                      .l0 = 31.984375,
                      .n_dead = 17,
                      .grad_norm = INFINITY,
                      .lr = 1e-4,
                      .fvu = 0.25,
                      .tokens_per_s = 123456.789,
                      .time = 1.5};
    for (int i = 0; i < ORTH_PHASE_COUNT; i++)
        m.phase[i] = 0.001 * i;
    return m;
}

static double real(const json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);
    ck_assert_msg(json_is_real(value), "%s is not a real number", name);
    return json_real_value(value);
}

START_TEST(a_line_reads_back_bit_for_bit)
{
    char text[4096];
    orth_metrics_file *file = NULL;
    orth_metrics m = sample(10);
    m.has_code_hash = true;
    m.code_hash = 0x00FEDCBA98765432u;
    unlink(metrics_path());
    ck_assert_int_eq(orth_metrics_open(orth_check_folder(), 0, &file), ORTH_OK);
    ck_assert_int_eq(orth_metrics_write(file, &m), ORTH_OK);
    orth_metrics_close(file);
    get_file(text, sizeof text);
    ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
    json_t *object = json_loads(text, 0, NULL);
    ck_assert_ptr_nonnull(object);
    ck_assert_int_eq(json_integer_value(json_object_get(object, "step")), 10);
    ck_assert_int_eq(json_integer_value(json_object_get(object, "tokens")), 40960);
    ck_assert_int_eq(json_integer_value(json_object_get(object, "epoch")), 2);
    ck_assert_int_eq(json_integer_value(json_object_get(object, "n_dead")), 17);
    ck_assert(real(object, "loss") == m.loss && real(object, "mse") == m.mse);
    ck_assert(real(object, "aux") == m.aux && real(object, "l0") == m.l0);
    ck_assert(real(object, "lr") == m.lr && real(object, "fvu") == m.fvu);
    ck_assert(real(object, "tokens_per_s") == m.tokens_per_s && real(object, "time") == m.time);
    ck_assert(json_is_null(json_object_get(object, "afa")));
    ck_assert(json_is_null(json_object_get(object, "grad_norm")));
    ck_assert_str_eq(json_string_value(json_object_get(object, "code_hash")), "00fedcba98765432");
    json_t *phase = json_object_get(object, "phase");
    ck_assert_uint_eq(json_object_size(phase), ORTH_PHASE_COUNT);
    for (int i = 0; i < ORTH_PHASE_COUNT; i++)
        ck_assert(real(phase, orth_phase_name((orth_phase)i)) == m.phase[i]);
    ck_assert_uint_eq(json_object_size(object), 16);
    json_decref(object);
}
END_TEST

START_TEST(other_objects)
{
    char text[4096];
    orth_metrics_file *file = NULL;
    unlink(metrics_path());
    ck_assert_int_eq(orth_metrics_open(orth_check_folder(), 0, &file), ORTH_OK);
    json_t *value = json_pack("{s:f}", "fvu", 0.125);
    ck_assert_int_eq(orth_metrics_write_object(file, 20, "eval", value), ORTH_OK);
    ck_assert_uint_eq(value->refcount, 1);
    json_decref(value);
    orth_metrics_close(file);
    get_file(text, sizeof text);
    ck_assert_str_eq(text, "{\"step\":20,\"eval\":{\"fvu\":0.125}}\n");
}
END_TEST

#define LINE(step) "{\"step\":" #step ",\"loss\":0.5}\n"
#define EVAL(step) "{\"step\":" #step ",\"eval\":{}}\n"

START_TEST(cut_back_to_the_checkpoint)
{
    static const struct {
        const char *before;
        int64_t step;
        const char *after;
    } cases[] = {
        {LINE(10) LINE(20) EVAL(20) LINE(30) LINE(40), 20, LINE(10) LINE(20) EVAL(20)},
        {LINE(10) LINE(20) LINE(30), 25, LINE(10) LINE(20)},
        {LINE(10) LINE(20), 100, LINE(10) LINE(20)},
        {LINE(10) LINE(20) "{\"step\":30,\"lo", 100, LINE(10) LINE(20)},
        {LINE(10) LINE(20) "{\"step\":30", 100, LINE(10) LINE(20)},
        {LINE(10) "\n{\"step\":3", 10, LINE(10)},
        {LINE(10) LINE(20), 0, ""},
        {LINE(10) LINE(20), 5, ""},
        {"{\"st", 5, ""},
        {"", 5, ""},
        /* Damage before the end goes too, and nothing else with it. */
        {LINE(10) "{\"step\":2" LINE(20) LINE(30) LINE(40), 30, LINE(10) LINE(30)},
        {"x\n" LINE(10) "[1]\n{\"step\":-1}\n{\"loss\":1}\n" EVAL(10) "{", 10, LINE(10) EVAL(10)},
    };
    char text[4096];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        orth_metrics_file *file = NULL;
        put_file(cases[i].before);
        ck_assert_int_eq(orth_metrics_open(orth_check_folder(), cases[i].step, &file), ORTH_OK);
        /* What is written next goes to the file that was cut. */
        json_t *value = json_pack("{}");
        ck_assert_int_eq(orth_metrics_write_object(file, 99, "eval", value), ORTH_OK);
        json_decref(value);
        orth_metrics_close(file);
        get_file(text, sizeof text);
        size_t kept = strlen(cases[i].after);
        ck_assert_int_eq(strncmp(text, cases[i].after, kept), 0);
        ck_assert_str_eq(text + kept, EVAL(99));
    }
}
END_TEST

START_TEST(a_line_that_does_not_fit_is_taken_back)
{
    char text[4096];
    orth_metrics_file *file = NULL;
    struct rlimit before, small;
    orth_metrics m = sample(20);
    put_file(LINE(10));
    ck_assert_int_eq(orth_metrics_open(orth_check_folder(), 10, &file), ORTH_OK);
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = sizeof LINE(10) + 30;
    setrlimit(RLIMIT_FSIZE, &small);
    orth_status status = orth_metrics_write(file, &m);
    setrlimit(RLIMIT_FSIZE, &before);
    ck_assert_int_eq(status, ORTH_ERR_STORAGE);
    ck_assert_ptr_nonnull(strstr(orth_error_text(), "metrics.jsonl: cannot write"));
    orth_error_clear();
    get_file(text, sizeof text);
    ck_assert_str_eq(text, LINE(10));
    ck_assert_int_eq(orth_metrics_write(file, &m), ORTH_OK);
    orth_metrics_close(file);
    get_file(text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, LINE(10) "{\"step\":20,"));
}
END_TEST

#ifdef ORTH_FAULTS
START_TEST(a_torn_line_goes_before_the_next)
{
    char text[4096];
    orth_metrics_file *file = NULL;
    orth_metrics m = sample(20);
    put_file(LINE(10));
    ck_assert_int_eq(orth_metrics_open(orth_check_folder(), 10, &file), ORTH_OK);
    setenv("ORTHANT_FAULT", "metrics.append:1:short,metrics.restore:1:eio,metrics.restore:2:eio",
           1);
    ck_assert_int_eq(orth_fault_setup(-1), ORTH_OK);
    for (int failing = 0; failing < 2; failing++) { /* the second writes nothing after the torn */
        ck_assert_int_eq(orth_metrics_write(file, &m), ORTH_ERR_STORAGE);
        orth_error_clear();
        get_file(text, sizeof text);
        ck_assert_ptr_null(strchr(text + strlen(LINE(10)), '\n'));
        ck_assert_uint_gt(strlen(text), strlen(LINE(10)));
    }
    ck_assert_int_eq(orth_metrics_write(file, &m), ORTH_OK);
    unsetenv("ORTHANT_FAULT");
    ck_assert_int_eq(orth_fault_setup(-1), ORTH_OK);
    orth_metrics_close(file);
    get_file(text, sizeof text);
    ck_assert_int_eq(strncmp(text, LINE(10) "{\"step\":20,", strlen(LINE(10)) + 11), 0);
    ck_assert_ptr_eq(strchr(text + strlen(LINE(10)), '\n'), text + strlen(text) - 1);
}
END_TEST
#endif

START_TEST(a_folder_that_is_missing)
{
    orth_metrics_file *file = NULL;
    ck_assert_int_eq(orth_metrics_open("/nowhere", 0, &file), ORTH_ERR_STORAGE);
    ck_assert_ptr_null(file);
    ck_assert_ptr_nonnull(strstr(orth_error_text(), "/nowhere/metrics.jsonl: cannot open"));
    orth_error_clear();
}
END_TEST

START_TEST(the_progress_line)
{
    char text[256];
    orth_progress progress;
    orth_metrics m = sample(150);
    orth_progress_start(&progress, true, true, 100, 1100);
    ck_assert(!progress.terminal);
    progress.started = 1000;
    /* 50 steps in 20 s leave 950, 380 s. */
    orth_progress_text(&progress, &m, 1020, text, sizeof text);
    ck_assert_str_eq(text, "step 150/1100 (13.6%)  loss 0.1  L0 32.0  dead 17  123.5k tokens/s  "
                           "0:06:20 left");
    m.step = 1100;
    m.tokens_per_s = 950;
    orth_progress_text(&progress, &m, 1400, text, sizeof text);
    ck_assert_str_eq(
        text, "step 1100/1100 (100.0%)  loss 0.1  L0 32.0  dead 17  950 tokens/s  0:00:00 left");
    orth_progress_start(&progress, false, false, 0, 10);
    ck_assert(!progress.terminal && !progress.lines);
}
END_TEST

/* Records of roll-backs after the checkpoint's go, whatever their step says. */
START_TEST(cut_back_before_a_rollback)
{
#define RECORD(number) "{\"step\":10,\"rollback\":{\"number\":" #number ",\"to\":10}}\n"
    static const char all[] = LINE(9) LINE(10) RECORD(1) RECORD(2) LINE(11) LINE(12);
    static const struct {
        int64_t step, rollbacks;
        const char *after;
    } cases[] = {
        {10, 0, LINE(9) LINE(10)},
        {10, 1, LINE(9) LINE(10) RECORD(1)},
        {10, 2, LINE(9) LINE(10) RECORD(1) RECORD(2)},
        {11, 2, LINE(9) LINE(10) RECORD(1) RECORD(2) LINE(11)},
        {9, 2, LINE(9)},
    };
    char text[4096];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        orth_metrics_file *file = NULL;
        put_file(all);
        ck_assert_int_eq(
            orth_metrics_resume(orth_check_folder(), cases[i].step, cases[i].rollbacks, &file),
            ORTH_OK);
        orth_metrics_close(file);
        get_file(text, sizeof text);
        ck_assert_str_eq(text, cases[i].after);
    }
}
END_TEST

static Suite *make(void)
{
    orth_signals_setup();
    Suite *suite = suite_create("metrics");
    TCase *cases = tcase_create("metrics");
    tcase_add_test(cases, a_line_reads_back_bit_for_bit);
    tcase_add_test(cases, other_objects);
    tcase_add_test(cases, cut_back_to_the_checkpoint);
    tcase_add_test(cases, cut_back_before_a_rollback);
    tcase_add_test(cases, a_line_that_does_not_fit_is_taken_back);
#ifdef ORTH_FAULTS
    tcase_add_test(cases, a_torn_line_goes_before_the_next);
#endif
    tcase_add_test(cases, a_folder_that_is_missing);
    tcase_add_test(cases, the_progress_line);
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
