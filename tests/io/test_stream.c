/* The stream of batches: the same tokens for every partition, over epochs, read ahead or not.
 * ranks: 1 3 */
#include <orthant/io/shuffle.h>
#include <orthant/io/stream.h>

#include "check_mpi.h"
#include "format_values.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int rank, size;
static orth_dataset *dataset;

static void find_rank(void)
{
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    orth_error_clear();
}

static void open_table(const char *path)
{
    orth_status status = orth_dataset_open(&path, 1, "activations", MPI_COMM_WORLD, &dataset);
    ck_agree(status == ORTH_OK, "%s", orth_error_text());
}

static orth_stream *start(int64_t batch, orth_range reads, bool shuffle, bool ahead,
                          orth_cursor cursor)
{
    orth_stream_options options = {.batch = batch,
                                   .reads = reads,
                                   .seed = 5,
                                   .shuffle = shuffle,
                                   .cursor = cursor,
                                   .read_ahead = ahead};
    orth_stream *stream = NULL;
    ck_agree(orth_stream_open(dataset, &options, &stream) == ORTH_OK);
    return stream;
}

/* Where token `index` of the endless sequence comes from. */
static int64_t expected_row(int64_t index, bool shuffle)
{
    int64_t rows = orth_dataset_rows(dataset);
    orth_shuffle order = orth_shuffle_create(rows, 5, index / rows, shuffle);
    return orth_shuffle_row(&order, index % rows);
}

static bool row_is(const float *x, int64_t row)
{
    bool equal = true;
    for (int64_t j = 0; j < FORMAT_WIDTH; j++)
        equal = equal && x[j] == format_value(row, j);
    return equal;
}

enum { BATCH_MOST = 64 };

static void check_batches(const char *path, int64_t batch, bool shuffle, bool ahead)
{
    open_table(path);
    orth_range reads = orth_partition(batch, size, rank);
    orth_stream *stream = start(batch, reads, shuffle, ahead, (orth_cursor){0, 0});
    float x[BATCH_MOST * FORMAT_WIDTH];
    bool finite[BATCH_MOST];
    for (int64_t step = 0; step < 12; step++) {
        orth_nonfinite found = {-1, -2};
        bool good = orth_stream_next(stream, x, finite, &found) == ORTH_OK;
        good = good && found.count == 0 && found.first_row == -1;
        for (int64_t i = 0; i < orth_range_size(reads); i++)
            good =
                good && finite[i] &&
                row_is(x + i * FORMAT_WIDTH, expected_row(step * batch + reads.begin + i, shuffle));
        orth_cursor cursor = orth_stream_cursor(stream);
        good = good && cursor.epoch * FORMAT_ROWS + cursor.position == (step + 1) * batch &&
               cursor.position < FORMAT_ROWS;
        ck_agree(good, "%s batch %lld step %lld", path, (long long)batch, (long long)step);
    }
    orth_stream_close(stream);
    orth_dataset_close(dataset);
}

/* Smaller than the table, of its size, larger (several epochs in one batch), fewer than ranks. */
START_TEST(test_batches)
{
    const int64_t batches[] = {7, FORMAT_ROWS, 61, 2};
    const char *paths[] = {FORMAT_FILE("f2"), FORMAT_FILE("f8-big"), FORMAT_FILE("gzip"),
                           FORMAT_FILE("part-?")};
    for (int b = 0; b < 4; b++)
        for (int p = 0; p < 4; p++)
            check_batches(paths[p], batches[b], (_i & 1) != 0, (_i & 2) != 0);
}
END_TEST

/* A stream that starts at another's cursor goes on as that one does. */
START_TEST(test_cursor)
{
    open_table(FORMAT_FILE("f4"));
    orth_range reads = orth_partition(10, size, rank);
    float x[2][BATCH_MOST * FORMAT_WIDTH];
    bool finite[BATCH_MOST];
    orth_nonfinite found;
    orth_stream *first = start(10, reads, true, true, (orth_cursor){0, 0});
    for (int step = 0; step < 4; step++)
        ck_agree(orth_stream_next(first, x[0], finite, &found) == ORTH_OK);
    orth_cursor cursor = orth_stream_cursor(first);
    ck_agree(cursor.epoch == 1 && cursor.position == 16);
    orth_stream *second = start(10, reads, true, false, cursor);
    for (int step = 0; step < 4; step++) {
        ck_agree(orth_stream_next(first, x[0], finite, &found) == ORTH_OK);
        ck_agree(orth_stream_next(second, x[1], finite, &found) == ORTH_OK);
        ck_agree(!memcmp(x[0], x[1], (size_t)orth_range_size(reads) * FORMAT_WIDTH * 4));
    }
    orth_stream_close(first);
    orth_stream_close(second);
    orth_dataset_close(dataset);
}
END_TEST

