/* Top-AFA's search for a cut against a sum over the sorted entries, whatever windows are guessed
 * and however the entries are spread over ranks. */
#include "../../src/sae/topafa_cut.h"
#include "check_mpi.h"

#include <orthant/base/random.h>
#include <orthant/kern/table.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 2000, MOST_SHARDS = 4, FEW = 40 };

typedef struct problem {
    int64_t n; /* latents, of which some have no candidate */
    double square;
    uint64_t keys[MOST];
    int64_t latents[MOST]; /* of the keys */
    int64_t n_key;
    double norm[MOST];
} problem;

typedef enum flavour { SPREAD, WIDE, TIES, POSITIVE, TIED_POSITIVE, FLAVOURS } flavour;

static double unit(int64_t seed, int64_t i)
{
    return orth_random_uniform((uint64_t)seed, ORTH_RANDOM_TEST, 3, (uint64_t)i);
}

/* `part`: t^2 in the sum of all s. */
static void make(flavour kind, int64_t seed, int64_t n, double part, problem *p)
{
    double sum = 0.0;
    p->n = n;
    p->n_key = 0;
    for (int64_t i = 0; i < n; i++) {
        double x = unit(seed, i), value = 0.01 + x;
        if (kind == WIDE)
            value = exp2(80.0 * x - 40.0);
        if (kind == TIES || kind == TIED_POSITIVE)
            value = 1.0 + floor(4.0 * x);
        p->norm[i] = kind == TIES || kind == TIED_POSITIVE ? 1.0 : 0.9 + 0.2 * unit(seed + 1, i);
        if (kind < POSITIVE && unit(seed + 2, i) < 0.4)
            continue;
        p->latents[p->n_key] = i;
        p->keys[p->n_key++] = orth_key((float)value, (uint32_t)i);
        double s = (double)(float)value * p->norm[i];
        sum += s * s;
    }
    p->square = part * sum;
}

static int strongest_first(const void *a, const void *b)
{
    const orth_afa_entry *x = a, *y = b;
    if (x->strength != y->strength)
        return x->strength > y->strength ? -1 : 1;
    return x->latent < y->latent ? -1 : x->latent > y->latent;
}

/* RECIPES: topafa, over all n sums. Entries that are not positive leave the sum as it is. */
static int64_t kept_of(const orth_afa_entry *sorted, int64_t n_key, int64_t n, double square)
{
    uint64_t sum = 0;
    int64_t kept = 1;
    double least = INFINITY;
    for (int64_t j = 0; j < n; j++) {
        if (j < n_key)
            sum += orth_afa_quantum(sorted[j].strength, square);
        double c = j == n - 1 ? 1e8 * 0x1p38 / square : (double)sum;
        double distance = fabs(sqrt(c) - 0x1p19);
        if (distance < least) {
            least = distance;
            kept = j + 1;
        }
    }
    return kept < n_key ? kept : n_key;
}

static orth_afa_token shard_of(const problem *p, int shard, int n_shard)
{
    int64_t first = p->n * shard / n_shard, end = p->n * (shard + 1) / n_shard, begin = 0, stop = 0;
    while (begin < p->n_key && p->latents[begin] < first)
        begin++;
    for (stop = begin; stop < p->n_key && p->latents[stop] < end;)
        stop++;
    return (orth_afa_token){.keys = p->keys + begin,
                            .n = stop - begin,
                            .norm = p->norm + first,
                            .first = (uint32_t)first,
                            .norm_least = 0.9,
                            .norm_most = 1.1,
                            .target_square = p->square};
}

static void add_tally(const orth_afa_tally *from, orth_afa_tally *to)
{
    to->above.sum += from->above.sum;
    to->above.count += from->above.count;
    for (int i = 0; i < ORTH_AFA_BINS; i++) {
        to->bins[i].sum += from->bins[i].sum;
        to->bins[i].count += from->bins[i].count;
    }
}

/* The search and the judge, as a token group does it; `rounds` tells how many it took. */
static topafa_verdict search(const problem *p, int n_shard, const topafa_guess *guess,
                             topafa_crossing *where, int *rounds)
{
    const orth_afa_kernels *kernels = orth_kernels_get()->afa;
    orth_afa_entry entries[MOST];
    int64_t count = 0;
    *where = topafa_start((uint64_t)p->n_key);
    for (*rounds = 0; topafa_goes_on(where, FEW); ++*rounds) {
        orth_afa_window window = topafa_window(where, p->square, *rounds ? NULL : guess);
        orth_afa_tally tally, all = {0};
        ck_assert(window.low >= where->low && window.low < window.high);
        ck_assert(window.high <= where->high && window.top == where->high);
        ck_assert((window.high - 1 - window.low) >> window.shift < ORTH_AFA_BINS);
        for (int s = 0; s < n_shard; s++) {
            orth_afa_token token = shard_of(p, s, n_shard);
            kernels->tally(&token, &window, &tally);
            add_tally(&tally, &all);
        }
        topafa_narrow(where, &window, &all, p->n);
        ck_assert_int_lt(*rounds, 20);
    }
    for (int s = 0; s < n_shard && !where->settled; s++) {
        orth_afa_token token = shard_of(p, s, n_shard);
        count += kernels->collect(&token, where->low, where->high, entries + count);
    }
    if (!where->settled)
        ck_assert_uint_eq((uint64_t)count, where->inside);
    return topafa_judge(where, entries, count, p->n, p->square);
}

