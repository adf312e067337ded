/* The run directory and its lock.
 * ranks: 1 3 */
#include "check_mpi.h"

#include <orthant/base/fault.h>
#include <orthant/base/log.h>
#include <orthant/base/status.h>
#include <orthant/run/lock.h>
#include <orthant/run/run_dir.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int rank_of(void)
{
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    return rank;
}

static char run_dir[256], lock_path[320];

static void fresh(void)
{
    static int count = 0;
    snprintf(run_dir, sizeof run_dir, "%s/run%d", orth_check_folder(), count++);
    snprintf(lock_path, sizeof lock_path, "%s/lock", run_dir);
    ck_agree(orth_run_dir_create(run_dir, MPI_COMM_WORLD) == ORTH_OK);
}

/* A lock file as another job would have left it, renewed `age` seconds ago; on rank 0. */
static void leave_lock(const char *host, long pid, const char *start, const char *job, int age)
{
    if (rank_of() == 0) {
        FILE *file = fopen(lock_path, "w");
        if (!file)
            MPI_Abort(MPI_COMM_WORLD, 1);
        if (host)
            fprintf(file, "host %s\npid %ld\nstart %s\njob %s\n", host, pid, start, job);
        fclose(file);
        struct timespec times[2];
        clock_gettime(CLOCK_REALTIME, &times[0]);
        times[0].tv_sec -= age;
        times[1] = times[0];
        utimensat(AT_FDCWD, lock_path, times, 0);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

/* Take and release; whether it was refused with a text that has `expected` (rank 0 words it). */
static bool refused(const char *expected)
{
    orth_lock *lock = NULL;
    orth_status status = orth_lock_acquire(run_dir, MPI_COMM_WORLD, &lock);
    bool said = rank_of() != 0 || strstr(orth_error_text(), expected) != NULL;
    orth_lock_release(lock);
    orth_error_clear();
    return status == ORTH_ERR_ENVIRONMENT && said;
}

static bool taken(void)
{
    orth_lock *lock = NULL;
    orth_status status = orth_lock_acquire(run_dir, MPI_COMM_WORLD, &lock);
    bool there = rank_of() != 0 || (lock && access(lock_path, F_OK) == 0);
    orth_lock_release(lock);
    return status == ORTH_OK && there;
}

START_TEST(a_second_job_is_refused)
{
    char expected[640], host[128] = "";
    orth_lock *lock = NULL;
    fresh();
    ck_agree(orth_lock_acquire(run_dir, MPI_COMM_WORLD, &lock) == ORTH_OK);
    ck_agree((lock != NULL) == (rank_of() == 0));
    ck_agree(!orth_lock_lost(lock));
    gethostname(host, sizeof host - 1);
    snprintf(expected, sizeof expected, "%s: the run directory is in use by process %ld on %s",
             lock_path, (long)getpid(), host);
    ck_agree(refused(expected));
    orth_lock_release(lock);
    MPI_Barrier(MPI_COMM_WORLD);
    ck_agree(access(lock_path, F_OK) != 0);
    ck_agree(taken());
}
END_TEST

START_TEST(a_lock_of_a_dead_process)
{
    char host[128] = "";
    gethostname(host, sizeof host - 1);
    fresh();
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    waitpid(pid, NULL, 0);
    leave_lock(host, (long)pid, "1234", "-", 0);
    ck_agree(taken());
    /* The number was given to another process since: this one, which started later. */
    leave_lock(host, (long)getpid(), "1", "-", 0);
    ck_agree(taken());
}
END_TEST

START_TEST(a_lock_of_another_host)
{
    fresh();
    leave_lock("elsewhere", 4711, "99", "812", 590);
    ck_agree(refused("in use by process 4711 on elsewhere, SLURM job 812, last seen 59"));
    leave_lock("elsewhere", 4711, "99", "812", 610);
    ck_agree(taken());
    leave_lock("elsewhere", 4711, "99", "812", 5);
    setenv("SLURM_JOB_ID", "813", 1);
    ck_agree(refused("elsewhere, SLURM job 812"));
    setenv("SLURM_JOB_ID", "812", 1);
    ck_agree(taken());
    unsetenv("SLURM_JOB_ID");
    leave_lock("elsewhere", 4711, "99", "-", 5);
    ck_agree(refused("in use by process 4711 on elsewhere, last seen"));
}
END_TEST

START_TEST(an_empty_lock)
{
    fresh();
    leave_lock(NULL, 0, "", "", 5);
    ck_agree(refused("another job is just taking this run directory"));
    leave_lock(NULL, 0, "", "", 90);
    ck_agree(taken());
}
END_TEST

/* Numbers that stand for a group of processes, or for none, name no holder. */
START_TEST(a_damaged_lock)
{
    static const struct {
        long pid;
        const char *start;
    } cases[] = {{0, "5"}, {-1, "5"}, {1L << 32, "5"}, {77, "five"}};
    char host[128] = "";
    gethostname(host, sizeof host - 1);
    fresh();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        leave_lock(host, cases[i].pid, cases[i].start, "-", 5);
        ck_agree(refused("another job is just taking this run directory"));
        leave_lock(host, cases[i].pid, cases[i].start, "-", 90);
        ck_agree(taken());
    }
}
END_TEST

/* The storage says that there is a lock, and that there is none. */
START_TEST(a_lock_that_leads_nowhere)
{
    orth_lock *lock = NULL;
    fresh();
    if (rank_of() == 0 && symlink("nowhere", lock_path) != 0)
        MPI_Abort(MPI_COMM_WORLD, 1);
    ck_agree(orth_lock_acquire(run_dir, MPI_COMM_WORLD, &lock) == ORTH_ERR_STORAGE);
    ck_agree(rank_of() != 0 || strstr(orth_error_text(), "cannot be looked at: No such file"));
    ck_agree(!lock);
    orth_error_clear();
}
END_TEST

START_TEST(another_ones_lock_is_not_released)
{
    orth_lock *lock = NULL;
    fresh();
    ck_agree(orth_lock_acquire(run_dir, MPI_COMM_WORLD, &lock) == ORTH_OK);
    if (rank_of() == 0)
        unlink(lock_path);
    leave_lock("elsewhere", 4711, "99", "-", 0);
    orth_lock_release(lock);
    MPI_Barrier(MPI_COMM_WORLD);
    ck_agree(access(lock_path, F_OK) == 0);
}
END_TEST

START_TEST(a_lock_that_another_took)
{
    orth_lock *lock = NULL;
    struct stat before, now;
    fresh();
    ck_agree(orth_lock_acquire(run_dir, MPI_COMM_WORLD, &lock) == ORTH_OK);
    if (rank_of() == 0) {
        static const struct timespec long_ago[2] = {{1000, 0}, {1000, 0}};
        utimensat(AT_FDCWD, lock_path, long_ago, 0);
        stat(lock_path, &before);
        orth_lock_renew(lock);
        ck_assert(stat(lock_path, &now) == 0 && now.st_mtim.tv_sec > before.st_mtim.tv_sec);
        ck_assert(!orth_lock_lost(lock));
        char aside[400];
        snprintf(aside, sizeof aside, "%s-aside", lock_path); /* its number is not given again */
        ck_assert_int_eq(rename(lock_path, aside), 0);
        fclose(fopen(lock_path, "w"));
        orth_lock_renew(lock);
        ck_assert(orth_lock_lost(lock));
    }
    orth_lock_release(lock);
}
END_TEST

#ifdef ORTH_FAULTS
START_TEST(storage_that_errs_takes_no_lock_away)
{
    orth_lock *lock = NULL;
    fresh();
    ck_agree(orth_lock_acquire(run_dir, MPI_COMM_WORLD, &lock) == ORTH_OK);
    setenv("ORTHANT_FAULT", "lock.renew:1+:eio", 1);
    ck_agree(orth_fault_setup(rank_of()) == ORTH_OK);
    if (rank_of() == 0)
        for (int i = 0; i < 3; i++)
            orth_lock_renew(lock);
    unsetenv("ORTHANT_FAULT");
    ck_agree(orth_fault_setup(rank_of()) == ORTH_OK);
    ck_agree(!orth_lock_lost(lock));
    orth_lock_release(lock);
}
END_TEST
#endif

START_TEST(folders_and_files)
{
    char path[400], text[64] = "";
    struct stat info;
    fresh();
    ck_agree(orth_run_dir_create(run_dir, MPI_COMM_WORLD) == ORTH_OK);
    snprintf(path, sizeof path, "%s/checkpoints", run_dir);
    ck_agree(stat(path, &info) == 0 && S_ISDIR(info.st_mode));
    snprintf(path, sizeof path, "%s/eval", run_dir);
    ck_agree(stat(path, &info) == 0 && S_ISDIR(info.st_mode));
    ck_agree(orth_run_dir_write(run_dir, "config.yaml", "first: 1\n", MPI_COMM_WORLD) == ORTH_OK);
    ck_agree(orth_run_dir_write(run_dir, "config.yaml", "b: 2\n", MPI_COMM_WORLD) == ORTH_OK);
    snprintf(path, sizeof path, "%s/config.yaml", run_dir);
    FILE *file = fopen(path, "r");
    ck_agree(file && fread(text, 1, sizeof text - 1, file) == 5);
    fclose(file);
    ck_agree(strcmp(text, "b: 2\n") == 0);
    if (rank_of() == 0) {
        FILE *log = NULL;
        ck_assert_int_eq(orth_run_dir_open_log(run_dir, &log), ORTH_OK);
        orth_log_setup(true, true);
        orth_log_file(log);
        orth_log_info("a line");
        orth_log_file(NULL);
        fclose(log);
        snprintf(path, sizeof path, "%s/orthant.log", run_dir);
        file = fopen(path, "r");
        ck_assert_ptr_nonnull(fgets(text, sizeof text, file));
        fclose(file);
        ck_assert_str_eq(text, "orthant: a line\n");
    }
}
END_TEST

START_TEST(folders_that_cannot_be)
{
    char path[400];
    /* The parent is missing; a file stands in the way; a file system that takes no files. */
    ck_agree(orth_run_dir_create("/nowhere/run", MPI_COMM_WORLD) == ORTH_ERR_STORAGE);
    ck_agree(
        rank_of() != 0 ||
        strstr(orth_error_text(),
               "/nowhere/run: cannot make the folder: No such file or directory; give run.dir"));
    orth_error_clear();
    snprintf(path, sizeof path, "%s/file", orth_check_folder());
    if (rank_of() == 0)
        fclose(fopen(path, "w"));
    MPI_Barrier(MPI_COMM_WORLD);
    ck_agree(orth_run_dir_create(path, MPI_COMM_WORLD) == ORTH_ERR_STORAGE);
    ck_agree(rank_of() != 0 || strstr(orth_error_text(), "/file: cannot make the folder: Not a"));
    orth_error_clear();
    ck_agree(orth_run_dir_create("/proc/self", MPI_COMM_WORLD) == ORTH_ERR_STORAGE);
    ck_agree(rank_of() != 0 || strstr(orth_error_text(), "/proc/self: cannot write there"));
    orth_error_clear();
}
END_TEST

static Suite *make(void)
{
    orth_log_setup(false, true);
    Suite *suite = suite_create("lock");
    TCase *cases = tcase_create("lock");
    tcase_add_test(cases, a_second_job_is_refused);
    tcase_add_test(cases, a_lock_of_a_dead_process);
    tcase_add_test(cases, a_lock_of_another_host);
    tcase_add_test(cases, an_empty_lock);
    tcase_add_test(cases, a_damaged_lock);
    tcase_add_test(cases, a_lock_that_leads_nowhere);
    tcase_add_test(cases, another_ones_lock_is_not_released);
    tcase_add_test(cases, a_lock_that_another_took);
#ifdef ORTH_FAULTS
    tcase_add_test(cases, storage_that_errs_takes_no_lock_away);
#endif
    tcase_add_test(cases, folders_and_files);
    tcase_add_test(cases, folders_that_cannot_be);
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
