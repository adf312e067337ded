/* Collectives: more than one piece, uneven pieces, sums in rank order, agreed statuses.
 * ranks: 1 2 3 4 */
#include "check_mpi.h"

#include <orthant/base/fault.h>
#include <orthant/base/memory.h>
#include <orthant/base/random.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>

#include <stdlib.h>
#include <string.h>

/* Above 2 MiB in every type, and no multiple of a piece. */
enum { MANY = 1300007 };

static int rank, size;

static uint64_t value_of(int r, int64_t i)
{
    return orth_random_bits(7, ORTH_RANDOM_TEST, (uint64_t)r, (uint64_t)i);
}

static float float_of(int r, int64_t i)
{
    return (float)orth_random_normal(7, ORTH_RANDOM_TEST, (uint64_t)r, (uint64_t)i);
}

START_TEST(reduce_and_broadcast)
{
    int64_t *data = NULL;
    ck_assert_int_eq(ORTH_ALLOCATE(MANY, "test", &data), ORTH_OK);
    for (int64_t i = 0; i < MANY; i++)
        data[i] = (int64_t)(value_of(rank, i) >> 8);
    ck_agree(orth_allreduce(data, MANY, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD) == ORTH_OK);
    bool same = true;
    for (int64_t i = 0; i < MANY; i++) {
        int64_t sum = 0;
        for (int r = 0; r < size; r++)
            sum += (int64_t)(value_of(r, i) >> 8);
        same = same && data[i] == sum;
    }
    ck_agree(same);
    for (int64_t i = 0; i < MANY; i++)
        data[i] = (int64_t)value_of(rank, i);
    ck_agree(orth_broadcast(data, MANY, MPI_INT64_T, size - 1, MPI_COMM_WORLD) == ORTH_OK);
    same = true;
    for (int64_t i = 0; i < MANY; i++)
        same = same && data[i] == (int64_t)value_of(size - 1, i);
    ck_agree(same);
    ck_agree(orth_allreduce(data, 0, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD) == ORTH_OK);
    ck_agree(orth_broadcast(data, 0, MPI_INT64_T, 0, MPI_COMM_WORLD) == ORTH_OK);
    orth_free(data);
}
END_TEST

START_TEST(float_sums_in_rank_order)
{
    static const int64_t counts[] = {0, 1, 3, 1000, MANY};
    float *data = NULL;
    ck_assert_int_eq(ORTH_ALLOCATE(MANY, "test", &data), ORTH_OK);
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        for (int64_t i = 0; i < counts[c]; i++)
            data[i] = float_of(rank, i);
        ck_agree(orth_sum_f32(data, counts[c], MPI_COMM_WORLD) == ORTH_OK);
        bool same = true;
        for (int64_t i = 0; i < counts[c]; i++) {
            float sum = float_of(0, i);
            for (int r = 1; r < size; r++)
                sum += float_of(r, i);
            same = same && memcmp(&sum, &data[i], sizeof sum) == 0;
        }
        ck_agree(same);
    }
    orth_free(data);
}
END_TEST

/* Pieces of every length: none, a few, more than one step. */
START_TEST(scattered_sums_in_rank_order)
{
    static const int64_t lengths[] = {3, 0, 700001, 1};
    int64_t counts[64], total = 0, begin = 0;
    for (int shift = 0; shift < 4; shift++) {
        total = begin = 0;
        for (int r = 0; r < size; r++) {
            counts[r] = lengths[(r + shift) % 4];
            begin += r < rank ? counts[r] : 0;
            total += counts[r];
        }
        float *data = NULL;
        ck_assert_int_eq(ORTH_ALLOCATE(total, "test", &data), ORTH_OK);
        for (int64_t i = 0; i < total; i++)
            data[i] = float_of(rank, i);
        ck_agree(orth_reduce_scatter_f32(data, counts, MPI_COMM_WORLD) == ORTH_OK);
        bool same = true;
        for (int64_t i = 0; i < total; i++) {
            bool own = i >= begin && i < begin + counts[rank];
            float sum = float_of(own ? 0 : rank, i);
            for (int r = 1; r < size && own; r++)
                sum += float_of(r, i);
            same = same && memcmp(&sum, &data[i], sizeof sum) == 0;
        }
        ck_agree(same);
        orth_free(data);
    }
}
END_TEST

START_TEST(double_sums_in_rank_order)
{
    double *data = NULL;
    static const int64_t counts[] = {1, 7, 1000, 4096, 300001};
    ck_assert_int_eq(ORTH_ALLOCATE(counts[4], "test", &data), ORTH_OK);
    for (int c = 0; c < 5; c++) {
        for (int64_t i = 0; i < counts[c]; i++)
            data[i] = 1.0 / (double)(value_of(rank, i) | 1);
        ck_agree(orth_sum_f64(data, counts[c], MPI_COMM_WORLD) == ORTH_OK);
        bool same = true;
        for (int64_t i = 0; i < counts[c]; i++) {
            double sum = 1.0 / (double)(value_of(0, i) | 1);
            for (int r = 1; r < size; r++)
                sum += 1.0 / (double)(value_of(r, i) | 1);
            same = same && memcmp(&sum, &data[i], sizeof sum) == 0;
        }
        ck_agree(same);
    }
    orth_free(data);
}
END_TEST

