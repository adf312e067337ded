/* Top-AFA's kernels: quanta by hand, and every set against a candidate at a time. */
#include "check_mpi.h"
#include "values.h"

#include <orthant/base/random.h>
#include <orthant/kern/afa.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 1100, LATENTS = 2 * MOST, GUARD = 3, FIRST = 700 };

/* What is special about a token's values and norms. */
typedef enum flavour {
    RANDOM,
    NEAR_ONE,   /* norms within a percent of one */
    WEIGHTLESS, /* some norms are zero */
    EQUAL,      /* all strengths equal */
    COARSE,     /* few values and norms, so that many strengths are */
    SUBNORMAL,  /* values and norms of single precision's smallest */
    LARGE,      /* and largest */
    BROKEN,     /* infinities and NaN among the values */
    FLAVOURS
} flavour;

typedef struct problem {
    uint64_t keys[1 + MOST];
    double norm[LATENTS];
    orth_afa_token token;
} problem;

static uint64_t random_bits(int64_t seed, int64_t i)
{
    return orth_random_bits((uint64_t)seed, ORTH_RANDOM_TEST, 2, (uint64_t)i);
}

static double random_unit(int64_t seed, int64_t i)
{
    return (double)(random_bits(seed, i) >> 11) * 0x1p-53;
}

static double norm_of(flavour kind, int64_t i)
{
    double unit = random_unit(3, i);
    switch (kind) {
    case NEAR_ONE:
        return 0.99 + 0.02 * unit;
    case WEIGHTLESS:
        return i % 5 == 2 ? 0.0 : unit + 0.1;
    case EQUAL:
        return 1.0;
    case COARSE:
        return 1.0 + (double)(i % 3);
    case SUBNORMAL:
        return (double)(1 + i % 7) * 0x1p-149;
    case LARGE:
        return 0x1p100 * (1.0 + unit);
    default:
        return 2.0 * unit + 1e-3;
    }
}

static float value_of(flavour kind, int64_t i)
{
    double unit = random_unit(4, i);
    switch (kind) {
    case EQUAL:
        return 0.75f;
    case COARSE:
        return (float)(1 + i % 4) * 0.5f;
    case SUBNORMAL:
        return (float)(1 + i % 11) * 0x1p-149f;
    case LARGE:
        return 0x1p120f * (float)(1.0 + unit);
    case BROKEN:
        return i % 31 == 5 ? NAN : i % 31 == 9 ? INFINITY : (float)unit;
    default:
        return (float)(unit * unit) + 1e-6f;
    }
}

/* `n` candidates; keys do not begin at a vector's boundary. The sum of s is `times` t^2. */
static void make(flavour kind, int64_t n, double times, problem *p)
{
    double sum = 0.0;
    uint64_t *keys = p->keys + 1;
    p->token = (orth_afa_token){.keys = keys, .n = n, .norm = p->norm, .first = FIRST};
    p->token.norm_least = INFINITY;
    for (int64_t i = 0; i < LATENTS; i++) {
        p->norm[i] = norm_of(kind, i);
        p->token.norm_least = fmin(p->token.norm_least, p->norm[i]);
        p->token.norm_most = fmax(p->token.norm_most, p->norm[i]);
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t latent = 2 * i + (int64_t)(random_bits(5, i) & 1);
        keys[i] = orth_key(value_of(kind, i), (uint32_t)(FIRST + latent));
        double s = orth_afa_value(orth_afa_strength(&p->token, keys[i]));
        sum += isfinite(s) ? s : 0.0;
    }
    p->token.target_square = times > 0.0 ? sum / times : 0.0;
}

/* A strength that occurs, and the like: edges of windows and cuts. */
static uint64_t edge(const problem *p, int64_t i)
{
    static const uint64_t far[] = {1, 1ull << 52, 1ull << 62, ORTH_AFA_END};
    if (p->token.n == 0 || random_bits(6, i) % 5 == 0)
        return far[random_bits(7, i) % 4];
    uint64_t key = p->token.keys[random_bits(8, i) % (uint64_t)p->token.n];
    uint64_t strength = orth_afa_strength(&p->token, key) + random_bits(9, i) % 3;
    return strength > 1 && strength <= ORTH_AFA_END ? strength - 1 : 1;
}

