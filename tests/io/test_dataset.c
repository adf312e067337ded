/* Activation files as one table: every form on disk gives the same values; bad files are named.
 * ranks: 1 3 */
#include <orthant/io/dataset.h>
#include <orthant/io/h5.h>
#include <orthant/par/agree.h>

#include "check_mpi.h"
#include "format_values.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const good[] = {
    FORMAT_FILE("f2"),        FORMAT_FILE("f4"),        FORMAT_FILE("f8"),
    FORMAT_FILE("f2-big"),    FORMAT_FILE("f4-big"),    FORMAT_FILE("f8-big"),
    FORMAT_FILE("bf16"),      FORMAT_FILE("bf16-big"),  FORMAT_FILE("chunked"),
    FORMAT_FILE("gzip"),      FORMAT_FILE("userblock"), FORMAT_FILE("part-?"),
    FORMAT_FILE("soft-link"),
};
enum { N_GOOD = sizeof good / sizeof *good };

static int rank;

static void find_rank(void)
{
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    orth_error_clear();
}

static orth_dataset *open_one(const char *path)
{
    orth_dataset *dataset = NULL;
    orth_status status = orth_dataset_open(&path, 1, "activations", MPI_COMM_WORLD, &dataset);
    ck_agree(status == ORTH_OK, "%s", orth_error_text());
    return dataset;
}

START_TEST(test_values)
{
    orth_dataset *dataset = open_one(good[_i]);
    ck_agree(orth_dataset_rows(dataset) == FORMAT_ROWS);
    ck_agree(orth_dataset_width(dataset) == FORMAT_WIDTH);
    /* Backwards, scattered with repeats, nothing; another number of reads on each rank. */
    int64_t rows[FORMAT_ROWS + 4];
    float out[(FORMAT_ROWS + 4) * FORMAT_WIDTH];
    bool equal = true;
    for (int round = 0; round <= rank; round++) {
        int64_t count = 0;
        for (int64_t i = FORMAT_ROWS; i-- > 0;)
            rows[count++] = i;
        for (int64_t i = 0; i < 4; i++)
            rows[count++] = (5 * i + 3 + rank) % FORMAT_ROWS;
        equal = equal && orth_dataset_read(dataset, rows, count, out) == ORTH_OK;
        for (int64_t i = 0; i < count; i++)
            for (int64_t j = 0; j < FORMAT_WIDTH; j++)
                equal = equal && out[i * FORMAT_WIDTH + j] == format_value(rows[i], j);
        equal = equal && orth_dataset_read(dataset, rows, 0, out) == ORTH_OK;
    }
    ck_agree(equal, "%s", good[_i]);
    orth_dataset_close(dataset);
}
END_TEST

START_TEST(test_locate)
{
    orth_dataset *dataset = open_one(FORMAT_FILE("part-?"));
    const int64_t first[] = {0, 5, 6, 6, 15, FORMAT_ROWS};
    for (int part = 0; part < 5; part++)
        for (int64_t row = first[part]; row < first[part + 1]; row++) {
            int64_t inside = -1;
            const char *path = orth_dataset_locate(dataset, row, &inside);
            const char *name = strrchr(path, '/') + 1;
            ck_agree(name[5] == '0' + part && inside == row - first[part]);
        }
    orth_dataset_close(dataset);
    /* The listed order counts, not the names'. */
    const char *files[] = {FORMAT_FILE("part-3"), FORMAT_FILE("part-0"), FORMAT_FILE("part-1")};
    ck_agree(orth_dataset_open(files, 3, "activations", MPI_COMM_WORLD, &dataset) == ORTH_OK);
    int64_t rows[2] = {0, 10};
    float out[2 * FORMAT_WIDTH];
    ck_agree(orth_dataset_read(dataset, rows, 2, out) == ORTH_OK);
    ck_agree(out[0] == format_value(6, 0) && out[FORMAT_WIDTH] == format_value(1, 0));
    orth_dataset_close(dataset);
}
END_TEST

static orth_fingerprint fingerprint_of(const char *path, MPI_Comm comm)
{
    orth_dataset *dataset = NULL;
    orth_fingerprint print = {0};
    if (orth_dataset_open(&path, 1, "activations", comm, &dataset) == ORTH_OK)
        orth_dataset_fingerprint(dataset, &print);
    orth_dataset_close(dataset);
    return print;
}

