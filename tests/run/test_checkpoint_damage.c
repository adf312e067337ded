/* Checkpoints that are damaged, cut, of a newer format, or not there.
 * ranks: 1 3 */
#include "checkpoint_values.h"

#include <orthant/base/random.h>
#include <orthant/io/h5.h>

#include <fcntl.h>
#include <unistd.h>

enum { N_LATENT = 37, D_MODEL = 8, FLIPS = 300 };

/* What the file says, as every rank sees it: OK and equal, or an agreed error. */
static orth_status examine(const char *path, int64_t step, bool *same)
{
    return read_step(path, 1, ranks(), N_LATENT, D_MODEL, step, true, same);
}

static int64_t file_size(const char *path)
{
    struct stat info;
    MPI_Barrier(MPI_COMM_WORLD);
    ck_agree(stat(path, &info) == 0);
    return (int64_t)info.st_size;
}

/* Flip one bit in place, on rank 0. Flipping it again restores the file. */
static void flip(const char *path, int64_t bit)
{
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank_of() == 0) {
        unsigned char byte = 0;
        int file = open(path, O_RDWR);
        if (file < 0 || pread(file, &byte, 1, bit / 8) != 1)
            MPI_Abort(MPI_COMM_WORLD, 1);
        byte = (unsigned char)(byte ^ (1u << (bit % 8)));
        if (pwrite(file, &byte, 1, bit / 8) != 1 || close(file) != 0)
            MPI_Abort(MPI_COMM_WORLD, 1);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

static void cut(const char *path, int64_t length)
{
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank_of() == 0 && truncate(path, length) != 0)
        MPI_Abort(MPI_COMM_WORLD, 1);
    MPI_Barrier(MPI_COMM_WORLD);
}

/* The error of the lowest rank that has one contains `part`; forget it everywhere. */
static bool error_says(const char *part)
{
    int mine = orth_error_status() != ORTH_OK && strstr(orth_error_text(), part) ? 1 : 0, any = 0;
    MPI_Allreduce(&mine, &any, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    orth_error_clear();
    return any != 0;
}

static void write_steps(const char *run_dir, int64_t first, int64_t last)
{
    for (int64_t step = first; step <= last; step++)
        ck_agree(write_step(run_dir, 1, ranks(), N_LATENT, D_MODEL, step, 9) == ORTH_OK);
}

START_TEST(no_flipped_bit_goes_unnoticed)
{
    char path[512];
    bool same = false;
    const char *run_dir = fresh_run_dir();
    write_steps(run_dir, 3, 3);
    step_path(path, sizeof path, run_dir, 3);
    int64_t bits = 8 * file_size(path);
    int detected = 0;
    for (int i = 0; i < FLIPS; i++) {
        int64_t bit =
            (int64_t)(orth_random_bits(1, ORTH_RANDOM_TEST, (uint64_t)i, 0) % (uint64_t)bits);
        flip(path, bit);
        orth_status status = examine(path, 3, &same);
        flip(path, bit);
        ck_agree(status == ORTH_ERR_CORRUPT || (status == ORTH_OK && same));
        ck_agree(status == ORTH_OK || error_says(path));
        detected += status != ORTH_OK;
    }
    /* Most of the file is data: a check that detects little checks nothing. */
    ck_agree(detected > FLIPS / 2);
    ck_agree(examine(path, 3, &same) == ORTH_OK && same);
}
END_TEST

/* Where dataset `name` starts in the file, read by this test. */
static int64_t offset_of(const char *path, const char *name)
{
    orth_h5_file *file = NULL;
    orth_h5_dataset *dataset = NULL;
    ck_agree(orth_h5_open(path, ORTH_H5_READ, ORTH_ERR_CORRUPT, MPI_COMM_WORLD, &file) == ORTH_OK);
    ck_agree(orth_h5_dataset_open(file, name, &dataset) == ORTH_OK);
    int64_t offset = orth_h5_dataset_layout(dataset)->offset;
    orth_h5_dataset_close(dataset);
    ck_agree(orth_h5_close(file) == ORTH_OK);
    return offset;
}

START_TEST(damage_is_named)
{
    static const struct {
        const char *dataset;
        int64_t byte;
        const char *expected;
    } places[] = {{"/model/W_dec", (11 * D_MODEL + 3) * 4, "/model/W_dec, row 11:"},
                  {"/optimizer/v/W_enc", 36 * D_MODEL * 4, "/optimizer/v/W_enc, row 36:"},
                  {"/model/b_enc", 5, "/model/b_enc, block of 4096 elements 0:"},
                  {"/state/steps_since_fired", 80, "/state/steps_since_fired, block"},
                  {"/checksum/ema/W_enc", 4 * 20, "/ema/W_enc, row 20:"},
                  {"/state/cursor", 9, "/state/cursor, block"},
                  {"/config", 3, "/config, block"}};
    char path[512];
    bool same = false;
    const char *run_dir = fresh_run_dir();
    write_steps(run_dir, 3, 3);
    step_path(path, sizeof path, run_dir, 3);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        int64_t bit = 8 * (offset_of(path, places[i].dataset) + places[i].byte);
        flip(path, bit);
        ck_agree(examine(path, 3, &same) == ORTH_ERR_CORRUPT);
        ck_agree(error_says(places[i].expected));
        ck_agree(orth_checkpoint_verify(path, MPI_COMM_WORLD) == ORTH_ERR_CORRUPT);
        ck_agree(error_says(places[i].expected));
        flip(path, bit);
    }
}
END_TEST

