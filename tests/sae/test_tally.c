/* Exact sums, counts and top examples of latents, and their merging.
 * threads: 3
 */
#include "check_mpi.h"

#include <orthant/base/random.h>
#include <orthant/sae/tally.h>

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 50, TOKENS = 400, EXAMPLES = 5 };

static double sum_of(const float *values, int n)
{
    orth_exact_sum sum = 0;
    for (int i = 0; i < n; i++)
        sum = orth_exact_add(sum, orth_exact_of(values[i]));
    return orth_exact_value(sum);
}

START_TEST(exact_sums)
{
    /* Doubles would lose the small ones in this order. */
    const float mixed[] = {0x1p60f, 0x1p-20f, 0x1p-64f, 1.5f, 0x1.fffffep-2f};
    ck_assert(sum_of(mixed, 1) == 0x1p60);
    ck_assert(sum_of(mixed + 1, 4) == 0x1p-20 + 0x1p-64 + 1.5 + 0x1.fffffep-2);
    orth_exact_sum one_way = 0, back = 0;
    for (int i = 0; i < 5; i++) {
        one_way = orth_exact_add(one_way, orth_exact_of(mixed[i]));
        back = orth_exact_add(back, orth_exact_of(mixed[4 - i]));
    }
    ck_assert(one_way == back);
    ck_assert(orth_exact_of(0.0f) == 0 && orth_exact_of(FLT_TRUE_MIN) == 0);
    ck_assert(orth_exact_of(0x1p-64f) == 1 && orth_exact_of(0x1.8p-64f) == 1);
    ck_assert(orth_exact_value(orth_exact_of(0x1.fffffep63f)) == 0x1.fffffep63);
    ck_assert(isinf(orth_exact_value(orth_exact_of(0x1p64f))));
    const float large[] = {0x1p63f, 0x1p63f, 1.0f};
    ck_assert(isinf(sum_of(large, 2)) && isinf(sum_of(large, 3)) && sum_of(large, 1) == 0x1p63);
    for (uint64_t i = 0; i < 1000; i++) {
        float value = (float)exp(6.0 * orth_random_normal(2, ORTH_RANDOM_TEST, i, 0));
        double kept = orth_exact_value(orth_exact_of(value));
        ck_assert(kept <= (double)value && (double)value - kept < 0x1p-64);
    }
}
END_TEST

/* A code with few distinct values, so that there are ties. */
static void make_code(orth_code *code, int64_t first, int64_t n)
{
    ck_assert_int_eq(orth_code_begin(code, n), ORTH_OK);
    ck_assert_int_eq(orth_code_reserve(code, n * N), ORTH_OK);
    code->n_token = n;
    for (int64_t t = 0; t < n; t++) {
        int64_t at = code->start[t];
        for (int64_t i = 0; i < N - 1; i++) {
            uint64_t bits =
                orth_random_bits(3, ORTH_RANDOM_TEST, (uint64_t)(first + t), (uint64_t)i);
            if (bits % (uint64_t)(2 + i))
                continue;
            code->latent[at] = (uint32_t)i;
            code->value[at++] = 0.25f * (float)(1 + (bits >> 20) % 12);
        }
        code->start[t + 1] = at;
    }
}

/* Against sorting everything. */
static void check(const orth_tally *tally, int64_t tokens)
{
    orth_code code = {0};
    make_code(&code, 0, tokens);
    for (int64_t i = 0; i < N; i++) {
        int64_t count = 0, before;
        double sum = 0.0, max = 0.0;
        for (int64_t t = 0; t < tokens; t++)
            for (int64_t e = code.start[t]; e < code.start[t + 1]; e++)
                if (code.latent[e] == i) {
                    count++;
                    sum += (double)code.value[e];
                    max = fmax(max, (double)code.value[e]);
                }
        ck_assert_int_eq(tally->entry[i].count, count);
        ck_assert(orth_exact_value(tally->entry[i].sum) == sum && tally->entry[i].max == max);
        for (int64_t x = 0; x < EXAMPLES; x++) {
            orth_tally_example found = tally->example[i * EXAMPLES + x];
            ck_assert_int_eq(found.row >= 0, x < count);
            if (x >= count)
                continue;
            before = 0;
            for (int64_t t = 0; t < tokens; t++)
                for (int64_t e = code.start[t]; e < code.start[t + 1]; e++)
                    before += code.latent[e] == i &&
                              ((double)code.value[e] > found.value ||
                               ((double)code.value[e] == found.value && t < found.row));
            ck_assert_int_eq(before, x);
        }
    }
    orth_code_free(&code);
}

START_TEST(in_batches)
{
    orth_tally tally;
    orth_code code = {0};
    ck_assert_int_eq(orth_tally_create(N, EXAMPLES, &tally), ORTH_OK);
    for (int64_t first = 0; first < TOKENS; first += 64) {
        int64_t n = TOKENS - first < 64 ? TOKENS - first : 64;
        make_code(&code, first, n);
        orth_tally_add(&tally, &code, first);
    }
    check(&tally, TOKENS);
    ck_assert(tally.entry[N - 1].count == 0 && tally.example[(N - 1) * EXAMPLES].row == -1);
    orth_tally_free(&tally);
    orth_code_free(&code);
}
END_TEST

/* Two halves that see every other batch, merged either way. */
START_TEST(merged)
{
    for (int order = 0; order < 2; order++) {
        orth_tally half[2];
        orth_code code = {0};
        for (int h = 0; h < 2; h++)
            ck_assert_int_eq(orth_tally_create(N, EXAMPLES, half + h), ORTH_OK);
        for (int64_t first = 0; first < TOKENS; first += 50) {
            make_code(&code, first, 50);
            orth_tally_add(half + first / 50 % 2, &code, first);
        }
        orth_tally *into = half + order, *from = half + 1 - order;
        for (int64_t i = 0; i < N; i++)
            orth_tally_merge(from->entry + i, from->example + i * EXAMPLES, EXAMPLES,
                             into->entry + i, into->example + i * EXAMPLES);
        check(into, TOKENS);
        for (int h = 0; h < 2; h++)
            orth_tally_free(half + h);
        orth_code_free(&code);
    }
}
END_TEST

START_TEST(no_examples)
{
    orth_tally tally;
    orth_code code = {0};
    ck_assert_int_eq(orth_tally_create(N, 0, &tally), ORTH_OK);
    make_code(&code, 0, 9);
    orth_tally_add(&tally, &code, 0);
    ck_assert(tally.entry[0].count > 0);
    orth_tally_free(&tally);
    orth_code_free(&code);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("tally");
    TCase *tests = tcase_create("tally");
    tcase_add_test(tests, exact_sums);
    tcase_add_test(tests, in_batches);
    tcase_add_test(tests, merged);
    tcase_add_test(tests, no_examples);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
