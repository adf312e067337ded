/* The checked HDF5 wrappers: what is written by slabs is read back, errors name what is wrong.
 * ranks: 1 3 */
#include <orthant/io/h5.h>
#include <orthant/par/agree.h>
#include <orthant/par/partition.h>

#include "check_mpi.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static int rank, size;

static void find_rank(void)
{
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
}

static const char *path_of(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", orth_check_folder(), name);
    return path;
}

static bool error_has(const char *text)
{
    return strstr(orth_error_text(), text) != NULL;
}

static void write_matrix(orth_h5_file *file, const char *name, int64_t rows, int64_t columns)
{
    int64_t extent[2] = {rows, columns};
    orth_h5_dataset *dataset = NULL;
    ck_agree(orth_h5_dataset_create(file, name, ORTH_H5_FLOAT, 2, extent, &dataset) == ORTH_OK);
    orth_range own = orth_partition(rows, size, rank);
    float *data = malloc((size_t)(rows * columns) * sizeof *data + 1);
    for (int64_t i = 0; i < orth_range_size(own) * columns; i++)
        data[i] = (float)(own.begin * columns + i) / 4;
    ck_agree(orth_h5_write(dataset, own.begin, own.end, ORTH_H5_FLOAT, data) == ORTH_OK);
    free(data);
    orth_h5_dataset_close(dataset);
}

static void write_growing(orth_h5_file *file)
{
    orth_h5_dataset *dataset = NULL;
    ck_agree(orth_h5_dataset_create_growing(file, "grow", ORTH_H5_UINT32, 16, &dataset) == ORTH_OK);
    for (int round = 0; round < 3; round++) {
        ck_agree(orth_h5_dataset_resize(dataset, (round + 1) * 100) == ORTH_OK);
        orth_range own = orth_partition(100, size, rank);
        uint32_t data[100];
        for (int64_t i = own.begin; i < own.end; i++)
            data[i - own.begin] = (uint32_t)(7 * (round * 100 + i));
        ck_agree(orth_h5_write(dataset, round * 100 + own.begin, round * 100 + own.end,
                               ORTH_H5_UINT32, data) == ORTH_OK);
    }
    orth_h5_dataset_close(dataset);
}

static void write_file(const char *path)
{
    orth_h5_file *file = NULL;
    ck_agree(orth_h5_create(path, MPI_COMM_WORLD, &file) == ORTH_OK);
    write_matrix(file, "model/W", 11, 5);
    write_matrix(file, "empty", 0, 5);
    write_growing(file);
    int64_t length = 7;
    orth_h5_dataset *dataset = NULL;
    ck_agree(orth_h5_dataset_create(file, "half", ORTH_H5_FLOAT16, 1, &length, &dataset) ==
             ORTH_OK);
    uint16_t half[7] = {0x3c00, 0xc000, 0x0001, 0x7bff, 0, 0x3800, 0x3555};
    orth_range own = orth_partition(7, size, rank);
    ck_agree(orth_h5_write_raw(dataset, own.begin, own.end, half + own.begin) == ORTH_OK);
    orth_h5_dataset_close(dataset);
    ck_agree(orth_h5_dataset_create(file, "brain", ORTH_H5_BFLOAT16, 1, &length, &dataset) ==
             ORTH_OK);
    ck_agree(orth_h5_write_raw(dataset, own.begin, own.end, half + own.begin) == ORTH_OK);
    orth_h5_dataset_close(dataset);
    ck_agree(orth_h5_attribute_write_int64(file, "/", "step", 1234567890123) == ORTH_OK);
    ck_agree(orth_h5_attribute_write_double(file, "/", "scale", 0.1) == ORTH_OK);
    ck_agree(orth_h5_attribute_write_text(file, "model/W", "note", "columns \xc3\xa9") == ORTH_OK);
    ck_agree(orth_h5_close(file) == ORTH_OK);
}