static void write_rows(const char *path, int64_t begin, int64_t end, float change)
{
    orth_h5_file *file = NULL;
    orth_h5_dataset *dataset = NULL;
    int64_t extent[2] = {end - begin, FORMAT_WIDTH};
    float data[FORMAT_ROWS * FORMAT_WIDTH];
    for (int64_t i = 0; i < end - begin; i++)
        for (int64_t j = 0; j < FORMAT_WIDTH; j++)
            data[i * FORMAT_WIDTH + j] = format_value(begin + i, j);
    data[1] += change;
    ck_agree(orth_h5_create(path, MPI_COMM_WORLD, &file) == ORTH_OK);
    ck_agree(orth_h5_dataset_create(file, "activations", ORTH_H5_FLOAT, 2, extent, &dataset) ==
             ORTH_OK);
    ck_agree(orth_h5_write(dataset, 0, rank == 0 ? end - begin : 0, ORTH_H5_FLOAT, data) ==
             ORTH_OK);
    orth_h5_dataset_close(dataset);
    ck_agree(orth_h5_close(file) == ORTH_OK);
}

START_TEST(test_fingerprint)
{
    orth_fingerprint one = fingerprint_of(FORMAT_FILE("f4"), MPI_COMM_WORLD);
    orth_fingerprint alone = fingerprint_of(FORMAT_FILE("f4"), MPI_COMM_SELF);
    ck_agree(one.rows == FORMAT_ROWS && one.d_model == FORMAT_WIDTH && one.hash != 0);
    ck_agree(alone.hash == one.hash);
    ck_agree(fingerprint_of(FORMAT_FILE("f4-big"), MPI_COMM_WORLD).hash == one.hash);
    ck_agree(fingerprint_of(FORMAT_FILE("gzip"), MPI_COMM_WORLD).hash == one.hash);
    ck_agree(fingerprint_of(FORMAT_FILE("f2"), MPI_COMM_WORLD).hash != one.hash);
    ck_agree(fingerprint_of(FORMAT_FILE("nonfinite"), MPI_COMM_WORLD).hash != one.hash);
    /* The same rows over two files, then with one value changed. */
    char a[256], b[256];
    snprintf(a, sizeof a, "%s/a.h5", orth_check_folder());
    snprintf(b, sizeof b, "%s/b.h5", orth_check_folder());
    for (int changed = 0; changed < 2; changed++) {
        write_rows(a, 0, 17, 0);
        write_rows(b, 17, FORMAT_ROWS, (float)changed);
        const char *files[] = {a, b};
        orth_dataset *dataset = NULL;
        orth_fingerprint print;
        ck_agree(orth_dataset_open(files, 2, "activations", MPI_COMM_WORLD, &dataset) == ORTH_OK);
        ck_agree(orth_dataset_fingerprint(dataset, &print) == ORTH_OK);
        ck_agree(print.rows == FORMAT_ROWS && (print.hash == one.hash) == !changed);
        orth_dataset_close(dataset);
    }
}
END_TEST

typedef struct refusal {
    const char *file;
    const char *dataset;
    const char *says[3];
} refusal;

