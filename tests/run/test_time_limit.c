/* When a run has to stop: its own limit and SLURM's, with a clock that the test sets.
 * ranks: 1 */
#include "check_mpi.h"

#include <orthant/run/time_limit.h>

#include <string.h>

/* A limit of 1000 s from 100 on, a guess of 1 s for a checkpoint. */
static orth_time_limit thousand(void)
{
    orth_time_limit limit;
    orth_time_limit_start(&limit, 100, 1000, 0);
    return limit;
}

/* Reached from `at` on, for steps without an evaluation. */
static void check_reached_at(const orth_time_limit *limit, double at)
{
    ck_assert(!orth_time_limit_reached(limit, at - 0.1, false, 0));
    ck_assert(orth_time_limit_reached(limit, at + 0.1, false, 0));
}

START_TEST(no_limit)
{
    orth_time_limit limit;
    orth_time_limit_start(&limit, 100, 0, 1 << 30);
    orth_time_limit_step(&limit, 1e6);
    ck_assert(!orth_time_limit_reached(&limit, 1e12, true, 1e6));
    ck_assert_ptr_null(orth_time_limit_slurm(&limit, NULL, 1e9, 100));
    ck_assert_ptr_null(orth_time_limit_slurm(&limit, "", 1e9, 100));
    ck_assert(limit.end == 0);
}
END_TEST

/* Steps of minutes, checkpoints of minutes: a quarter more than the longest of each, and a second.
 */
START_TEST(the_longest_of_each_is_kept_in_reserve)
{
    orth_time_limit limit = thousand();
    ck_assert(!orth_time_limit_measured(&limit));
    orth_time_limit_step(&limit, 120);
    orth_time_limit_step(&limit, 60);
    check_reached_at(&limit, 1100 - 1.25 * 121 - 1);
    orth_time_limit_checkpoint(&limit, 300);
    ck_assert(orth_time_limit_measured(&limit));
    check_reached_at(&limit, 1100 - 1.25 * 420 - 1);
    orth_time_limit_checkpoint(&limit, 200);
    check_reached_at(&limit, 1100 - 1.25 * 420 - 1);
    ck_assert_str_eq(limit.what, "run.max_time");
}
END_TEST

START_TEST(a_guess_gives_way_to_a_measurement)
{
    orth_time_limit limit;
    /* 1e10 bytes twice at 200 MB/s: 100 s. */
    orth_time_limit_start(&limit, 100, 1000, INT64_C(10000000000));
    check_reached_at(&limit, 1100 - 125 - 1);
    orth_time_limit_checkpoint(&limit, 0.0);
    ck_assert(orth_time_limit_measured(&limit));
    check_reached_at(&limit, 1100 - 1);
}
END_TEST

START_TEST(an_evaluation_counts_where_it_is_due)
{
    orth_time_limit limit = thousand();
    orth_time_limit_step(&limit, 2);
    orth_time_limit_checkpoint(&limit, 8);
    double plain = 1100 - 12.5 - 1;
    check_reached_at(&limit, plain);
    /* Not measured yet: as long as 50 steps. */
    ck_assert(orth_time_limit_reached(&limit, plain - 124, true, 50));
    ck_assert(!orth_time_limit_reached(&limit, plain - 126, true, 50));
    orth_time_limit_evaluation(&limit, 400);
    orth_time_limit_evaluation(&limit, 4);
    ck_assert(orth_time_limit_reached(&limit, plain - 499, true, 50));
    ck_assert(!orth_time_limit_reached(&limit, plain - 501, true, 50));
    check_reached_at(&limit, plain);
}
END_TEST

START_TEST(shorter_than_anything)
{
    orth_time_limit limit;
    orth_time_limit_start(&limit, 100, 1, 0);
    ck_assert(orth_time_limit_reached(&limit, 100, false, 0));
    /* The time left is less than a checkpoint took. */
    limit = thousand();
    orth_time_limit_checkpoint(&limit, 5000);
    ck_assert(orth_time_limit_reached(&limit, 101, false, 0));
}
END_TEST

/* The time of day is 1700000000 when orth_now is 5000. */
START_TEST(the_limit_of_slurm)
{
    orth_time_limit limit;
    orth_time_limit_start(&limit, 4990, 0, 0);
    ck_assert_ptr_null(orth_time_limit_slurm(&limit, "1700000600", 1.7e9, 5000));
    ck_assert_str_eq(limit.what, "SLURM's time limit");
    orth_time_limit_step(&limit, 7);
    check_reached_at(&limit, 5600 - 1.25 * 8 - 5);
}
END_TEST

START_TEST(the_earlier_limit_counts)
{
    orth_time_limit limit;
    orth_time_limit_start(&limit, 4990, 300, 0);
    ck_assert_ptr_null(orth_time_limit_slurm(&limit, "1700000600", 1.7e9, 5000));
    ck_assert_str_eq(limit.what, "run.max_time");
    check_reached_at(&limit, 5290 - 1.25 - 1);
    ck_assert_ptr_null(orth_time_limit_slurm(&limit, "1700000060", 1.7e9, 5000));
    ck_assert_str_eq(limit.what, "SLURM's time limit");
    check_reached_at(&limit, 5060 - 1.25 - 5);
}
END_TEST

/* Just over is over; what is long past or not a time is not of this job. */
START_TEST(nonsense_is_not_used)
{
    static const char *const nonsense[] = {
        "abc",        "12:00:00", "1700000600 ", "17e9",        "-5", "0", "99999999999999999999",
        "1699990000", "1000",     "2100000000",  "1700000600.5"};
    orth_time_limit limit = thousand();
    for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++) {
        ck_assert_ptr_nonnull(orth_time_limit_slurm(&limit, nonsense[i], 1.7e9, 5000));
        ck_assert(limit.end == 1100);
        ck_assert_str_eq(limit.what, "run.max_time");
    }
    orth_time_limit_start(&limit, 4990, 0, 0);
    ck_assert_ptr_null(orth_time_limit_slurm(&limit, "1699999990", 1.7e9, 5000));
    ck_assert(orth_time_limit_reached(&limit, 5000, false, 0));
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("time limit");
    TCase *cases = tcase_create("time limit");
    tcase_add_test(cases, no_limit);
    tcase_add_test(cases, the_longest_of_each_is_kept_in_reserve);
    tcase_add_test(cases, a_guess_gives_way_to_a_measurement);
    tcase_add_test(cases, an_evaluation_counts_where_it_is_due);
    tcase_add_test(cases, shorter_than_anything);
    tcase_add_test(cases, the_limit_of_slurm);
    tcase_add_test(cases, the_earlier_limit_counts);
    tcase_add_test(cases, nonsense_is_not_used);
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