START_TEST(truncated_files)
{
    char path[512];
    bool same = false;
    const char *run_dir = fresh_run_dir();
    for (int i = 0; i < 8; i++) {
        write_steps(run_dir, 3, 3);
        step_path(path, sizeof path, run_dir, 3);
        int64_t size = file_size(path);
        cut(path, i < 4 ? i * 40 : size - 1 - (i - 4) * size / 4);
        ck_agree(examine(path, 3, &same) == ORTH_ERR_CORRUPT);
        ck_agree(error_says(path));
    }
}
END_TEST

START_TEST(not_a_checkpoint)
{
    char path[512];
    bool same = false;
    snprintf(path, sizeof path, "%s/none.h5", orth_check_folder());
    ck_agree(examine(path, 3, &same) == ORTH_ERR_USAGE);
    ck_agree(error_says("there is no such checkpoint"));
    orth_h5_file *file = NULL;
    ck_agree(orth_h5_create(path, MPI_COMM_WORLD, &file) == ORTH_OK);
    ck_agree(orth_h5_close(file) == ORTH_OK);
    ck_agree(examine(path, 3, &same) == ORTH_ERR_CORRUPT);
    ck_agree(error_says("not an Orthant checkpoint"));
}
END_TEST

/* A file that says of itself only its format and version. */
static void write_newer(const char *path)
{
    orth_h5_file *file = NULL;
    ck_agree(orth_h5_create(path, MPI_COMM_WORLD, &file) == ORTH_OK);
    ck_agree(orth_h5_attribute_write_text(file, "/", "format", "orthant-checkpoint") == ORTH_OK);
    ck_agree(orth_h5_attribute_write_int64(file, "/", "format_version", 2) == ORTH_OK);
    ck_agree(orth_h5_close(file) == ORTH_OK);
}

START_TEST(a_newer_format)
{
    char path[512], *found = NULL;
    bool same = false;
    const char *run_dir = fresh_run_dir();
    write_steps(run_dir, 3, 3);
    step_path(path, sizeof path, run_dir, 4);
    write_newer(path);
    ck_agree(examine(path, 4, &same) == ORTH_ERR_CORRUPT);
    ck_agree(error_says("format version 2, this program reads up to version 1"));
    /* An earlier checkpoint would do, but what came after it would be lost unseen. */
    ck_agree(orth_checkpoint_find(run_dir, MPI_COMM_WORLD, true, &found) == ORTH_ERR_CORRUPT);
    ck_agree(error_says("format version 2, this program reads up to version 1"));
    ck_agree(found == NULL);
}
END_TEST

