/* How often a job may start again without progress.
 * ranks: 1 3 */
#include "check_mpi.h"

#include <orthant/run/restarts.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *file_path(void)
{
    static char path[300];
    snprintf(path, sizeof path, "%s/restarts.json", orth_check_folder());
    return path;
}

static void set(const char *name, const char *value)
{
    if (value)
        setenv(name, value, 1);
    else
        unsetenv(name);
}

/* A start of a job (NULL: none) that SLURM or a loop has started `slurm` or `loop` times before. */
static orth_status start(const char *job, const char *slurm, const char *loop, int64_t step)
{
    set("SLURM_JOB_ID", job);
    set("SLURM_RESTART_COUNT", slurm);
    set("ORTHANT_RESTART_COUNT", loop);
    return orth_restarts_check(orth_check_folder(), step, MPI_COMM_WORLD);
}

static void put_file(const char *text)
{
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (rank == 0) {
        FILE *file = fopen(file_path(), "w");
        fputs(text, file);
        fclose(file);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

static void check_refused(orth_status status)
{
    ck_agree(status == ORTH_ERR_ENVIRONMENT);
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    const char *text = orth_error_text();
    ck_agree(rank != 0 || (strstr(text, "3 starts made no progress beyond step 40") &&
                           strstr(text, "orthant.log") && strstr(text, "submit a new job")));
    orth_error_clear();
}

START_TEST(three_starts_without_progress)
{
    ck_agree(start("7", NULL, NULL, 0) == ORTH_OK);
    ck_agree(start("7", "1", NULL, 40) == ORTH_OK);
    ck_agree(start("7", "2", NULL, 40) == ORTH_OK);
    ck_agree(start("7", "3", NULL, 40) == ORTH_OK);
    check_refused(start("7", "4", NULL, 40));
    check_refused(start("7", "5", NULL, 40));
}
END_TEST

START_TEST(progress_begins_again)
{
    ck_agree(start("7", NULL, NULL, 5) == ORTH_OK);
    for (int i = 0; i < 20; i++)
        ck_agree(start("7", "1", NULL, 6 + i / 2) == ORTH_OK);
    /* Nothing was ever saved. */
    ck_agree(start("8", NULL, NULL, 0) == ORTH_OK);
    ck_agree(start("8", "1", NULL, 0) == ORTH_OK);
    ck_agree(start("8", "2", NULL, 0) == ORTH_OK);
    ck_agree(start("8", "3", NULL, 0) == ORTH_ERR_ENVIRONMENT);
    orth_error_clear();
}
END_TEST

START_TEST(others_begin_again)
{
    put_file("{\"job\":\"7\",\"step\":40,\"starts\":2}\n");
    ck_agree(start("9", "4", NULL, 40) == ORTH_OK); /* another job */
    ck_agree(start("9", "5", NULL, 40) == ORTH_OK);
    put_file("{\"job\":\"7\",\"step\":40,\"starts\":2}\n");
    ck_agree(start("7", "0", NULL, 40) == ORTH_OK); /* not requeued */
    ck_agree(start("7", "1", NULL, 40) == ORTH_OK);
    put_file("{\"job\":\"7\",\"step\":40,\"starts\":2}\n");
    ck_agree(start(NULL, NULL, NULL, 40) == ORTH_OK); /* by hand */
    ck_agree(access(file_path(), F_OK) != 0);
}
END_TEST

START_TEST(a_loop_around_mpirun)
{
    ck_agree(start(NULL, NULL, "0", 40) == ORTH_OK);
    ck_agree(start(NULL, NULL, "1", 40) == ORTH_OK);
    ck_agree(start(NULL, NULL, "2", 40) == ORTH_OK);
    check_refused(start(NULL, NULL, "3", 40));
}
END_TEST

START_TEST(torn_and_foreign_files)
{
    static const char *const texts[] = {"",
                                        "{\"job\":\"7\",\"st",
                                        "[1, 2]",
                                        "{\"job\":7,\"step\":40,\"starts\":2}",
                                        "{\"job\":\"7\",\"step\":\"x\",\"starts\":2}",
                                        "{\"job\":\"7\",\"step\":40,\"starts\":-2}",
                                        "{\"job\":\"7\",\"step\":40,\"starts\":1e99}",
                                        "{\"job\":\"7\",\"step\":40,\"starts\":99999999999}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        put_file(texts[i]);
        ck_agree(start("7", "3", NULL, 40) == ORTH_OK);
        ck_agree(start("7", "4", NULL, 40) == ORTH_OK);
        ck_agree(start("7", "5", NULL, 40) == ORTH_OK);
        check_refused(start("7", "6", NULL, 40));
    }
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("restarts");
    TCase *cases = tcase_create("restarts");
    tcase_add_test(cases, three_starts_without_progress);
    tcase_add_test(cases, progress_begins_again);
    tcase_add_test(cases, others_begin_again);
    tcase_add_test(cases, a_loop_around_mpirun);
    tcase_add_test(cases, torn_and_foreign_files);
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
