/* Products of sparse lists with rows: every kernel set against plain loops, in the order of
 * operations that kern/sparse.h promises, and in any windows of columns. */
#include "check_mpi.h"
#include "values.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 9, D_MAX = 300, LISTS = 5, ENTRIES = 60, LANES = ORTH_DOT_LANES };

static const int64_t widths[] = {1, 7, 15, 16, 17, 33, 48, 63, 64, 65, 127, 128, 129, 200, D_MAX};
enum { N_WIDTH = sizeof widths / sizeof *widths };

/* Rows a little apart, unaligned, and lists of 0, 1, 2, 23 and 34 entries behind some others. */
typedef struct fixture {
    int64_t start[LISTS + 1];
    uint32_t index[ENTRIES];
    float value[ENTRIES];
    float rows[1 + ROWS * (D_MAX + 5)];
    float w[LISTS * (D_MAX + 3)];
    float out[1 + LISTS * (D_MAX + 2)], wanted[1 + LISTS * (D_MAX + 2)];
    float lanes[ENTRIES * LANES + 1], wanted_lanes[ENTRIES * LANES + 1];
    float dots[ENTRIES + 1];
} fixture;

static fixture *make_fixture(void)
{
    static const int64_t lengths[LISTS] = {0, 1, 2, 23, 34};
    fixture *f = malloc(sizeof *f);
    ck_assert_ptr_nonnull(f);
    f->start[0] = 1000;
    for (int s = 0; s < LISTS; s++)
        f->start[s + 1] = f->start[s] + lengths[(s + 3) % LISTS];
    for (int e = 0; e < ENTRIES; e++)
        f->index[e] = (uint32_t)(e * 5 % ROWS);
    fill_random(1, ENTRIES, f->value);
    fill_random(2, 1 + ROWS * (D_MAX + 5), f->rows);
    fill_random(3, LISTS * (D_MAX + 3), f->w);
    return f;
}

static orth_lists all_lists(const fixture *f)
{
    return (orth_lists){LISTS, f->start, f->index, f->value};
}

static void reset(fixture *f)
{
    fill_random(4, 1 + LISTS * (D_MAX + 2), f->out);
    fill_random(5, ENTRIES * LANES + 1, f->lanes);
    memcpy(f->wanted, f->out, sizeof f->out);
    memcpy(f->wanted_lanes, f->lanes, sizeof f->lanes);
}

/* The definition of combine and project, on all columns. */
static void plain_products(fixture *f, int64_t d, bool lanes)
{
    for (int64_t s = 0; s < LISTS; s++)
        for (int64_t e = f->start[s] - 1000; e < f->start[s + 1] - 1000; e++) {
            const float *row = f->rows + 1 + (int64_t)f->index[e] * (d + 5);
            float *out = f->wanted + 1 + s * (d + 2), *lane = f->wanted_lanes + e * LANES;
            for (int l = 0; l < LANES && lanes; l++)
                lane[l] = 0.0f;
            for (int64_t j = 0; j < d; j++) {
                out[j] = fmaf(f->value[e], row[j], out[j]);
                if (lanes)
                    lane[j % LANES] = fmaf(row[j], f->w[s * (d + 3) + j], lane[j % LANES]);
            }
        }
}

/* Windows of `step` columns; hints vary with the width. */
static void run(const orth_kernels *set, fixture *f, int64_t d, int64_t step, bool project)
{
    const orth_lists lists = all_lists(f);
    for (int64_t j = 0; j < d; j += step) {
        orth_rows rows = {.data = f->rows + 1 + j,
                          .stride = d + 5,
                          .width = d - j < step ? d - j : step,
                          .far = step > ORTH_TILE_COLUMNS,
                          .next = step % 3 ? f->w : NULL,
                          .next_count = 7,
                          .next_stride = 11};
        if (project)
            set->sparse->project(&lists, &rows, f->w + j, d + 3, f->out + 1 + j, d + 2, j == 0,
                                 f->lanes);
        else
            set->sparse->combine(&lists, &rows, f->out + 1 + j, d + 2);
    }
}

static void check_products(bool project)
{
    static const int64_t steps[] = {16, 48, 64, 128, 1024};
    const orth_kernels *sets[KERNEL_SETS];
    int n_set = kernel_sets(sets);
    fixture *f = make_fixture();
    for (int w = 0; w < N_WIDTH; w++)
        for (int s = 0; s < n_set; s++)
            for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
                reset(f);
                plain_products(f, widths[w], project);
                run(sets[s], f, widths[w], steps[i], project);
                ck_assert_msg(memcmp(f->out, f->wanted, sizeof f->out) == 0 &&
                                  memcmp(f->lanes, f->wanted_lanes, sizeof f->lanes) == 0,
                              "%s: d %d in windows of %d", sets[s]->name, (int)widths[w],
                              (int)steps[i]);
            }
    free(f);
}

START_TEST(combine_adds_rows_in_order)
{
    check_products(false);
}
END_TEST

START_TEST(project_multiplies_lane_by_lane)
{
    check_products(true);
}
END_TEST

