/* Lists of codes by latents: all entries once and in order, within their memory.
 * threads: 3
 */
#include "check_mpi.h"

#include <orthant/base/random.h>
#include <orthant/sae/latent_lists.h>

#include <string.h>

enum { LATENTS = 97, TOKENS = 4000, BATCH = 250, BLOCKS = 1 << 12, MARKS = 3 };

/* Token t fires on a latent with a probability that falls from 1 to 0 over the latents, and never
 * on the fifth. */
static float value_of(int64_t token, int64_t latent)
{
    double share = 1.0 - (double)latent / LATENTS;
    double random = orth_random_uniform(7, ORTH_RANDOM_TEST, (uint64_t)token, (uint64_t)latent);
    return latent != 5 && random < share ? (float)(random + 0.01) : 0.0f;
}

static void make_code(int64_t first, orth_code *code)
{
    ck_assert_int_eq(orth_code_begin(code, BATCH), ORTH_OK);
    ck_assert_int_eq(orth_code_reserve(code, BATCH * LATENTS), ORTH_OK);
    int64_t at = 0;
    for (int64_t t = 0; t < BATCH; t++) {
        for (int64_t i = 0; i < LATENTS; i++)
            if (value_of(first + t, i) > 0.0f) {
                code->latent[at] = (uint32_t)i;
                code->value[at++] = value_of(first + t, i);
            }
        code->start[t + 1] = at;
    }
    code->n_token = BATCH;
}

static void fill(orth_latent_lists *lists, int64_t begin, orth_code *code)
{
    orth_latent_lists_begin(lists, begin);
    for (int64_t t = 0; t < TOKENS; t += BATCH) {
        uint32_t marks[BATCH * MARKS];
        make_code(t, code);
        for (int64_t i = 0; i < BATCH; i++)
            for (int64_t m = 0; m < lists->marks; m++)
                marks[i * lists->marks + m] = (uint32_t)((t + i) * (m + 1));
        ck_assert_int_eq(orth_latent_lists_add(lists, code, marks), ORTH_OK);
    }
}

/* What was seen of the latents asked for. */
typedef struct seen {
    int64_t marks;
    int64_t next[LATENTS]; ///< the token after the last one seen
    int64_t wrong[LATENTS];
    int64_t asked[LATENTS];
} seen;

/* The marks of token t are t, 2 t, ... */
static void visit(void *context, int64_t i, int64_t latent, const orth_list_block *block,
                  int64_t count)
{
    seen *s = context;
    s->asked[latent] = i;
    for (int64_t e = 0; e < count; e++) {
        const uint32_t *marks = block->mark + e * s->marks;
        int64_t token = marks[0];
        for (int64_t m = 1; m < s->marks; m++)
            s->wrong[latent] += marks[m] != (m + 1) * token;
        for (; s->next[latent] < token; s->next[latent]++) /* none is left out */
            s->wrong[latent] += value_of(s->next[latent], latent) > 0.0f;
        s->wrong[latent] +=
            block->value[e] != value_of(token, latent) || s->next[latent]++ != token;
    }
}

/* The lists of [begin, end) are what the codes hold. */
static void check_lists(const orth_latent_lists *lists)
{
    static seen s;
    int64_t latents[LATENTS] = {0}, n = 0;
    memset(&s, 0, sizeof s);
    s.marks = lists->marks;
    for (int64_t latent = lists->end - 1; latent >= lists->begin; latent--)
        latents[n++] = latent;
    orth_latent_lists_visit(lists, latents, n, visit, &s);
    for (int64_t i = 0; i < n; i++) {
        int64_t latent = latents[i], count = 0;
        for (int64_t t = 0; t < TOKENS; t++)
            count += value_of(t, latent) > 0.0f;
        for (; s.next[latent] < TOKENS; s.next[latent]++)
            s.wrong[latent] += value_of(s.next[latent], latent) > 0.0f;
        ck_assert_int_eq(lists->count[latent], count);
        ck_assert_int_eq(s.wrong[latent], 0);
        ck_assert_int_eq(s.asked[latent], count > 0 ? i : 0);
    }
}

static void check_all_fit(int64_t marks)
{
    orth_latent_lists lists;
    orth_code code = {0};
    ck_assert_int_eq(orth_latent_lists_create(LATENTS, 1 << 24, marks, &lists), ORTH_OK);
    fill(&lists, 0, &code);
    ck_assert_int_eq(lists.end, LATENTS);
    check_lists(&lists);
    orth_latent_lists_cut(&lists, 30);
    ck_assert_int_eq(lists.end, 30);
    check_lists(&lists);
    fill(&lists, 90, &code); /* again, in the same memory */
    check_lists(&lists);
    orth_latent_lists_free(&lists);
    orth_code_free(&code);
}

START_TEST(all_fit)
{
    for (int64_t marks = 1; marks <= MARKS; marks++)
        check_all_fit(marks);
}
END_TEST

/* Pass after pass, each of bounded memory, takes every latent once. */
START_TEST(some_fit)
{
    orth_latent_lists lists;
    orth_code code = {0};
    int64_t begin = 0, passes = 0;
    ck_assert_int_eq(orth_latent_lists_create(LATENTS, 1 << 20, 1, &lists), ORTH_OK);
    for (; begin < LATENTS; begin = lists.end) {
        fill(&lists, begin, &code);
        ck_assert_int_gt(lists.end, begin);
        ck_assert_int_le(lists.blocks, BLOCKS + LATENTS);
        check_lists(&lists);
        passes++;
    }
    ck_assert_int_ge(passes, 2);
    ck_assert_int_le(passes, 4);
    orth_latent_lists_free(&lists);
    orth_code_free(&code);
}
END_TEST

/* A single latent is kept whatever it takes. */
START_TEST(one_latent)
{
    orth_latent_lists lists;
    orth_code code = {0};
    ck_assert_int_eq(orth_latent_lists_create(2, 1, 1, &lists), ORTH_OK);
    orth_latent_lists_begin(&lists, 0);
    ck_assert_int_eq(orth_code_begin(&code, 1000), ORTH_OK);
    ck_assert_int_eq(orth_code_reserve(&code, 2000), ORTH_OK);
    for (int64_t t = 0; t < 1000; t++) {
        code.start[t + 1] = 2 * (t + 1);
        for (uint32_t i = 0; i < 2; i++) {
            code.latent[2 * t + i] = i;
            code.value[2 * t + i] = 1.0f;
        }
    }
    code.n_token = 1000;
    static const uint32_t marks[1000];
    for (int64_t t = 0; t < 200000; t += 1000)
        ck_assert_int_eq(orth_latent_lists_add(&lists, &code, marks), ORTH_OK);
    ck_assert_int_eq(lists.end, 1);
    ck_assert_int_eq(lists.count[0], 200000);
    ck_assert_int_gt(lists.used, BLOCKS);
    orth_latent_lists_free(&lists);
    orth_code_free(&code);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("latent_lists");
    TCase *tests = tcase_create("lists");
    tcase_add_test(tests, all_fit);
    tcase_add_test(tests, some_fit);
    tcase_add_test(tests, one_latent);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