static void check_cut(const problem *p, int64_t kept, const orth_afa_entry *sorted,
                      const topafa_verdict *verdict, const char *what)
{
    ck_assert_msg((int64_t)verdict->selected == kept, "%s: %d selected, not %d", what,
                  (int)verdict->selected, (int)kept);
    for (int64_t j = 0; j < p->n_key; j++) {
        bool in = sorted[j].strength > verdict->cut.strength ||
                  (sorted[j].strength == verdict->cut.strength &&
                   sorted[j].latent <= verdict->cut.latent);
        ck_assert_msg(in == (j < kept), "%s: entry %d of %d", what, (int)j, (int)kept);
    }
}

static void check_problem(const problem *p, const char *what)
{
    const int64_t octave = 1ll << 52;
    const topafa_guess guesses[] = {
        {0, 0},                        /* none */
        {-3 * octave, -2 * octave},    /* often above the cut */
        {-200 * octave, -90 * octave}, /* below every entry */
        {100 * octave, 200 * octave},  /* above */
        {-12 * octave, -12 * octave + 1},
    };
    orth_afa_entry sorted[MOST];
    orth_afa_token all = shard_of(p, 0, 1);
    for (int64_t i = 0; i < p->n_key; i++)
        sorted[i] = (orth_afa_entry){orth_afa_strength(&all, p->keys[i]), (uint64_t)p->latents[i]};
    qsort(sorted, (size_t)p->n_key, sizeof *sorted, strongest_first);
    int64_t kept = kept_of(sorted, p->n_key, p->n, p->square);
    for (int n_shard = 1; n_shard <= MOST_SHARDS; n_shard++)
        for (int g = 0; g < 5; g++) {
            topafa_crossing where;
            int rounds;
            char name[120];
            topafa_verdict verdict = search(p, n_shard, guesses + g, &where, &rounds);
            snprintf(name, sizeof name, "%s, %d shards, guess %d", what, n_shard, g);
            check_cut(p, kept, sorted, &verdict, name);
            if (g > 0 || kept == p->n_key || p->square == 0.0)
                continue;
            /* A guess from this very token leads there in one round when the crossing, which is one
             * entry or the other, is near, unless many tie. */
            uint64_t gap = sorted[kept - 1].strength - sorted[kept].strength;
            topafa_guess learned = topafa_expect(&verdict.cut, &p->square, 1);
            verdict = search(p, n_shard, &learned, &where, &rounds);
            check_cut(p, kept, sorted, &verdict, name);
            ck_assert_msg(rounds == 1 || gap >> 48 || where.high - where.low == 1, "%s: %d rounds",
                          name, rounds);
        }
}

START_TEST(any_guess_leads_to_the_cut)
{
    static const int64_t sizes[] = {1, 2, 7, 65, 500, MOST};
    static const double parts[] = {0.0, 1e-9, 0.01, 0.3, 0.9, 0.999999, 1.0, 1.01, 5.0, 1e9};
    problem *p = malloc(sizeof *p);
    ck_assert_ptr_nonnull(p);
    for (int kind = 0; kind < FLAVOURS; kind++)
        for (int s = 0; s < 6; s++)
            for (int t = 0; t < 10; t++) {
                char what[80];
                make((flavour)kind, 10 * s + t, sizes[s], parts[t], p);
                snprintf(what, sizeof what, "flavour %d, n %d, t^2 %g of the sum", kind,
                         (int)sizes[s], parts[t]);
                check_problem(p, what);
            }
    free(p);
}
END_TEST

/* Six tokens, the middle of whose cuts is an octave below t^2. */
START_TEST(expectations_by_hand)
{
    const uint64_t octave = 1ull << 52, one = orth_afa_bits(1.0);
    const orth_afa_cut cuts[] = {{one - octave, 3}, {one - octave, UINT64_MAX},
                                 {one, 0},          {one + octave, 9},
                                 {77, 1},           {1, UINT64_MAX}};
    const double squares[] = {1.0, 2.0, 1.0, 4.0, 0.0, 1.0};
    topafa_guess guess = topafa_expect(cuts, squares, 6);
    /* Offsets -1, -2, 0, -1: mean -1, mean deviation 1/2. */
    int64_t reach = 3 * (int64_t)octave / 2 + (int64_t)octave / 16;
    ck_assert_int_eq(guess.low, -(int64_t)octave - reach);
    ck_assert_int_eq(guess.high, -(int64_t)octave + reach);
    guess = topafa_expect(cuts + 4, squares + 4, 2);
    ck_assert(guess.low == guess.high);
}
END_TEST

static Suite *make_suite(void)
{
    Suite *suite = suite_create("topafa");
    TCase *cases = tcase_create("topafa");
    tcase_set_timeout(cases, 0);
    tcase_add_test(cases, expectations_by_hand);
    tcase_add_test(cases, any_guess_leads_to_the_cut);
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    return orth_check_main(make_suite);
}