/* -0 stays -0 where there is nothing to add: no set may multiply what is not there. */
START_TEST(zeros_keep_their_sign)
{
    const orth_kernels *sets[KERNEL_SETS];
    int n_set = kernel_sets(sets);
    const int64_t start[2] = {0, 1};
    const uint32_t index = 0;
    const float value = 1.0f, row[3] = {-1e-30f, -0.0f, 3.0f}, w[3] = {1e-30f, 1.0f, -2.0f};
    const orth_lists lists = {1, start, &index, &value};
    const orth_rows rows = {.data = row, .stride = 3, .width = 2};
    for (int s = 0; s < n_set; s++) {
        float out[3] = {0.0f, -0.0f, 5.0f}, lanes[LANES];
        for (int l = 0; l < LANES; l++)
            lanes[l] = -0.0f;
        sets[s]->sparse->project(&lists, &rows, w, 3, out, 3, false, lanes);
        ck_assert(out[0] == -1e-30f && out[1] == 0.0f && signbit(out[1]) && out[2] == 5.0f);
        for (int l = 0; l < LANES; l++)
            ck_assert(lanes[l] == 0.0f && signbit(lanes[l]));
    }
}
END_TEST

START_TEST(no_lists_are_no_work)
{
    const orth_kernels *sets[KERNEL_SETS];
    int n_set = kernel_sets(sets);
    const int64_t start[2] = {3, 3};
    float out = 2.0f;
    for (int s = 0; s < n_set; s++)
        for (int64_t count = 0; count < 2; count++) {
            orth_lists lists = {count, start, NULL, NULL};
            orth_rows rows = {.data = &out, .width = 1, .stride = 1, .far = true};
            rows.next = &out;
            rows.next_count = 1;
            sets[s]->sparse->combine(&lists, &rows, &out, 1);
            sets[s]->sparse->project(&lists, &rows, &out, 1, &out, 1, true, NULL);
            sets[s]->sparse->fold(0, NULL, NULL);
            sets[s]->sparse->pack(0, NULL, 0, 5, NULL);
        }
    ck_assert(out == 2.0f);
}
END_TEST

START_TEST(fold_adds_lanes_in_a_tree)
{
    const orth_kernels *sets[KERNEL_SETS];
    int n_set = kernel_sets(sets);
    fixture *f = make_fixture();
    for (int s = 0; s < n_set; s++)
        for (int64_t n = 0; n < 20; n++) {
            reset(f);
            f->dots[n] = 7.0f;
            sets[s]->sparse->fold(n, f->lanes, f->dots);
            for (int64_t e = 0; e < n; e++) {
                const float *l = f->lanes + e * LANES;
                float eight[8], four[4];
                for (int i = 0; i < 8; i++)
                    eight[i] = l[i] + l[i + 8];
                for (int i = 0; i < 4; i++)
                    four[i] = eight[i] + eight[i + 4];
                float wanted = (four[0] + four[2]) + (four[1] + four[3]);
                ck_assert(same_bits(f->dots + e, &wanted, 1));
            }
            ck_assert(f->dots[n] == 7.0f);
            sets[s]->sparse->fold(n, f->lanes, f->lanes);
            ck_assert(same_bits(f->lanes, f->dots, n));
        }
    free(f);
}
END_TEST

START_TEST(pack_copies_a_window)
{
    const orth_kernels *sets[KERNEL_SETS];
    int n_set = kernel_sets(sets);
    float rows[1 + ROWS * 70], tile[1 + ROWS * ORTH_TILE_COLUMNS], before[sizeof tile / 4];
    fill_random(1, 1 + ROWS * 70, rows);
    for (int s = 0; s < n_set; s++)
        for (int64_t width = 1; width <= ORTH_TILE_COLUMNS; width++) {
            fill_random(2, 1 + ROWS * ORTH_TILE_COLUMNS, tile);
            memcpy(before, tile, sizeof tile);
            sets[s]->sparse->pack(ROWS, rows + 1, 70, width, tile + 1);
            for (int64_t r = 0; r < ROWS; r++)
                for (int64_t j = 0; j < ORTH_TILE_COLUMNS; j++) {
                    int64_t at = 1 + r * ORTH_TILE_COLUMNS + j;
                    ck_assert(tile[at] == (j < width ? rows[1 + r * 70 + j] : before[at]));
                }
            ck_assert(tile[0] == before[0]);
        }
}
END_TEST

/* Of lists that end before the limit, at it, and behind it. */
START_TEST(take_copies_what_is_below_the_end)
{
    const orth_kernels *sets[KERNEL_SETS];
    int n_set = kernel_sets(sets);
    enum { MOST = 70, MORE = 16, FIRST = 1000 };
    uint32_t index[MOST + 1], taken[MOST + MORE];
    float value[MOST + 1], values[MOST + MORE];
    fill_random(6, MOST + 1, value);
    for (int e = 0; e <= MOST; e++)
        index[e] = (uint32_t)(FIRST + e * 3 / 2);
    for (int s = 0; s < n_set; s++)
        for (int64_t n = 0; n <= MOST; n++)
            for (uint32_t end = FIRST; end < FIRST + 110; end++) {
                int64_t wanted = 0;
                while (wanted < n && index[wanted] < end)
                    wanted++;
                int64_t count = sets[s]->sparse->take(n, index, value, FIRST, end, taken, values);
                ck_assert_int_eq(count, wanted);
                ck_assert(same_bits(values, value, count));
                for (int64_t e = 0; e < count; e++)
                    ck_assert_uint_eq(taken[e], index[e] - FIRST);
            }
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("sparse");
    TCase *cases = tcase_create("sparse");
    tcase_add_test(cases, combine_adds_rows_in_order);
    tcase_add_test(cases, project_multiplies_lane_by_lane);
    tcase_add_test(cases, zeros_keep_their_sign);
    tcase_add_test(cases, no_lists_are_no_work);
    tcase_add_test(cases, fold_adds_lanes_in_a_tree);
    tcase_add_test(cases, pack_copies_a_window);
    tcase_add_test(cases, take_copies_what_is_below_the_end);
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
