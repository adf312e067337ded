/* Partitions and the grid of ranks.
 * ranks: 1 2 3 4 */
#include "check_mpi.h"

#include <orthant/par/grid.h>

#include <stdio.h>
#include <string.h>

START_TEST(parts_cover_every_item_once)
{
    static const int64_t totals[] = {0, 1, 2, 5, 7, 12, 97};
    for (size_t t = 0; t < sizeof totals / sizeof *totals; t++)
        for (int64_t parts = 1; parts <= 9; parts++) {
            int64_t next = 0, largest = 0, smallest = INT64_MAX, before = INT64_MAX;
            for (int64_t p = 0; p < parts; p++) {
                orth_range range = orth_partition(totals[t], parts, p);
                int64_t size = orth_range_size(range);
                ck_assert_int_eq(range.begin, next);
                ck_assert_int_ge(size, 0);
                ck_assert_int_le(size, before);
                for (int64_t i = range.begin; i < range.end; i++)
                    ck_assert_int_eq(orth_partition_owner(totals[t], parts, i), p);
                largest = size > largest ? size : largest;
                smallest = size < smallest ? size : smallest;
                before = size;
                next = range.end;
            }
            ck_assert_int_eq(next, totals[t]);
            ck_assert_int_le(largest - smallest, 1);
            ck_assert_int_eq(orth_partition_largest(totals[t], parts), largest);
        }
}
END_TEST

START_TEST(parts_beyond_32_bits)
{
    const int64_t total = 3000000000001;
    orth_range last = orth_partition(total, 7, 6);
    ck_assert_int_eq(last.end, total);
    ck_assert_int_eq(last.begin, total - 428571428571);
    ck_assert_int_eq(orth_partition_owner(total, 7, total - 1), 6);
    ck_assert_int_eq(orth_partition_owner(total, 7, last.begin - 1), 5);
}
END_TEST

static void check_grid(int n_group, int n_shard)
{
    int rank, size, group_size, group_rank, peers_size, peers_rank;
    orth_grid grid;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    ck_agree(orth_grid_create(MPI_COMM_WORLD, n_group, n_shard, &grid) == ORTH_OK);
    MPI_Comm_rank(grid.group, &group_rank);
    MPI_Comm_size(grid.group, &group_size);
    MPI_Comm_rank(grid.peers, &peers_rank);
    MPI_Comm_size(grid.peers, &peers_size);
    ck_agree(grid.rank == rank && grid.size == size);
    ck_agree(grid.group_index * n_shard + grid.shard_index == rank);
    ck_agree(group_size == n_shard && group_rank == grid.shard_index);
    ck_agree(peers_size == n_group && peers_rank == grid.group_index);
    ck_agree(grid.threads == 0);
    ck_agree(orth_grid_agree_threads(&grid, 3 + rank) == ORTH_OK && grid.threads == 2 + size);
    int topology = 0;
    MPI_Topo_test(grid.world, &topology);
    ck_agree(topology == MPI_UNDEFINED);
    /* Group and peers hold the ranks that they should. */
    int expected_group = 0, expected_peers = 0, group_sum = 0, peers_sum = 0;
    for (int s = 0; s < n_shard; s++)
        expected_group += grid.group_index * n_shard + s;
    for (int g = 0; g < n_group; g++)
        expected_peers += g * n_shard + grid.shard_index;
    MPI_Allreduce(&rank, &group_sum, 1, MPI_INT, MPI_SUM, grid.group);
    MPI_Allreduce(&rank, &peers_sum, 1, MPI_INT, MPI_SUM, grid.peers);
    ck_agree(group_sum == expected_group && peers_sum == expected_peers);
    /* Shards cover the latents, reads cover the batch, over all ranks. */
    int64_t counts[2] = {grid.group_index == 0 ? orth_range_size(orth_grid_latents(&grid, 13)) : 0,
                         orth_range_size(orth_grid_reads(&grid, 11))};
    MPI_Allreduce(MPI_IN_PLACE, counts, 2, MPI_INT64_T, MPI_SUM, grid.world);
    ck_agree(counts[0] == 13 && counts[1] == 11);
    orth_range tokens = orth_grid_tokens(&grid, 11), reads = orth_grid_reads(&grid, 11);
    ck_agree(reads.begin >= tokens.begin && reads.end <= tokens.end);
    orth_grid_free(&grid);
}

START_TEST(every_factorisation)
{
    int size;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int n_group = 1; n_group <= size; n_group++)
        if (size % n_group == 0)
            check_grid(n_group, size / n_group);
}
END_TEST

START_TEST(a_product_that_is_not_the_ranks)
{
    int size;
    char expected[64];
    orth_grid grid;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    ck_agree(orth_grid_create(MPI_COMM_WORLD, size, 2, &grid) == ORTH_ERR_USAGE);
    snprintf(expected, sizeof expected, "%d x 2 is not the number of ranks, %d;", size, size);
    ck_agree(strstr(orth_error_text(), expected) != NULL);
    orth_error_clear();
    ck_agree(orth_grid_create(MPI_COMM_WORLD, 0, size, &grid) == ORTH_ERR_USAGE);
    orth_error_clear();
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("grid");
    TCase *cases = tcase_create("grid");
    tcase_add_test(cases, parts_cover_every_item_once);
    tcase_add_test(cases, parts_beyond_32_bits);
    tcase_add_test(cases, every_factorisation);
    tcase_add_test(cases, a_product_that_is_not_the_ranks);
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
