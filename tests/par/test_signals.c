/* Requests by signal, fatal signals, and the watchdog.
 * ranks: 1 */
#include "check_mpi.h"

#include <orthant/par/alive.h>
#include <orthant/par/signals.h>
#include <orthant/par/watchdog.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static bool early_save;

static void pause_ms(long milliseconds)
{
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    nanosleep(&time, NULL);
}

START_TEST(a_signal_before_mpi_init_is_kept)
{
    ck_assert(early_save);
}
END_TEST

START_TEST(requests_are_idempotent)
{
    /* Check catches TERM and INT itself while tests run. */
    orth_signals_setup();
    int stop = SIGUSR1;
    bool save = true;
    orth_signals_take(&stop, &save);
    ck_assert(!stop && !save);
    raise(SIGUSR2);
    raise(SIGUSR2);
    orth_signals_take(&stop, &save);
    ck_assert(!stop && save);
    orth_signals_take(&stop, &save);
    ck_assert(!stop && !save);
    raise(SIGTERM);
    raise(SIGTERM);
    raise(SIGUSR1);
    raise(SIGINT);
    orth_signals_take(&stop, &save);
    ck_assert(stop == SIGTERM && !save);
    ck_assert_str_eq(orth_signals_name(stop), "SIGTERM");
    orth_signals_take(&stop, &save);
    ck_assert(stop == SIGTERM && !save);
}
END_TEST

START_TEST(a_full_file_is_an_error)
{
    char path[128];
    snprintf(path, sizeof path, "%s/limited", orth_check_folder());
    struct rlimit before, small;
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 4;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    int file = open(path, O_CREAT | O_WRONLY, 0600);
    ssize_t first = write(file, "1234", 4), second = write(file, "5", 1);
    int reason = errno;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    close(file);
    ck_assert_int_eq(first, 4);
    ck_assert_int_eq(second, -1);
    ck_assert_int_eq(reason, EFBIG);
}
END_TEST

/* Run `work` in a child; what it wrote to stderr, and how it ended. */
static int child(void (*work)(void), char *text, size_t size)
{
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDERR_FILENO);
        work();
        _exit(99);
    }
    close(ends[1]);
    size_t length = 0;
    for (ssize_t n; (n = read(ends[0], text + length, size - 1 - length)) > 0;)
        length += (size_t)n;
    text[length] = '\0';
    close(ends[0]);
    int status = 0;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return status;
}

static void crash(void)
{
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    orth_signals_setup();
    orth_signals_describe(3, 1205);
    raise(SIGSEGV);
}

START_TEST(a_crash_names_rank_and_step)
{
    char text[1024], host[128] = "", expected[512];
    int status = child(crash, text, sizeof text);
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(WTERMSIG(status), SIGSEGV);
    gethostname(host, sizeof host - 1);
    snprintf(expected, sizeof expected,
             "orthant: error: rank 3 on %s, step 1205: segmentation fault; resume from the last "
             "checkpoint and report this\n",
             host);
    ck_assert_str_eq(text, expected);
}
END_TEST

static void hang(void)
{
    orth_phase_timer timer;
    orth_phase_start(&timer);
    orth_watchdog *watchdog = NULL;
    orth_watchdog_start(0.5, 5, &timer, &watchdog);
    /* Longer than the limit, but alive. */
    for (int i = 0; i < 20; i++) {
        pause_ms(40);
        orth_alive();
    }
    fprintf(stderr, "alive\n");
    orth_phase_enter(&timer, ORTH_PHASE_REDUCE);
    pause_ms(20000);
}

START_TEST(the_watchdog_names_rank_and_phase)
{
    char text[1024];
    int status = child(hang, text, sizeof text);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), ORTH_STALLED);
    ck_assert_ptr_eq(strstr(text, "alive\n"), text);
    ck_assert_ptr_nonnull(strstr(text, "orthant: error: rank 5 on "));
    ck_assert_ptr_nonnull(strstr(text, "no progress for 0 s in phase reduce; "));
}
END_TEST

static void wait_for_others(void)
{
    orth_watchdog *watchdog = NULL;
    orth_watchdog_start(0.8, 5, NULL, &watchdog);
    /* Every call of MPI that ends is progress. */
    for (int i = 0; i < 15; i++) {
        orth_wait_begin();
        pause_ms(80);
        if (orth_wait_end(i) != i)
            _exit(98);
    }
    fprintf(stderr, "%.9f\n", orth_now());
    orth_wait_begin();
    pause_ms(20000);
}

START_TEST(a_rank_that_waits_speaks_later_and_says_so)
{
    char text[1024], *line;
    setenv("OMPI_COMM_WORLD_LOCAL_RANK", "1", 1);
    int status = child(wait_for_others, text, sizeof text);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), ORTH_STALLED);
    ck_assert(orth_now() - strtod(text, &line) >= 0.8 * 1.25);
    ck_assert_ptr_nonnull(strstr(text, "an unknown phase: it waits for other ranks; "));
    /* Others of its node have said the same. */
    setenv("OMPI_COMM_WORLD_LOCAL_RANK", "2", 1);
    status = child(wait_for_others, text, sizeof text);
    ck_assert_int_eq(WEXITSTATUS(status), ORTH_STALLED);
    ck_assert(strtod(text, &line) > 0);
    ck_assert_str_eq(line, "\n");
    /* What hangs outside of MPI always speaks. */
    status = child(hang, text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "orthant: error: rank 5 on "));
}
END_TEST

static void stopped(void)
{
    orth_watchdog *watchdog = NULL;
    orth_watchdog_start(0.4, 0, NULL, &watchdog);
    raise(SIGSTOP);
    orth_alive();
    pause_ms(100);
    orth_watchdog_stop(watchdog);
    _exit(0);
}

START_TEST(a_suspended_process_does_not_age)
{
    pid_t pid = fork();
    if (pid == 0) {
        stopped();
        _exit(99);
    }
    int status = 0;
    ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
    ck_assert(WIFSTOPPED(status));
    pause_ms(1000);
    kill(pid, SIGCONT);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

START_TEST(no_watchdog_for_no_limit)
{
    orth_watchdog *watchdog = NULL;
    ck_assert_int_eq(orth_watchdog_start(0, 0, NULL, &watchdog), ORTH_OK);
    ck_assert_ptr_null(watchdog);
    orth_watchdog_stop(watchdog);
}
END_TEST

static Suite *make(void)
{
    /* MPI_Init is over: its handlers, if any, are replaced and what came before is still known. */
    orth_signals_setup();
    int stop;
    orth_signals_take(&stop, &early_save);
    Suite *suite = suite_create("signals");
    TCase *cases = tcase_create("signals");
    tcase_add_test(cases, a_signal_before_mpi_init_is_kept);
    tcase_add_test(cases, requests_are_idempotent);
    tcase_add_test(cases, a_full_file_is_an_error);
    tcase_add_test(cases, a_crash_names_rank_and_step);
    tcase_add_test(cases, the_watchdog_names_rank_and_phase);
    tcase_add_test(cases, a_rank_that_waits_speaks_later_and_says_so);
    tcase_add_test(cases, a_suspended_process_does_not_age);
    tcase_add_test(cases, no_watchdog_for_no_limit);
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    orth_signals_setup();
    raise(SIGUSR2);
    return orth_check_main(make);
}
