/* What ORTHANT_FAULT may say, and which visits it concerns. */
#include "check_mpi.h"

#include <orthant/base/fault.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#ifdef ORTH_FAULTS

static orth_status set_up(const char *text, int rank)
{
    setenv("ORTHANT_FAULT", text, 1);
    orth_error_clear();
    orth_status status = orth_fault_setup(rank);
    return status;
}

START_TEST(only_the_visit_named)
{
    ck_assert_int_eq(set_up("memory.allocate:3:enospc", -1), ORTH_OK);
    for (int visit = 1; visit < 6; visit++) {
        errno = 0;
        ck_assert_int_eq(orth_fault("memory.allocate"),
                         visit == 3 ? ORTH_FAULT_ERROR : ORTH_FAULT_NONE);
        ck_assert_int_eq(errno, visit == 3 ? ENOSPC : 0);
        ck_assert_int_eq(orth_fault("step.begin"), ORTH_FAULT_NONE);
    }
}
END_TEST

START_TEST(that_visit_and_all_later_ones)
{
    ck_assert_int_eq(set_up("memory.allocate:2+:enomem", 0), ORTH_OK);
    for (int visit = 1; visit < 6; visit++)
        ck_assert_int_eq(orth_fault_fails("memory.allocate"), visit >= 2);
}
END_TEST

START_TEST(only_the_rank_named)
{
    ck_assert_int_eq(set_up("memory.allocate:1:eio@1,memory.allocate:2:eio@2", 2), ORTH_OK);
    ck_assert(!orth_fault_fails("memory.allocate"));
    ck_assert(orth_fault_fails("memory.allocate"));
}
END_TEST

static volatile sig_atomic_t received;

static void receive(int number)
{
    received = number;
}

START_TEST(a_signal)
{
    signal(SIGUSR2, receive);
    ck_assert_int_eq(set_up("step.begin:2:usr2", 0), ORTH_OK);
    orth_fault("step.begin");
    ck_assert_int_eq(received, 0);
    orth_fault("step.begin");
    ck_assert_int_eq(received, SIGUSR2);
}
END_TEST

START_TEST(what_cannot_be_meant)
{
    static const char *const texts[] = {"memory.allocate",
                                        "memory.allocate:1",
                                        "memory.allocate:0:eio",
                                        "memory.allocate:-1:eio",
                                        "memory.allocate:2x:eio",
                                        "memory.allocate:1:explode",
                                        "memory.allocate:1:eio@",
                                        "memory.allocate:1:eio@x",
                                        "memory.allocate:1:eio@1x",
                                        "memory.allocate:1:flip",
                                        "step.begin:1:eio",
                                        "nowhere:1:eio",
                                        ":1:eio"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        ck_assert_msg(set_up(texts[i], 0) == ORTH_ERR_USAGE, "%s", texts[i]);
        ck_assert_ptr_nonnull(strstr(orth_error_text(), texts[i]));
    }
}
END_TEST

#else

START_TEST(no_fault_injection_here)
{
    unsetenv("ORTHANT_FAULT");
    ck_assert_int_eq(orth_fault_setup(0), ORTH_OK);
    setenv("ORTHANT_FAULT", "step.begin:1:kill", 1);
    ck_assert_int_eq(orth_fault_setup(0), ORTH_ERR_USAGE);
    ck_assert_int_eq(orth_fault("step.begin"), ORTH_FAULT_NONE);
}
END_TEST

#endif

static Suite *make(void)
{
    Suite *suite = suite_create("fault");
    TCase *test = tcase_create("fault");
#ifdef ORTH_FAULTS
    tcase_add_test(test, only_the_visit_named);
    tcase_add_test(test, that_visit_and_all_later_ones);
    tcase_add_test(test, only_the_rank_named);
    tcase_add_test(test, a_signal);
    tcase_add_test(test, what_cannot_be_meant);
#else
    tcase_add_test(test, no_fault_injection_here);
#endif
    suite_add_tcase(suite, test);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