START_TEST(test_round_trip)
{
    const char *path = path_of("round.h5");
    write_file(path);
    orth_h5_file *file = NULL;
    ck_agree(orth_h5_open(path, ORTH_H5_READ, ORTH_ERR_CORRUPT, MPI_COMM_WORLD, &file) == ORTH_OK);
    char names[256];
    ck_agree(orth_h5_names(file, "/", names, sizeof names) == ORTH_OK);
    ck_assert_str_eq(names, "brain, empty, grow, half, model/");
    orth_h5_dataset *dataset = NULL;
    ck_agree(orth_h5_dataset_open(file, "/model/W", &dataset) == ORTH_OK);
    const orth_h5_layout *layout = orth_h5_dataset_layout(dataset);
    ck_agree(layout->rank == 2 && layout->extent[0] == 11 && layout->extent[1] == 5);
    ck_agree(layout->type == ORTH_H5_FLOAT && !layout->big_endian && layout->chunk_rows == 0);
    double part[4 * 5];
    ck_agree(orth_h5_read(dataset, 6, 10, ORTH_H5_DOUBLE, part) == ORTH_OK);
    for (int i = 0; i < 20; i++)
        ck_assert_double_eq(part[i], (30 + i) / 4.0);
    /* The offset is where the bytes are. */
    float direct = 0;
    int fd = open(path, O_RDONLY);
    ck_agree(pread(fd, &direct, sizeof direct, (off_t)(layout->offset + 4 * 54)) == 4);
    close(fd);
    ck_assert_float_eq(direct, 13.5f);
    orth_h5_dataset_close(dataset);

    ck_agree(orth_h5_dataset_open(file, "half", &dataset) == ORTH_OK);
    ck_assert_str_eq(orth_h5_dataset_layout(dataset)->type_name, "float16");
    float half[7];
    ck_agree(orth_h5_read(dataset, 0, 7, ORTH_H5_FLOAT, half) == ORTH_OK);
    ck_agree(half[0] == 1 && half[1] == -2 && half[2] == 0x1p-24f && half[3] == 65504);
    orth_h5_dataset_close(dataset);
    ck_agree(orth_h5_dataset_open(file, "brain", &dataset) == ORTH_OK);
    ck_agree(orth_h5_dataset_layout(dataset)->type == ORTH_H5_BFLOAT16);
    orth_h5_dataset_close(dataset);
    ck_agree(orth_h5_dataset_open(file, "empty", &dataset) == ORTH_OK);
    ck_agree(orth_h5_dataset_layout(dataset)->extent[0] == 0);
    ck_agree(orth_h5_read(dataset, 0, 0, ORTH_H5_FLOAT, half) == ORTH_OK);
    orth_h5_dataset_close(dataset);

    int64_t step = 0;
    double scale = 0;
    char note[32], cut[4];
    bool exists = true;
    ck_agree(orth_h5_attribute_read_int64(file, "/", "step", &step) == ORTH_OK);
    ck_agree(orth_h5_attribute_read_double(file, "/", "scale", &scale) == ORTH_OK);
    ck_agree(orth_h5_attribute_read_text(file, "model/W", "note", note, sizeof note) == ORTH_OK);
    ck_agree(orth_h5_attribute_read_text(file, "model/W", "note", cut, sizeof cut) == ORTH_OK);
    ck_agree(step == 1234567890123 && scale == 0.1);
    ck_assert_str_eq(note, "columns \xc3\xa9");
    ck_assert_str_eq(cut, "col");
    ck_agree(orth_h5_attribute_exists(file, "/", "absent", &exists) == ORTH_OK && !exists);
    ck_agree(orth_h5_exists(file, "model/V", &exists) == ORTH_OK && !exists);
    ck_agree(orth_h5_exists(file, "no/such/path", &exists) == ORTH_OK && !exists);
    ck_agree(orth_h5_exists(file, "/model", &exists) == ORTH_OK && exists);
    ck_agree(orth_h5_close(file) == ORTH_OK);
}
END_TEST

