/* Messages that are under way while others are: order within a tag, every length, none.
 * ranks: 1 2 4 */
#include "check_mpi.h"

#include <orthant/par/grid.h>
#include <orthant/par/transfer.h>

#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 20, LARGEST = 300001, STRIDE = LARGEST + 1 };

static int rank, size;

static const int64_t lengths[] = {LARGEST, 0, 1, 4096, 70000};
enum { LENGTHS = sizeof lengths / sizeof *lengths };

/* What rank `from` sends to rank `to` in a round. */
static int64_t length_of(int from, int to, int round)
{
    return lengths[(from * 3 + to + round) % LENGTHS];
}

static unsigned char byte_of(int from, int to, int round, int64_t i)
{
    return (unsigned char)(from * 31 + to * 7 + round * 13 + i % 251);
}

static void post(orth_transfer *transfer, unsigned char *out, unsigned char *in, int round)
{
    for (int r = 0; r < size; r++) {
        ck_agree(orth_transfer_receive(transfer, in + r * STRIDE, length_of(r, rank, round), r,
                                       round % 2) == ORTH_OK);
        for (int64_t i = 0; i < length_of(rank, r, round); i++)
            out[r * STRIDE + i] = byte_of(rank, r, round, i);
        ck_agree(orth_transfer_send(transfer, out + r * STRIDE, length_of(rank, r, round), r,
                                    round % 2) == ORTH_OK);
    }
}

static bool right(const unsigned char *in, int round)
{
    bool same = true;
    for (int r = 0; r < size; r++) {
        int64_t length = length_of(r, rank, round);
        for (int64_t i = 0; i < length; i++)
            same = same && in[r * STRIDE + i] == byte_of(r, rank, round, i);
        same = same && in[r * STRIDE + length] == 0xEE;
    }
    return same;
}

/* Two transfers in turn, as the update uses them: one is waited for while the next is under way. */
START_TEST(transfers_in_turn)
{
    orth_transfer transfers[2] = {{.comm = MPI_COMM_WORLD}, {.comm = MPI_COMM_WORLD}};
    size_t room = (size_t)size * STRIDE;
    unsigned char *out[2], *in[2];
    for (int i = 0; i < 2; i++) {
        out[i] = malloc(room);
        in[i] = malloc(room);
        ck_assert(out[i] && in[i]);
    }
    for (int round = 0; round <= ROUNDS; round++) {
        if (round < ROUNDS) {
            memset(in[round % 2], 0xEE, room);
            post(&transfers[round % 2], out[round % 2], in[round % 2], round);
        }
        for (int i = 0; i < 2; i++)
            ck_agree(orth_transfer_progress(&transfers[i]) == ORTH_OK);
        if (round > 0) {
            ck_agree(orth_transfer_finish(&transfers[(round - 1) % 2]) == ORTH_OK);
            ck_agree(transfers[(round - 1) % 2].count == 0);
            ck_agree(right(in[(round - 1) % 2], round - 1));
        }
    }
    for (int i = 0; i < 2; i++) {
        orth_transfer_free(&transfers[i]);
        free(out[i]);
        free(in[i]);
    }
}
END_TEST

/* Progress alone ends a transfer, without a wait. */
START_TEST(progress_is_enough)
{
    orth_transfer transfer = {.comm = MPI_COMM_WORLD};
    int out = rank, in = -1;
    ck_agree(orth_transfer_receive(&transfer, &in, sizeof in, (rank + 1) % size, 0) == ORTH_OK);
    ck_agree(orth_transfer_send(&transfer, &out, sizeof out, (rank + size - 1) % size, 0) ==
             ORTH_OK);
    bool fine = true;
    while (transfer.count > 0 && fine)
        fine = orth_transfer_progress(&transfer) == ORTH_OK;
    ck_agree(fine && in == (rank + 1) % size);
    ck_agree(orth_transfer_finish(&transfer) == ORTH_OK);
    orth_transfer_free(&transfer);
}
END_TEST

START_TEST(a_failed_message_is_named)
{
    MPI_Comm comm;
    MPI_Comm_dup(MPI_COMM_WORLD, &comm);
    MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
    orth_transfer transfer = {.comm = comm};
    int value = 0;
    ck_agree(orth_transfer_send(&transfer, &value, sizeof value, size + 5, 0) ==
             ORTH_ERR_ENVIRONMENT);
    ck_agree(strstr(orth_error_text(), ": MPI_Isend: "));
    ck_agree(transfer.count == 0);
    orth_error_clear();
    orth_transfer_free(&transfer);
    MPI_Comm_free(&comm);
}
END_TEST

/* The parts of a shard: in order, without a gap, and its peers'. */
START_TEST(parts_cover_the_shards)
{
    for (int n_group = 1; n_group <= size; n_group++) {
        if (size % n_group != 0)
            continue;
        orth_grid grid;
        ck_agree(orth_grid_create(MPI_COMM_WORLD, n_group, size / n_group, &grid) == ORTH_OK);
        for (int64_t n = 1; n < 30; n += 7) {
            orth_range own = orth_grid_latents(&grid, n), part = orth_grid_part(&grid, n);
            int64_t count = orth_range_size(part), before = 0, all = count;
            MPI_Exscan(&count, &before, 1, MPI_INT64_T, MPI_SUM, grid.peers);
            MPI_Allreduce(MPI_IN_PLACE, &all, 1, MPI_INT64_T, MPI_SUM, grid.peers);
            if (grid.group_index == 0)
                before = 0;
            ck_agree(part.begin == own.begin + before && all == orth_range_size(own));
        }
        orth_grid_free(&grid);
    }
}
END_TEST

static Suite *make(void)
{
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    Suite *suite = suite_create("transfer");
    TCase *cases = tcase_create("transfer");
    tcase_set_timeout(cases, 120);
    tcase_add_test(cases, transfers_in_turn);
    tcase_add_test(cases, progress_is_enough);
    tcase_add_test(cases, a_failed_message_is_named);
    tcase_add_test(cases, parts_cover_the_shards);
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