static bool found_is(const char *found, const char *run_dir, int64_t step)
{
    char path[512];
    step_path(path, sizeof path, run_dir, step);
    return found && strcmp(found, path) == 0;
}

START_TEST(the_newest_that_verifies)
{
    char path[512], partial[600], *found = NULL;
    const char *run_dir = fresh_run_dir();
    ck_agree(orth_checkpoint_find(run_dir, MPI_COMM_WORLD, true, &found) == ORTH_OK);
    ck_agree(found == NULL);
    ck_agree(orth_checkpoint_find("/nowhere", MPI_COMM_WORLD, true, &found) == ORTH_OK);
    ck_agree(found == NULL);
    write_steps(run_dir, 9, 11);
    snprintf(partial, sizeof partial, "%s/checkpoints/.step-000000012.h5.partial", run_dir);
    if (rank_of() == 0)
        fclose(fopen(partial, "w"));
    ck_agree(orth_checkpoint_find(run_dir, MPI_COMM_WORLD, false, &found) == ORTH_OK);
    ck_agree(found_is(found, run_dir, 11));
    ck_agree(access(partial, F_OK) == 0);
    free(found);
    ck_agree(orth_checkpoint_verify_all(run_dir, MPI_COMM_WORLD) == ORTH_OK);
    step_path(path, sizeof path, run_dir, 11);
    flip(path, 8 * offset_of(path, "/optimizer/m/W_dec"));
    ck_agree(orth_checkpoint_verify_all(run_dir, MPI_COMM_WORLD) == ORTH_ERR_CORRUPT);
    ck_agree(error_says("step-000000011.h5"));
    /* A later one, damaged or not, is not looked at and stays. */
    ck_agree(orth_checkpoint_find_up_to(run_dir, 10, MPI_COMM_WORLD, true, &found) == ORTH_OK);
    ck_agree(found_is(found, run_dir, 10) && access(path, F_OK) == 0);
    free(found);
    ck_agree(orth_checkpoint_find_up_to(run_dir, 8, MPI_COMM_WORLD, true, &found) == ORTH_OK);
    ck_agree(found == NULL && access(path, F_OK) == 0);
    if (rank_of() == 0)
        fclose(fopen(partial, "w"));
    step_path(path, sizeof path, run_dir, 10);
    cut(path, 1000);
    ck_agree(orth_checkpoint_find(run_dir, MPI_COMM_WORLD, true, &found) == ORTH_OK);
    ck_agree(found_is(found, run_dir, 9));
    ck_agree(orth_error_status() == ORTH_OK);
    free(found);
    MPI_Barrier(MPI_COMM_WORLD);
    ck_agree(access(partial, F_OK) != 0);
    /* The damaged ones are set aside: they would count among those that are kept. */
    ck_agree(access(path, F_OK) != 0);
    snprintf(partial, sizeof partial, "%s.damaged", path);
    ck_agree(access(partial, F_OK) == 0);
    step_path(path, sizeof path, run_dir, 9);
    flip(path, 8 * offset_of(path, "/model/b_dec"));
    ck_agree(orth_checkpoint_find(run_dir, MPI_COMM_WORLD, true, &found) == ORTH_ERR_CORRUPT);
    ck_agree(error_says("none of its 1 checkpoints can be used (the newest: "));
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("checkpoint damage");
    TCase *cases = tcase_create("checkpoint damage");
    tcase_add_test(cases, no_flipped_bit_goes_unnoticed);
    tcase_add_test(cases, damage_is_named);
    tcase_add_test(cases, truncated_files);
    tcase_add_test(cases, not_a_checkpoint);
    tcase_add_test(cases, a_newer_format);
    tcase_add_test(cases, the_newest_that_verifies);
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