/* Pieces of very different length: none, one, a few, more than 2 MiB. */
static int64_t piece(int r)
{
    static const int64_t lengths[] = {3, 0, 700001, 1};
    return lengths[r % 4];
}

static void gather(bool in_place)
{
    int64_t total = 0, mine_at = 0;
    int64_t counts[64];
    for (int r = 0; r < size; r++) {
        counts[r] = piece(r);
        mine_at += r < rank ? piece(r) : 0;
        total += piece(r);
    }
    uint64_t *all = NULL, *mine = NULL;
    ck_assert_int_eq(ORTH_ALLOCATE(total, "test", &all), ORTH_OK);
    ck_assert_int_eq(ORTH_ALLOCATE(piece(rank), "test", &mine), ORTH_OK);
    uint64_t *from = in_place ? all + mine_at : mine;
    for (int64_t i = 0; i < piece(rank); i++)
        from[i] = value_of(rank, i);
    ck_agree(orth_allgather(from, counts, sizeof *all, all, MPI_COMM_WORLD) == ORTH_OK);
    bool same = true;
    int64_t at = 0;
    for (int r = 0; r < size; r++)
        for (int64_t i = 0; i < piece(r); i++, at++)
            same = same && all[at] == value_of(r, i);
    ck_agree(same && at == total);
    orth_free(mine);
    orth_free(all);
}

START_TEST(gather_uneven_pieces)
{
    gather(false);
    gather(true);
}
END_TEST

#ifdef ORTH_FAULTS
START_TEST(gather_more_than_mpi_counts)
{
    setenv("ORTHANT_FAULT", "par.gather:1+:short", 1);
    ck_agree(orth_fault_setup(rank) == ORTH_OK);
    gather(false);
    gather(true);
    unsetenv("ORTHANT_FAULT");
    ck_agree(orth_fault_setup(rank) == ORTH_OK);
}
END_TEST
#endif

/* Elements that rank r sends to rank t: also none, and more than 2 MiB one way only. */
static int64_t sent(int r, int t)
{
    return r == 0 && t == size - 1 ? 300001 : (r * 5 + t * 3) % 7;
}

START_TEST(exchange_uneven_pieces)
{
    int64_t send_counts[64], receive_counts[64], out = 0, in = 0;
    for (int r = 0; r < size; r++) {
        send_counts[r] = sent(rank, r);
        receive_counts[r] = sent(r, rank);
        out += send_counts[r];
        in += receive_counts[r];
    }
    uint64_t *send = NULL, *receive = NULL;
    ck_assert_int_eq(ORTH_ALLOCATE(out, "test", &send), ORTH_OK);
    ck_assert_int_eq(ORTH_ALLOCATE(in, "test", &receive), ORTH_OK);
    int64_t at = 0;
    for (int t = 0; t < size; t++)
        for (int64_t i = 0; i < send_counts[t]; i++)
            send[at++] = value_of(rank * 64 + t, i);
    ck_agree(orth_alltoall(send, send_counts, receive, receive_counts, sizeof *send,
                           MPI_COMM_WORLD) == ORTH_OK);
    bool same = true;
    at = 0;
    for (int r = 0; r < size; r++)
        for (int64_t i = 0; i < receive_counts[r]; i++)
            same = same && receive[at++] == value_of(r * 64 + rank, i);
    ck_agree(same && at == in);
    orth_free(receive);
    orth_free(send);
}
END_TEST

START_TEST(the_lowest_failing_rank_counts)
{
    ck_agree(orth_agree(MPI_COMM_WORLD, ORTH_OK) == ORTH_OK);
    for (int bad = 0; bad < size; bad++) {
        orth_status mine = rank == bad ? ORTH_ERR_DATA : rank > bad ? ORTH_ERR_STORAGE : ORTH_OK;
        ck_agree(orth_agree(MPI_COMM_WORLD, mine) == ORTH_ERR_DATA);
        mine = rank == bad ? ORTH_ERR_NONFINITE : ORTH_OK;
        ck_agree(orth_agree(MPI_COMM_WORLD, mine) == ORTH_ERR_NONFINITE);
    }
}
END_TEST

START_TEST(a_failed_call_is_named)
{
    MPI_Comm comm;
    MPI_Comm_dup(MPI_COMM_WORLD, &comm);
    MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
    int value = 0;
    orth_status status = orth_broadcast(&value, 1, MPI_INT, size + 5, comm);
    ck_agree(status == ORTH_ERR_ENVIRONMENT);
    ck_agree(strstr(orth_error_text(), ": MPI_Bcast: "));
    orth_error_clear();
    MPI_Comm_free(&comm);
}
END_TEST

static Suite *make(void)
{
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    Suite *suite = suite_create("collective");
    TCase *cases = tcase_create("collective");
    tcase_set_timeout(cases, 120);
    tcase_add_test(cases, reduce_and_broadcast);
    tcase_add_test(cases, float_sums_in_rank_order);
    tcase_add_test(cases, scattered_sums_in_rank_order);
    tcase_add_test(cases, double_sums_in_rank_order);
    tcase_add_test(cases, gather_uneven_pieces);
#ifdef ORTH_FAULTS
    tcase_add_test(cases, gather_more_than_mpi_counts);
#endif
    tcase_add_test(cases, exchange_uneven_pieces);
    tcase_add_test(cases, the_lowest_failing_rank_counts);
    tcase_add_test(cases, a_failed_call_is_named);
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