static const refusal refusals[] = {
    {"/no/such/file.h5", NULL, {"/no/such/file.h5", "No such file"}},
    {"/no/such/*.h5", NULL, {"/no/such/*.h5", "no file matches"}},
    {ORTH_TEST_DATA "/formats", NULL, {"formats", "is a folder"}},
    {ORTH_TEST_DATA "/formats/make.py", NULL, {"make.py", "not an HDF5 file"}},
    {FORMAT_FILE("other-name"), NULL, {"other-name.h5", "'activations'", "hidden"}},
    {FORMAT_FILE("f4"), "absent", {"f4.h5", "'absent'", "activations"}},
    {FORMAT_FILE("one-dimension"), NULL, {"one-dimension.h5", "1 dimension, expected 2"}},
    {FORMAT_FILE("three-dimensions"), NULL, {"three-dimensions.h5", "3 dimensions, expected 2"}},
    {FORMAT_FILE("int32"), NULL, {"int32.h5", "type int32;", "bfloat16"}},
    {FORMAT_FILE("uint16"), NULL, {"uint16.h5", "type uint16;", "bfloat16"}},
    {FORMAT_FILE("no-rows"), NULL, {"no-rows.h5", "no rows"}},
    {FORMAT_FILE("lzf"), NULL, {"lzf.h5", "filter 32000", "lzf"}},
    {FORMAT_FILE("external-link"), NULL, {"external-link.h5", "leads to nothing in this file"}},
    {FORMAT_FILE("dangling-link"), NULL, {"dangling-link.h5", "leads to nothing in this file"}},
    {FORMAT_FILE("external-storage"), NULL, {"external-storage.h5", "values in other files"}},
    {FORMAT_FILE("virtual"), NULL, {"virtual.h5", "a view of other files", "h5repack"}},
};
enum { N_REFUSAL = sizeof refusals / sizeof *refusals };

/* Every rank returns the status; the text stands on one rank at least, and holds every part. */
static void expect_refused(const char *const *files, int64_t n_file, const char *name,
                           const char *const *says, int n_says)
{
    orth_dataset *dataset = NULL;
    ck_agree(orth_dataset_open(files, n_file, name, MPI_COMM_WORLD, &dataset) == ORTH_ERR_DATA);
    ck_agree(dataset == NULL);
    int told = orth_error_status() == ORTH_ERR_DATA, any = 0;
    for (int i = 0; i < n_says; i++)
        ck_agree(!told || !says[i] || strstr(orth_error_text(), says[i]));
    MPI_Allreduce(&told, &any, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    ck_assert_int_eq(any, 1);
    orth_error_clear();
}

START_TEST(test_refusals)
{
    const refusal *r = &refusals[_i];
    expect_refused(&r->file, 1, r->dataset ? r->dataset : "activations", r->says, 3);
}
END_TEST

START_TEST(test_unequal_width)
{
    const char *files[] = {FORMAT_FILE("f2"), FORMAT_FILE("chunked"), FORMAT_FILE("width-5")};
    const char *says[] = {"width-5.h5", "5 values, but 6", "f2.h5"};
    expect_refused(files, 3, "activations", says, 3);
    expect_refused(NULL, 0, "activations", says + 3, 0);
}
END_TEST

START_TEST(test_no_permission)
{
    char path[256];
    snprintf(path, sizeof path, "%s/secret.h5", orth_check_folder());
    write_rows(path, 0, 3, 0);
    if (rank == 0) {
        chmod(orth_check_folder(), 0755); /* the folder may be read, the file not */
        chmod(path, 0);
    }
    /* Root reads everything unless it becomes somebody else. */
    bool root = geteuid() == 0;
    ck_agree(!root || seteuid(65534) == 0);
    MPI_Barrier(MPI_COMM_WORLD);
    const char *files[] = {path}, *says[] = {"secret.h5", "Permission denied"};
    expect_refused(files, 1, "activations", says, 2);
    ck_agree(!root || seteuid(0) == 0);
}
END_TEST

/* What a user's file goes through under a running job: cut short, then gone, then without blocks.
 */
START_TEST(test_file_changes)
{
    char path[256];
    snprintf(path, sizeof path, "%s/shrinks.h5", orth_check_folder());
    write_rows(path, 0, FORMAT_ROWS, 0);
    orth_dataset *dataset = open_one(path);
    struct stat info;
    stat(path, &info);
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0)
        ck_assert_int_eq(truncate(path, info.st_size - 5), 0);
    MPI_Barrier(MPI_COMM_WORLD);
    float out[FORMAT_WIDTH];
    int64_t row = FORMAT_ROWS - 1;
    ck_agree(orth_dataset_read(dataset, &row, 1, out) == ORTH_ERR_DATA);
    ck_agree(strstr(orth_error_text(), "shrinks.h5: row 23") &&
             strstr(orth_error_text(), "shorter"));
    orth_error_clear();
    row = 3;
    ck_agree(orth_dataset_read(dataset, &row, 1, out) == ORTH_OK && out[2] == format_value(3, 2));
    orth_dataset_close(dataset);

    write_rows(path, 0, FORMAT_ROWS, 0);
    dataset = open_one(path);
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0)
        unlink(path);
    MPI_Barrier(MPI_COMM_WORLD);
    ck_agree(orth_dataset_read(dataset, &row, 1, out) == ORTH_ERR_DATA);
    ck_agree(strstr(orth_error_text(), "shrinks.h5") && strstr(orth_error_text(), "No such file"));
    orth_error_clear();
    orth_dataset_close(dataset);
}
END_TEST

