/* Formulas of a plan: what must hold whatever the constants are. The bytes themselves are counted
 * in tests/cli/test_plan.py.
 * ranks: 1 */
#include <orthant/par/collective.h>
#include <orthant/par/partition.h>
#include <orthant/run/plan.h>

#include "check_mpi.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

enum { WIDTH = 48, LATENTS = 5003, BATCH = 1001 };

static orth_plan_problem problem_of(orth_selection_kind selection, int ranks, const char *clip)
{
    static orth_config config;
    const char *overrides[] = {"model.n_latent=5003", "train.batch=1001", "aux.k=9",
                               "model.k=7",           "train.ema=0.5",    clip};
    orth_config_free(&config);
    ck_assert_int_eq(orth_config_load(NULL, overrides, 6, &config), ORTH_OK);
    config.recipe.selection = selection;
    return (orth_plan_problem){.config = config,
                               .options = {.ranks = ranks, .ranks_per_node = ranks, .threads = 2},
                               .d_model = WIDTH,
                               .row_bytes = 2 * WIDTH,
                               .steps = 10,
                               .entries = 7.0,
                               .most_entries = 7.0};
}

/* A sum of n elements is a slice of everyone's to each, and all slices back; the last of its pieces
 * of 2 MiB is padded, and a short one goes to all at once. */
START_TEST(test_sum_received)
{
    for (int ranks = 1; ranks <= 9; ranks++)
        for (int64_t count = 0; count < 5000000; count = 3 * count + 1) {
            int64_t messages = 0, bytes = orth_sum_received(count, 4, ranks, &messages);
            double least = 2.0 * (double)(ranks - 1) / ranks * 4.0 * (double)count;
            ck_assert((bytes == 0) == (ranks == 1 || count == 0));
            ck_assert((double)bytes >= least);
            double piece = 4 * count > (2 << 20) ? 4194304.0 : 32768.0;
            ck_assert((double)bytes <= least + piece + 8.0 * (double)messages + 1e-4 * least);
            ck_assert_int_eq(messages % (ranks > 1 ? ranks - 1 : 1), 0);
        }
}
END_TEST

static double params_bytes(int64_t rows, int64_t n_own)
{
    return 4.0 * (double)(2 * rows * WIDTH + n_own + WIDTH);
}

START_TEST(test_memory_of_parameters)
{
    static const int grids[][2] = {{1, 1}, {1, 3}, {3, 1}, {2, 2}};
    for (size_t i = 0; i < sizeof grids / sizeof *grids; i++) {
        int n_group = grids[i][0], n_shard = grids[i][1];
        orth_plan_problem problem =
            problem_of(ORTH_SELECT_TOPK, n_group * n_shard, "train.clip=none");
        orth_plan_memory memory;
        int64_t n_own = orth_partition_largest(LATENTS, n_shard);
        int64_t part = orth_partition_largest(n_own, n_group);
        double sum = 0.0;
        ck_assert_int_eq(orth_plan_memory_of(&problem, n_group, n_shard, &memory), ORTH_OK);
        ck_assert_double_eq(memory.store[ORTH_STORE_PARAMETERS], params_bytes(n_own, n_own));
        ck_assert_double_eq(memory.store[ORTH_STORE_MOMENTS], 2.0 * params_bytes(part, n_own));
        ck_assert_double_eq(memory.store[ORTH_STORE_AVERAGE], params_bytes(part, n_own));
        for (int s = 0; s < ORTH_STORE_COUNT; s++)
            sum += memory.store[s];
        ck_assert_double_ge(memory.total, sum);
        ck_assert_double_eq(memory.held, 0.0);
        ck_assert_double_gt(memory.dead, 0.0);
        ck_assert_double_eq(memory.most, memory.total + memory.dead);
        /* The whole model, moments and averages once, whatever the grid. */
        ck_assert_double_ge(memory.checkpoint, 4.0 * params_bytes(LATENTS, LATENTS));
        problem = problem_of(ORTH_SELECT_TOPK, n_group * n_shard, "train.clip=1");
        ck_assert_int_eq(orth_plan_memory_of(&problem, n_group, n_shard, &memory), ORTH_OK);
        ck_assert_double_eq(memory.held, 4.0 * (double)(part * (2 * WIDTH + 1)));
    }
}
END_TEST

START_TEST(test_flow)
{
    static const int grids[][2] = {{1, 1}, {1, 3}, {3, 1}, {2, 2}};
    for (int kind = 0; kind < 3; kind++)
        for (size_t i = 0; i < sizeof grids / sizeof *grids; i++) {
            int n_group = grids[i][0], n_shard = grids[i][1], ranks = n_group * n_shard;
            orth_plan_problem problem =
                problem_of((orth_selection_kind)kind, ranks, "train.clip=1");
            orth_plan_memory memory;
            int64_t tokens = 0, row = WIDTH * 4 + 17, world = ranks > 1 ? 16 : 0;
            ck_assert_int_eq(orth_plan_memory_of(&problem, n_group, n_shard, &memory), ORTH_OK);
            for (int rank = 0; rank < ranks; rank++) {
                orth_plan_rank_flow flow;
                orth_plan_flow_of(&problem, n_group, n_shard, rank, &memory, &flow);
                const int64_t *bytes = flow.step.bytes[ORTH_TRAFFIC_TOKENS];
                ck_assert((orth_plan_flow_bytes(&flow.step) == 0) == (ranks == 1));
                ck_assert_int_eq(bytes[ORTH_COMM_WORLD], world);
                tokens += bytes[ORTH_COMM_GROUP];
                if (n_group == 1)
                    for (int t = 0; t < ORTH_TRAFFIC_COUNT; t++)
                        ck_assert_int_eq(flow.step.bytes[t][ORTH_COMM_PEERS], 0);
                if (n_shard == 1)
                    for (int t = 0; t < ORTH_TRAFFIC_COUNT; t++)
                        ck_assert_int_eq(flow.step.bytes[t][ORTH_COMM_GROUP], 0);
            }
            /* Every row reaches the other ranks of its group. */
            ck_assert_int_eq(tokens, BATCH * (n_shard - 1) * row);
        }
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("plan");
    TCase *test = tcase_create("plan");
    tcase_set_timeout(test, 60);
    tcase_add_test(test, test_sum_received);
    tcase_add_test(test, test_memory_of_parameters);
    tcase_add_test(test, test_flow);
    suite_add_tcase(suite, test);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