START_TEST(test_growing)
{
    const char *path = path_of("grow.h5");
    write_file(path);
    orth_h5_file *file = NULL;
    ck_agree(orth_h5_open(path, ORTH_H5_READ_INDEPENDENT, ORTH_ERR_DATA, MPI_COMM_WORLD, &file) ==
             ORTH_OK);
    orth_h5_dataset *dataset = NULL;
    ck_agree(orth_h5_dataset_open(file, "grow", &dataset) == ORTH_OK);
    ck_agree(orth_h5_dataset_layout(dataset)->extent[0] == 300);
    ck_agree(orth_h5_dataset_layout(dataset)->chunk_rows == 16);
    ck_agree(orth_h5_dataset_layout(dataset)->offset == -1);
    /* Each rank another number of reads: nothing may wait for the others. */
    bool equal = true;
    for (int round = 0; round <= rank; round++) {
        int64_t data[300];
        equal = equal && orth_h5_read(dataset, 0, 300, ORTH_H5_INT64, data) == ORTH_OK;
        for (int i = 0; i < 300; i++)
            equal = equal && data[i] == 7 * i;
    }
    ck_agree(equal);
    orth_h5_dataset_close(dataset);
    ck_agree(orth_h5_close(file) == ORTH_OK);
}
END_TEST

static void expect_open_error(const char *path, const char *text)
{
    orth_h5_file *file = NULL;
    orth_error_clear();
    orth_status status = orth_h5_open(path, ORTH_H5_READ, ORTH_ERR_DATA, MPI_COMM_WORLD, &file);
    ck_agree(status == ORTH_ERR_DATA && file == NULL);
    ck_agree(error_has(path) && error_has(text), "%s", orth_error_text());
    orth_error_clear();
}