START_TEST(test_nonfinite)
{
    open_table(FORMAT_FILE("nonfinite"));
    orth_range reads = orth_partition(FORMAT_ROWS, size, rank);
    orth_stream *stream = start(FORMAT_ROWS, reads, false, _i != 0, (orth_cursor){0, 0});
    float x[FORMAT_ROWS * FORMAT_WIDTH];
    bool finite[FORMAT_ROWS];
    const int64_t bad[] = {3, 7, 20};
    for (int epoch = 0; epoch < 2; epoch++) {
        orth_nonfinite found;
        ck_agree(orth_stream_next(stream, x, finite, &found) == ORTH_OK);
        int64_t count = 0, first = -1;
        bool good = true;
        for (int64_t row = reads.begin; row < reads.end; row++) {
            int64_t i = row - reads.begin;
            bool is_bad = row == bad[0] || row == bad[1] || row == bad[2];
            good = good && finite[i] == !is_bad;
            for (int j = 0; is_bad && j < FORMAT_WIDTH; j++)
                good = good && x[i * FORMAT_WIDTH + j] == 0;
            good = good && (is_bad || row_is(x + i * FORMAT_WIDTH, row));
            first = is_bad && first < 0 ? row : first;
            count += is_bad;
        }
        ck_agree(good && found.count == count && found.first_row == first);
    }
    orth_stream_close(stream);
    orth_dataset_close(dataset);
}
END_TEST

/* The thread's failure reaches the main thread with the file's name, at the batch it concerns. */
START_TEST(test_file_shrinks)
{
    char path[256];
    snprintf(path, sizeof path, "%s/shrinks.h5", orth_check_folder());
    if (rank == 0) {
        unsigned char bytes[8192];
        FILE *from = fopen(FORMAT_FILE("f4"), "rb"), *to = fopen(path, "wb");
        size_t length = fread(bytes, 1, sizeof bytes, from);
        fwrite(bytes, 1, length, to);
        fclose(from);
        fclose(to);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    open_table(path);
    /* Every rank reads all of each batch, so all of them meet the end. */
    orth_stream *stream = start(8, (orth_range){0, 8}, false, _i != 0, (orth_cursor){0, 0});
    struct stat info;
    stat(path, &info);
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0)
        ck_assert_int_eq(truncate(path, info.st_size - 10), 0);
    MPI_Barrier(MPI_COMM_WORLD);
    float x[8 * FORMAT_WIDTH];
    bool finite[8];
    orth_nonfinite found;
    ck_agree(orth_stream_next(stream, x, finite, &found) == ORTH_OK);
    ck_agree(orth_stream_next(stream, x, finite, &found) == ORTH_OK && row_is(x, 8));
    for (int again = 0; again < 2; again++) {
        ck_agree(orth_stream_next(stream, x, finite, &found) == ORTH_ERR_DATA);
        ck_agree(strstr(orth_error_text(), "shrinks.h5") && strstr(orth_error_text(), "shorter"));
        ck_agree(orth_stream_cursor(stream).position == 16);
    }
    orth_error_clear();
    orth_stream_close(stream);
    orth_dataset_close(dataset);
}
END_TEST

/* Closed at once, with a read under way; and nothing to read. */
START_TEST(test_close)
{
    open_table(FORMAT_FILE("f2"));
    for (int i = 0; i < 50; i++)
        orth_stream_close(start(64, (orth_range){0, 64}, true, true, (orth_cursor){0, 0}));
    orth_stream *stream = start(64, (orth_range){9, 9}, true, true, (orth_cursor){0, 0});
    orth_nonfinite found;
    ck_agree(orth_stream_next(stream, NULL, NULL, &found) == ORTH_OK && found.count == 0);
    ck_agree(orth_stream_cursor(stream).epoch == 2);
    orth_stream_close(stream);
    orth_dataset_close(dataset);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("stream");
    TCase *tests = tcase_create("all");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, find_rank, NULL);
    tcase_add_loop_test(tests, test_batches, 0, 4);
    tcase_add_test(tests, test_cursor);
    tcase_add_loop_test(tests, test_nonfinite, 0, 2);
    tcase_add_loop_test(tests, test_file_shrinks, 0, 2);
    tcase_add_test(tests, test_close);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