static int edge_order(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static orth_afa_window window_of(const problem *p, int64_t i)
{
    uint64_t edges[3] = {edge(p, 3 * i), edge(p, 3 * i + 1), edge(p, 3 * i + 2)};
    qsort(edges, 3, sizeof *edges, edge_order);
    if (edges[0] == edges[1])
        edges[0] > 1 ? edges[0]-- : edges[1]++;
    if (edges[2] < edges[1])
        edges[2] = edges[1];
    int bits = 64 - __builtin_clzll(edges[1] - edges[0]);
    return (orth_afa_window){edges[0], edges[1], edges[2], bits > 6 ? bits - 6 : 0};
}

static void check_tally(const orth_kernels *set, const problem *p, int64_t i, const char *what)
{
    orth_afa_window window = window_of(p, i);
    orth_afa_tally tally, wanted;
    memset(&tally, 77, sizeof tally);
    orth_kernels_named("reference")->afa->tally(&p->token, &window, &wanted);
    set->afa->tally(&p->token, &window, &tally);
    ck_assert_msg(memcmp(&tally, &wanted, sizeof tally) == 0, "%s: tally %s", set->name, what);
}

static void check_collect(const orth_kernels *set, const problem *p, int64_t i, const char *what)
{
    orth_afa_window window = window_of(p, i);
    size_t size = (size_t)(p->token.n + GUARD) * sizeof(orth_afa_entry);
    orth_afa_entry *entries = malloc(2 * size), *wanted = entries + p->token.n + GUARD;
    ck_assert_ptr_nonnull(entries);
    memset(entries, 77, 2 * size);
    int64_t count =
        orth_kernels_named("reference")->afa->collect(&p->token, window.low, window.top, wanted);
    int64_t found = set->afa->collect(&p->token, window.low, window.top, entries);
    ck_assert_int_eq(found, count);
    ck_assert_msg(memcmp(entries, wanted, (size_t)count * sizeof *entries) == 0, "%s: collect %s",
                  set->name, what);
    ck_assert(memcmp(entries + p->token.n, wanted + p->token.n, GUARD * sizeof *entries) == 0);
    free(entries);
}

static void check_select(const orth_kernels *set, const problem *p, int64_t i, const char *what)
{
    uint32_t latents[2][MOST + GUARD];
    float values[2][MOST + GUARD];
    orth_afa_cut cut = {edge(p, i), i % 3 == 0 ? UINT64_MAX : FIRST + random_bits(10, i) % LATENTS};
    int64_t all = orth_kernels_named("reference")->afa->select(&p->token, &cut, 0, NULL, NULL);
    ck_assert_int_eq(set->afa->select(&p->token, &cut, 0, NULL, NULL), all);
    for (int64_t room = all; room >= 0; room -= 1 + room / 3) {
        memset(latents, 77, sizeof latents);
        memset(values, 77, sizeof values);
        orth_kernels_named("reference")->afa->select(&p->token, &cut, room, latents[0], values[0]);
        ck_assert_int_eq(set->afa->select(&p->token, &cut, room, latents[1], values[1]), all);
        ck_assert_msg(memcmp(latents[0], latents[1], sizeof latents[0]) == 0 &&
                          memcmp(values[0], values[1], sizeof values[0]) == 0,
                      "%s: select %s, room %d", set->name, what, (int)room);
    }
}

START_TEST(sets_agree_with_one_candidate_at_a_time)
{
    static const double times[] = {0.0, 1e-9, 0.5, 1.0, 3.0, 1e12};
    const orth_kernels *sets[KERNEL_SETS];
    int n_set = kernel_sets(sets);
    problem *p = malloc(sizeof *p);
    ck_assert_ptr_nonnull(p);
    for (int kind = 0; kind < FLAVOURS; kind++)
        for (int64_t n = 0; n <= MOST; n += n < 34 ? 1 : 355)
            for (int t = 0; t < 6; t++) {
                char what[80];
                make((flavour)kind, n, times[t], p);
                snprintf(what, sizeof what, "flavour %d, n %d, sum %g t^2", kind, (int)n, times[t]);
                for (int s = 0; s < n_set; s++)
                    for (int64_t i = 0; i < 6; i++) {
                        check_tally(sets[s], p, 6 * n + i, what);
                        check_collect(sets[s], p, 6 * n + i, what);
                        check_select(sets[s], p, 6 * n + i, what);
                    }
            }
    free(p);
}
END_TEST

/* s and t^2 in exact binary fractions, by hand. */
START_TEST(quanta_are_rounded_to_even)
{
    static const struct {
        double s, square;
        uint64_t quantum;
    } cases[] = {
        {1.0, 1.0, 1ull << 38},     {0x1p-38, 1.0, 1},        {0x1p-60, 1.0, 1}, /* however small */
        {0x1.8p-38, 1.0, 2},                                                     /* 1.5 */
        {0x1.4p-37, 1.0, 2},                                                     /* 2.5 */
        {0x1.cp-37, 1.0, 4},                                                     /* 3.5 */
        {1.0, 3.0, 91625968981ull},                           /* 2^38 / 3 = 91625968981.33 */
        {2.0, 1.0, 1ull << 39},     {1e300, 1.0, 1ull << 39}, /* 2 t^2 at most */
        {1e-300, 0.0, 1ull << 38},  {5.0, 0.0, 1ull << 38},   /* t = 0 */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        ck_assert_uint_eq(orth_afa_quantum(orth_afa_bits(cases[i].s), cases[i].square),
                          cases[i].quantum);
}
END_TEST

/* Three candidates, all in view: the sums, the bins and the order of ties. */
START_TEST(three_candidates_by_hand)
{
    const orth_kernels *sets[KERNEL_SETS];
    int n_set = kernel_sets(sets);
    const uint64_t keys[] = {orth_key(2.0f, 10), orth_key(1.0f, 11), orth_key(1.0f, 13)};
    const double norm[] = {1.0, 2.0, 99.0, 1.0};
    const orth_afa_token token = {keys, 3, norm, 10, 1.0, 99.0, 8.0};
    const orth_afa_window window = {orth_afa_bits(1.0), orth_afa_bits(2.0), ORTH_AFA_END, 46};
    for (int s = 0; s < n_set; s++) {
        orth_afa_tally tally;
        orth_afa_entry entries[3];
        uint32_t latents[3];
        float values[3];
        sets[s]->afa->tally(&token, &window, &tally);
        ck_assert(tally.above.count == 2 && tally.above.sum == 1ull << 38);
        ck_assert(tally.bins[0].count == 1 && tally.bins[0].sum == 1ull << 35);
        ck_assert(tally.bins[1].count == 0 && tally.bins[63].count == 0);
        ck_assert(sets[s]->afa->collect(&token, window.high, ORTH_AFA_END, entries) == 2);
        ck_assert(entries[0].latent == 10 && entries[1].latent == 11);
        ck_assert(entries[0].strength == orth_afa_bits(4.0));
        const orth_afa_cut first = {orth_afa_bits(4.0), 10}, both = {orth_afa_bits(4.0), 11};
        ck_assert(sets[s]->afa->select(&token, &first, 3, latents, values) == 1);
        ck_assert(sets[s]->afa->select(&token, &both, 3, latents, values) == 2);
        ck_assert(latents[0] == 0 && latents[1] == 1 && values[0] == 2.0f && values[1] == 1.0f);
    }
}
END_TEST

static Suite *make_suite(void)
{
    Suite *suite = suite_create("afa");
    TCase *cases = tcase_create("afa");
    tcase_set_timeout(cases, 0);
    tcase_add_test(cases, quanta_are_rounded_to_even);
    tcase_add_test(cases, three_candidates_by_hand);
    tcase_add_test(cases, sets_agree_with_one_candidate_at_a_time);
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    return orth_check_main(make_suite);
}
