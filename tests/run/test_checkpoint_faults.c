/* Storage that fails at each step of writing a checkpoint, on one rank and on all: an agreed error,
 * nothing left behind, the earlier checkpoint whole, the next attempt good.
 * ranks: 1 2 4 */
#include "checkpoint_values.h"

#include <orthant/base/fault.h>

#include <unistd.h>

#ifdef ORTH_FAULTS

enum { N_LATENT = 301, D_MODEL = 5, VISITS = 1000 };

/* Whether a fault was met anywhere is told by the status of what it was in. */
static void set_faults(const char *text)
{
    if (text)
        setenv("ORTHANT_FAULT", text, 1);
    else
        unsetenv("ORTHANT_FAULT");
    ck_agree(orth_fault_setup(rank_of()) == ORTH_OK);
}

static bool reads_back(const char *run_dir, int64_t step)
{
    char path[512];
    bool same = false;
    step_path(path, sizeof path, run_dir, step);
    return read_step(path, 1, ranks(), N_LATENT, D_MODEL, step, true, &same) == ORTH_OK && same;
}

static orth_status save(const char *run_dir, int64_t step, int64_t keep)
{
    return write_step(run_dir, 1, ranks(), N_LATENT, D_MODEL, step, keep);
}

static bool error_says(const char *part)
{
    int mine = orth_error_status() != ORTH_OK && strstr(orth_error_text(), part) ? 1 : 0, any = 0;
    MPI_Allreduce(&mine, &any, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    orth_error_clear();
    return any != 0;
}

/* A failed attempt at step 2, after which step 1 alone is there. */
static void fail_once(const char *run_dir, const char *fault, const char *says)
{
    set_faults(fault);
    orth_status status = save(run_dir, 2, 9);
    set_faults(NULL);
    ck_agree(status == ORTH_ERR_STORAGE);
    ck_agree(error_says(says));
    ck_agree(count_entries(run_dir) == 1);
}

static const char *begin_with_one(void)
{
    const char *run_dir = fresh_run_dir();
    ck_agree(save(run_dir, 1, 9) == ORTH_OK);
    return run_dir;
}

/* The earlier checkpoint is whole, and the storage is used again once it works. */
static void end_with_two(const char *run_dir)
{
    ck_agree(reads_back(run_dir, 1));
    ck_agree(save(run_dir, 2, 9) == ORTH_OK);
    ck_agree(count_entries(run_dir) == 2 && reads_back(run_dir, 1) && reads_back(run_dir, 2));
}

START_TEST(rank_0_alone)
{
    static const char *const faults[][2] = {
        {"checkpoint.create:1:eio@0", ".partial: cannot create: Input/output error"},
        {"checkpoint.create:1:erofs@0", ".partial: cannot create: Read-only file system"},
        {"checkpoint.create:1:edquot@0", "cannot create: Disk quota exceeded"},
        {"checkpoint.reserve:1:enospc@0", "MiB: No space left on device; free space"},
        {"checkpoint.reserve:1:edquot@0", "MiB: Disk quota exceeded; free space"},
        {"checkpoint.reserve:1:efbig@0", "MiB: File too large; free space"},
        {"h5.reserve:1:enospc@0", "No space left on device"},
        {"h5.create:1:eio@0", "cannot be created"},
        {"h5.close:1:eio@0", "cannot be closed"},
        {"checkpoint.rename:1:eio@0", "step-000000002.h5: cannot rename to it: Input/output error"},
    };
    const char *run_dir = begin_with_one();
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        fail_once(run_dir, faults[i][0], faults[i][1]);
    end_with_two(run_dir);
}
END_TEST

/* On each rank alone, and on all. */
START_TEST(any_rank)
{
    static const char *const faults[][2] = {
        {"h5.write:1:eio", "dataset '/model/W_enc': file operation failed, errno = 5"},
        {"h5.write:3:enospc", "dataset '/model/W_dec': file operation failed, errno = 28"},
        {"h5.write:3:edquot", "dataset '/model/W_dec': file operation failed, errno = 122"},
        {"h5.write:3:short", "/model/W_dec, row"},
        {"h5.write:1:flip", "/model/W_enc, row"},
        {"h5.write:4:flip", "/model/W_dec, row"},
        {"checkpoint.sync:1:eio", "cannot be brought to the disk: Input/output error"},
        {"checkpoint.sync:1:enospc", "cannot be brought to the disk: No space left on device"},
        {"h5.read:10:eio", "errno = 5"},
        {"h5.read:10:flip", ": checksum "},
    };
    const char *run_dir = begin_with_one();
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        fail_once(run_dir, faults[i][0], faults[i][1]);
        for (int r = 0; r < ranks(); r++) {
            char one[64];
            if (i % 3 != (size_t)r % 3 && ranks() > 2)
                continue; /* more ranks, fewer faults on each */
            snprintf(one, sizeof one, "%s@%d", faults[i][0], r);
            fail_once(run_dir, one, faults[i][1]);
        }
    }
    end_with_two(run_dir);
}
END_TEST

/* Every single write of the first and the last rank, each in the ways that the storage can fail.
 * Vectors, which rank 0 gathers, are among them. */
