/* The order of tokens: a bijection that keeps to its blocks and windows, one for each seed and
 * epoch.
 * ranks: 1 */
#include <orthant/io/shuffle.h>

#include "check_mpi.h"

#include <stdlib.h>

enum { BLOCK = 64, WINDOW = 65536 };

static const int64_t sizes[] = {1,    2,    3,     255,   256,   257,   511,    512,    513,
                                1000, 5000, 16383, 16384, 16385, 32768, 100003, 131072, 262145};
enum { N_SIZE = sizeof sizes / sizeof *sizes };

START_TEST(test_bijection)
{
    int64_t rows = sizes[_i];
    unsigned char *seen = calloc((size_t)rows, 1);
    for (int64_t epoch = 0; epoch < 3; epoch++) {
        orth_shuffle shuffle = orth_shuffle_create(rows, 49, epoch, true);
        for (int64_t i = 0; i < rows; i++) {
            int64_t row = orth_shuffle_row(&shuffle, i);
            if (row < 0 || row >= rows || seen[row] != epoch)
                ck_abort_msg("row %lld twice or outside", (long long)row);
            seen[row]++;
        }
    }
    free(seen);
}
END_TEST

START_TEST(test_identity)
{
    orth_shuffle shuffle = orth_shuffle_create(1000, 49, 3, false);
    for (int64_t i = 0; i < 1000; i++)
        ck_assert_int_eq(orth_shuffle_row(&shuffle, i), i);
}
END_TEST

/* How many positions of two orders hold the same row. */
static int64_t common(orth_shuffle a, orth_shuffle b)
{
    int64_t same = 0;
    for (int64_t i = 0; i < a.rows; i++)
        same += orth_shuffle_row(&a, i) == orth_shuffle_row(&b, i);
    return same;
}

START_TEST(test_seed_and_epoch)
{
    for (int64_t rows = 300; rows < 100000; rows *= 8) {
        orth_shuffle first = orth_shuffle_create(rows, 49, 0, true);
        ck_assert_int_eq(common(first, orth_shuffle_create(rows, 49, 0, true)), rows);
        /* Two random orders agree at about one position; 12 would be one chance in 10^9. */
        ck_assert_int_lt(common(first, orth_shuffle_create(rows, 49, 1, true)), 12);
        ck_assert_int_lt(common(first, orth_shuffle_create(rows, 50, 0, true)), 12);
        ck_assert_int_lt(common(first, orth_shuffle_create(rows, 49, 0, false)), 12);
    }
}
END_TEST

/* A full window draws on at most 1024 whole blocks, and two cut ones where the short block shifts.
 */
START_TEST(test_locality)
{
    int64_t rows = 10 * WINDOW + 100;
    orth_shuffle shuffle = orth_shuffle_create(rows, 7, 2, true);
    int64_t n_block = (rows + BLOCK - 1) / BLOCK;
    for (int64_t begin = 0; begin < rows; begin += WINDOW) {
        unsigned char *used = calloc((size_t)n_block, 1);
        int64_t blocks = 0, moves = 0, before = -1;
        for (int64_t i = begin; i < begin + WINDOW && i < rows; i++) {
            int64_t block = orth_shuffle_row(&shuffle, i) / BLOCK;
            blocks += !used[block];
            used[block] = 1;
            moves += block != before;
            before = block;
        }
        int64_t size = rows - begin < WINDOW ? rows - begin : WINDOW;
        ck_assert_int_le(blocks, size / BLOCK + 2);
        if (size == WINDOW) /* neighbours come from different blocks */
            ck_assert_int_gt(moves, size / 2);
        free(used);
    }
}
END_TEST

/* Within a window every place is about equally likely for a row: chi-squared over 16 x 16 parts. */
START_TEST(test_uniformity)
{
    enum { PARTS = 16, EPOCHS = 8 };
    double count[PARTS][PARTS] = {{0}}, chi = 0;
    int64_t rows = WINDOW;
    for (int64_t epoch = 0; epoch < EPOCHS; epoch++) {
        orth_shuffle shuffle = orth_shuffle_create(rows, 49, epoch, true);
        for (int64_t i = 0; i < rows; i++)
            count[i * PARTS / rows][orth_shuffle_row(&shuffle, i) * PARTS / rows]++;
    }
    double expected = (double)(EPOCHS * WINDOW) / (PARTS * PARTS);
    for (int i = 0; i < PARTS; i++)
        for (int j = 0; j < PARTS; j++)
            chi += (count[i][j] - expected) * (count[i][j] - expected) / expected;
    /* 225 degrees of freedom: mean 225, deviation 21. */
    ck_assert_double_lt(chi, 225 + 6 * 21);
}
END_TEST

/* The short block is not always the last one read. */
START_TEST(test_short_block_moves)
{
    int64_t places = 0, before = -1;
    for (int64_t epoch = 0; epoch < 20; epoch++) {
        orth_shuffle shuffle = orth_shuffle_create(100003, 49, epoch, true);
        ck_assert(shuffle.short_slot >= 0 && shuffle.short_slot <= 100003 / BLOCK);
        places += shuffle.short_slot != before;
        before = shuffle.short_slot;
    }
    ck_assert_int_gt(places, 15);
}
END_TEST

/* The order is part of what a checkpoint means: it may not change from version to version. */
START_TEST(test_pinned)
{
    orth_shuffle shuffle = orth_shuffle_create(100003, 49, 1, true);
    const int64_t expected[4] = {24236, 76466, 96844, 70081};
    const int64_t position[4] = {0, 1, 50000, 100002};
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(orth_shuffle_row(&shuffle, position[i]), expected[i]);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("shuffle");
    TCase *tests = tcase_create("all");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, test_bijection, 0, N_SIZE);
    tcase_add_test(tests, test_identity);
    tcase_add_test(tests, test_seed_and_epoch);
    tcase_add_test(tests, test_locality);
    tcase_add_test(tests, test_uniformity);
    tcase_add_test(tests, test_short_block_moves);
    tcase_add_test(tests, test_pinned);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
