/* Every trial of bench runs, at sizes that fill no panel, tile or list. Their speed is not judged.
 * ranks: 1
 * threads: 2 */
#include <orthant/kern/table.h>
#include <orthant/kern/trial.h>

#include "check_mpi.h"

#include <string.h>

static void run_all(const orth_trial_sizes *sizes)
{
    for (int i = 0; i < orth_trial_count(); i++) {
        orth_trial *trial = NULL;
        ck_assert_int_eq(orth_trial_open(i, sizes, &trial), ORTH_OK);
        /* A library or a unit of the processor may be missing; fp32 and memory are always there. */
        orth_trial_limit by = orth_trial_limited_by(i);
        bool library = strstr(orth_trial_name(i), "oneDNN") != NULL;
        ck_assert_msg(trial || library || by == ORTH_TRIAL_BF16 || by == ORTH_TRIAL_INT8, "%s",
                      orth_trial_name(i));
        if (!trial)
            continue;
        ck_assert(orth_trial_work(trial) > 0.0);
        orth_trial_run(trial);
        orth_trial_run(trial);
        orth_trial_close(trial);
    }
}

START_TEST(test_every_trial_runs)
{
    const orth_trial_sizes sizes[] = {
        {.n_token = 1, .n_latent = 32, .d_model = 1, .k = 1, .bytes = 64, .operations = 1.0},
        {.n_token = 37, .n_latent = 131, .d_model = 67, .k = 5, .bytes = 9001, .operations = 1e5},
        {.n_token = 50, .n_latent = 300, .d_model = 200, .k = 300, .bytes = 70001, .operations = 1},
        /* Wider than some low precision allows. */
        {.n_token = 5,
         .n_latent = 33,
         .d_model = (1 << 16) + 1,
         .k = 3,
         .bytes = 64,
         .operations = 1.0}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        run_all(&sizes[i]);
}
END_TEST

START_TEST(test_names_and_limits)
{
    bool known[ORTH_TRIAL_LIMITS] = {false};
    for (int i = 0; i < orth_trial_count(); i++) {
        ck_assert(orth_trial_limited_by(i) < ORTH_TRIAL_LIMITS);
        known[orth_trial_limited_by(i)] |= orth_trial_sets_limit(i);
        for (int j = 0; j < i; j++)
            ck_assert_str_ne(orth_trial_name(i), orth_trial_name(j));
    }
    ck_assert(known[ORTH_TRIAL_FP32] && known[ORTH_TRIAL_MEMORY]);
}
END_TEST

/* A dense product's work is that of its three sizes; a kernel's is of whole panels. */
START_TEST(test_work)
{
    const orth_trial_sizes sizes = {
        .n_token = 12, .n_latent = 64, .d_model = 10, .k = 2, .bytes = 1000, .operations = 1.0};
    for (int i = 0; i < orth_trial_count(); i++) {
        orth_trial *trial = NULL;
        ck_assert_int_eq(orth_trial_open(i, &sizes, &trial), ORTH_OK);
        if (trial && orth_trial_sets_limit(i) && orth_trial_limited_by(i) != ORTH_TRIAL_MEMORY)
            ck_assert_double_eq(orth_trial_work(trial), 2.0 * 12 * 64 * 10);
        if (trial && strcmp(orth_trial_name(i), "chain") == 0)
            ck_assert_double_ge(orth_trial_work(trial), 2.0 * 12 * 64 * 10);
        orth_trial_close(trial);
    }
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("trial");
    TCase *test = tcase_create("trial");
    tcase_add_test(test, test_every_trial_runs);
    tcase_add_test(test, test_names_and_limits);
    tcase_add_test(test, test_work);
    suite_add_tcase(suite, test);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