START_TEST(every_write)
{
    static const char *const actions[] = {"eio", "short", "flip"};
    const char *run_dir = begin_with_one();
    int failed = 0, last = ranks() - 1;
    for (int r = 0; r <= last; r += last ? last : 1)
        for (int visit = 1; visit < VISITS; visit++) {
            char fault[64];
            snprintf(fault, sizeof fault, "h5.write:%d:%s@%d", visit, actions[(visit + r) % 3], r);
            set_faults(fault);
            orth_status status = save(run_dir, 2, 9);
            set_faults(NULL);
            orth_error_clear();
            if (status == ORTH_OK)
                break;
            failed++;
            ck_agree(status == ORTH_ERR_STORAGE);
            ck_agree(count_entries(run_dir) == (r == 0 ? 1 : 2));
        }
    /* Eight matrices and their checksums, and on rank 0 nine vectors of the model and five small
     * ones with theirs. */
    ck_agree(failed == (last ? 60 : 44));
    ck_agree(reads_back(run_dir, 1) && reads_back(run_dir, 2));
}
END_TEST

/* The name stands, but perhaps not for ever: the run is told that it did not work. */
START_TEST(a_folder_that_cannot_be_synced)
{
    const char *run_dir = fresh_run_dir();
    ck_agree(save(run_dir, 1, 1) == ORTH_OK);
    set_faults("checkpoint.folder:1:eio@0");
    orth_status status = save(run_dir, 2, 1);
    set_faults(NULL);
    ck_agree(status == ORTH_ERR_STORAGE);
    ck_agree(error_says("checkpoints: cannot bring to the disk: Input/output error"));
    /* Nothing earlier goes before the new one is sure to stay. */
    ck_agree(count_entries(run_dir) == 2 && reads_back(run_dir, 1));
    ck_agree(save(run_dir, 3, 1) == ORTH_OK);
    ck_agree(count_entries(run_dir) == 1 && reads_back(run_dir, 3));
}
END_TEST

START_TEST(an_old_one_that_cannot_be_deleted)
{
    const char *run_dir = fresh_run_dir();
    for (int64_t step = 1; step <= 2; step++)
        ck_agree(save(run_dir, step, 9) == ORTH_OK);
    set_faults("checkpoint.delete:1:eacces@0");
    ck_agree(save(run_dir, 3, 1) == ORTH_OK);
    set_faults(NULL);
    ck_agree(count_entries(run_dir) == 2 && reads_back(run_dir, 2) && reads_back(run_dir, 3));
    ck_agree(save(run_dir, 4, 1) == ORTH_OK);
    ck_agree(count_entries(run_dir) == 1 && reads_back(run_dir, 4));
}
END_TEST

START_TEST(memory_that_is_refused_on_one_rank)
{
    const char *run_dir = begin_with_one();
    int failed = 0;
    for (int visit = 1; visit < VISITS; visit += ranks() == 1 ? 1 : 13) {
        char fault[64];
        MPI_Comm part;
        orth_grid grid;
        orth_sae sae;
        ck_agree(make_grid(1, ranks(), &part, &grid));
        ck_agree(make_sae(&grid, N_LATENT, D_MODEL, 0.999, true, &sae) == ORTH_OK);
        sae.step = 2;
        values(&sae, true);
        orth_checkpoint_info info = test_info(2);
        snprintf(fault, sizeof fault, "memory.allocate:%d:enomem@%d", visit, ranks() - 1);
        set_faults(fault);
        orth_status status = orth_checkpoint_write(run_dir, &sae, &info, true, 9);
        set_faults(NULL);
        orth_sae_free(&sae);
        free_grid(&part, &grid);
        orth_error_clear();
        if (status == ORTH_OK)
            break;
        failed++;
        ck_agree(count_entries(run_dir) == 1);
    }
    ck_agree(failed > 2);
    ck_agree(count_entries(run_dir) == 2 && reads_back(run_dir, 1));
}
END_TEST

START_TEST(a_folder_that_somebody_removed)
{
    char path[512];
    const char *run_dir = begin_with_one();
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank_of() == 0) {
        step_path(path, sizeof path, run_dir, 1);
        unlink(path);
        snprintf(path, sizeof path, "%s/checkpoints", run_dir);
        rmdir(path);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    ck_agree(save(run_dir, 2, 9) == ORTH_OK);
    ck_agree(reads_back(run_dir, 2));
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("checkpoint faults");
    TCase *cases = tcase_create("checkpoint faults");
    tcase_set_timeout(cases, 240);
    tcase_add_test(cases, rank_0_alone);
    tcase_add_test(cases, any_rank);
    tcase_add_test(cases, every_write);
    tcase_add_test(cases, a_folder_that_cannot_be_synced);
    tcase_add_test(cases, an_old_one_that_cannot_be_deleted);
    tcase_add_test(cases, memory_that_is_refused_on_one_rank);
    tcase_add_test(cases, a_folder_that_somebody_removed);
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}

#else

/* Nothing to fail with. */
int main(void)
{
    return 77;
}

#endif