START_TEST(test_open_errors)
{
    const char *path = path_of("bad");
    expect_open_error(path, "No such file");
    if (rank == 0)
        mkdir(path, 0777);
    MPI_Barrier(MPI_COMM_WORLD);
    expect_open_error(path, "is a folder");
    /* A pipe would keep whoever opens it waiting. */
    if (rank == 0) {
        rmdir(path);
        mkfifo(path, 0666);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    expect_open_error(path, "is no plain file");
    if (rank == 0) {
        unlink(path);
        close(open(path, O_CREAT | O_WRONLY, 0666));
    }
    MPI_Barrier(MPI_COMM_WORLD);
    expect_open_error(path, "is empty");
    if (rank == 0) {
        FILE *f = fopen(path, "w");
        for (int i = 0; i < 300; i++)
            fprintf(f, "not at all");
        fclose(f);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    expect_open_error(path, "not an HDF5 file");
    /* A signature without the rest: HDF5 itself refuses, and its words reach the message. */
    if (rank == 0) {
        FILE *f = fopen(path, "w");
        fwrite("\x89HDF\r\n\x1a\nxxxxxxxxxxxxxxxxxxxx", 1, 28, f);
        fclose(f);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    expect_open_error(path, "cannot be opened: ");
}
END_TEST

START_TEST(test_other_errors)
{
    orth_h5_file *file = NULL;
    ck_agree(orth_h5_create("/no/such/folder/x.h5", MPI_COMM_WORLD, &file) == ORTH_ERR_STORAGE);
    ck_agree(rank != 0 || (error_has("/no/such/folder/x.h5") && error_has("No such file")));
    orth_error_clear();
    const char *path = path_of("other.h5");
    write_file(path);
    ck_agree(orth_h5_open(path, ORTH_H5_READ, ORTH_ERR_CORRUPT, MPI_COMM_WORLD, &file) == ORTH_OK);
    orth_h5_dataset *dataset = NULL;
    ck_agree(orth_h5_dataset_open(file, "model/V", &dataset) == ORTH_ERR_CORRUPT);
    ck_agree(error_has("no dataset 'model/V'") && error_has("in /model: W"));
    orth_error_clear();
    ck_agree(orth_h5_dataset_open(file, "none", &dataset) == ORTH_ERR_CORRUPT);
    ck_agree(error_has("brain, empty, grow, half, model/"));
    orth_error_clear();
    int64_t value = 5;
    ck_agree(orth_h5_attribute_read_int64(file, "/", "absent", &value) == ORTH_ERR_CORRUPT);
    ck_agree(value == 5 && error_has("'absent'"));
    orth_error_clear();
    ck_agree(orth_h5_attribute_read_int64(file, "model/W", "note", &value) == ORTH_ERR_CORRUPT);
    orth_error_clear();
    ck_agree(orth_h5_dataset_open(file, "model/W", &dataset) == ORTH_OK);
    float row[5];
    ck_agree(orth_h5_read(dataset, 11, 12, ORTH_H5_FLOAT, row) == ORTH_ERR_CORRUPT);
    ck_agree(error_has("has 11 rows"));
    orth_error_clear();
    orth_h5_dataset_close(dataset);
    ck_agree(orth_h5_close(file) == ORTH_OK);
}
END_TEST

/* A limit on file sizes stands for a full disk: the writer is told, with the reason. */
START_TEST(test_no_room)
{
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit before, small;
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = 1 << 20;
    const char *path = path_of("full.h5");
    orth_h5_file *file = NULL;
    orth_h5_dataset *dataset = NULL;
    ck_agree(orth_h5_create(path, MPI_COMM_WORLD, &file) == ORTH_OK);
    setrlimit(RLIMIT_FSIZE, &small);
    ck_agree(orth_h5_reserve(file, 2 << 20) == ORTH_ERR_STORAGE);
    ck_agree(rank != 0 || (error_has("no room for 2097152 bytes") && error_has("too large")));
    orth_error_clear();
    int64_t length = 1 << 20;
    ck_agree(orth_h5_dataset_create(file, "x", ORTH_H5_FLOAT, 1, &length, &dataset) == ORTH_OK);
    float *data = calloc((size_t)length, sizeof *data);
    orth_range own = orth_partition(length, size, rank);
    orth_status status = orth_h5_write(dataset, own.begin, own.end, ORTH_H5_FLOAT, data);
    free(data);
    ck_agree(status == ORTH_ERR_STORAGE || rank != size - 1);
    ck_agree(status == ORTH_OK ||
                 (error_has("full.h5: cannot write rows") && !error_has("gives no reason")),
             "%s", orth_error_text());
    orth_error_clear();
    setrlimit(RLIMIT_FSIZE, &before);
    orth_h5_dataset_close(dataset);
    ck_agree(orth_h5_close(file) == ORTH_OK);
}
END_TEST

/* What is reserved too much is given back. */
START_TEST(test_reserve)
{
    const char *path = path_of("reserve.h5");
    orth_h5_file *file = NULL;
    ck_agree(orth_h5_create(path, MPI_COMM_WORLD, &file) == ORTH_OK);
    ck_agree(orth_h5_reserve(file, 4 << 20) == ORTH_OK);
    write_matrix(file, "W", 30, 5);
    ck_agree(orth_h5_close(file) == ORTH_OK);
    struct stat info;
    ck_agree(stat(path, &info) == 0 && info.st_size < 100000);
    orth_h5_dataset *dataset = NULL;
    ck_agree(orth_h5_open(path, ORTH_H5_READ, ORTH_ERR_DATA, MPI_COMM_WORLD, &file) == ORTH_OK);
    ck_agree(orth_h5_dataset_open(file, "W", &dataset) == ORTH_OK);
    float row[5];
    ck_agree(orth_h5_read(dataset, 29, 30, ORTH_H5_FLOAT, row) == ORTH_OK && row[4] == 149 / 4.0f);
    orth_h5_dataset_close(dataset);
    ck_agree(orth_h5_close(file) == ORTH_OK);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("h5");
    TCase *tests = tcase_create("all");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, find_rank, NULL);
    tcase_add_test(tests, test_round_trip);
    tcase_add_test(tests, test_growing);
    tcase_add_test(tests, test_open_errors);
    tcase_add_test(tests, test_other_errors);
    tcase_add_test(tests, test_no_room);
    tcase_add_test(tests, test_reserve);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