/* A flipped byte in a compressed chunk is HDF5's to notice; the file is named all the same. */
START_TEST(test_bad_chunk)
{
    char path[256];
    snprintf(path, sizeof path, "%s/gzip.h5", orth_check_folder());
    if (rank == 0) {
        FILE *from = fopen(FORMAT_FILE("gzip"), "rb"), *to = fopen(path, "wb");
        static unsigned char bytes[65536];
        size_t size = fread(bytes, 1, sizeof bytes, from), at = 0;
        while (at + 2 < size && !(bytes[at] == 0x78 && bytes[at + 1] == 0x5e))
            at++;
        ck_assert(at + 2 < size);
        memset(bytes + at, 0x55, 8);
        fwrite(bytes, 1, size, to);
        fclose(from);
        fclose(to);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    orth_dataset *dataset = open_one(path);
    int64_t rows[FORMAT_ROWS];
    float out[FORMAT_ROWS * FORMAT_WIDTH];
    for (int64_t i = 0; i < FORMAT_ROWS; i++)
        rows[i] = i;
    ck_agree(orth_dataset_read(dataset, rows, FORMAT_ROWS, out) == ORTH_ERR_DATA);
    ck_agree(strstr(orth_error_text(), "gzip.h5") && strstr(orth_error_text(), "cannot read rows"));
    orth_error_clear();
    orth_dataset_close(dataset);
}
END_TEST

/* Real activations, float16, wider than one conversion piece: the first tokens by HDF5 itself. */
START_TEST(test_sample)
{
    const char *path = ORTH_TEST_DATA "/sample-eval.h5";
    orth_dataset *dataset = open_one(path);
    int64_t rows = orth_dataset_rows(dataset), width = orth_dataset_width(dataset);
    ck_agree(rows == 4096 && width == 384);
    float *expected = malloc((size_t)(rows * width) * 4), *out = malloc((size_t)(rows * width) * 4);
    orth_h5_file *file = NULL;
    orth_h5_dataset *direct = NULL;
    ck_agree(orth_h5_open(path, ORTH_H5_READ, ORTH_ERR_DATA, MPI_COMM_WORLD, &file) == ORTH_OK);
    ck_agree(orth_h5_dataset_open(file, "activations", &direct) == ORTH_OK);
    ck_agree(orth_h5_read(direct, 0, rows, ORTH_H5_FLOAT, expected) == ORTH_OK);
    int64_t *order = malloc((size_t)rows * sizeof *order);
    for (int64_t i = 0; i < rows; i++)
        order[i] = (i * 1237 + 11) % rows;
    ck_agree(orth_dataset_read(dataset, order, rows, out) == ORTH_OK);
    bool equal = true;
    for (int64_t i = 0; i < rows; i++)
        equal = equal &&
                !memcmp(out + i * width, expected + order[i] * width, (size_t)width * sizeof *out);
    ck_agree(equal);
    free(order);
    free(out);
    free(expected);
    orth_h5_dataset_close(direct);
    ck_agree(orth_h5_close(file) == ORTH_OK);
    orth_dataset_close(dataset);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("dataset");
    TCase *tests = tcase_create("all");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, find_rank, NULL);
    tcase_add_loop_test(tests, test_values, 0, N_GOOD);
    tcase_add_test(tests, test_locate);
    tcase_add_test(tests, test_fingerprint);
    tcase_add_loop_test(tests, test_refusals, 0, N_REFUSAL);
    tcase_add_test(tests, test_unequal_width);
    tcase_add_test(tests, test_no_permission);
    tcase_add_test(tests, test_file_changes);
    tcase_add_test(tests, test_bad_chunk);
    tcase_add_test(tests, test_sample);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
