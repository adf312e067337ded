#include "topafa_cut.h"

/* Bits of one octave of strengths; how many octaves below and above t^2 hold nearly every cut. */
static const uint64_t OCTAVE = 1ull << 52;
enum { OCTAVES_BELOW = 24, OCTAVES_ABOVE = 2, SORTED_ENTRIES = 24 };

static const double LAST_SUM = 1e8; /* stands for the sum over all latents */

topafa_crossing topafa_start(uint64_t positive)
{
    return (topafa_crossing){.low = 1,
                             .high = ORTH_AFA_END,
                             .inside = TOPAFA_UNKNOWN,
                             .positive = positive,
                             .settled = positive == 0};
}

bool topafa_goes_on(const topafa_crossing *c, uint64_t few)
{
    if (c->settled)
        return false;
    return c->inside == TOPAFA_UNKNOWN || (c->inside > few && c->high - c->low > 1);
}

static int shift_of(uint64_t width)
{
    int bits = 64 - __builtin_clzll(width);
    return bits > 6 ? bits - 6 : 0;
}

static orth_afa_window window_between(const topafa_crossing *c, uint64_t low, uint64_t high)
{
    if (low < c->low)
        low = c->low;
    if (high > c->high)
        high = c->high;
    if (low >= high)
        return (orth_afa_window){0};
    return (orth_afa_window){low, high, c->high, shift_of(high - low)};
}

orth_afa_window topafa_window(const topafa_crossing *c, double target_square,
                              const topafa_guess *guess)
{
    uint64_t centre = orth_afa_bits(target_square), below = OCTAVES_BELOW * OCTAVE;
    orth_afa_window window = {0};
    if (guess && guess->low < guess->high && target_square > 0.0)
        window = window_between(c, centre + (uint64_t)guess->low, centre + (uint64_t)guess->high);
    if (window.high == 0 && centre > below)
        window = window_between(c, centre - below, centre + OCTAVES_ABOVE * OCTAVE);
    if (window.high == 0)
        window = window_between(c, c->low, c->high);
    return window;
}

/* Go on in the bin whose entries come after `before`. */
static void enter_bin(topafa_crossing *c, const orth_afa_window *window,
                      const orth_afa_tally *tally, int bin, orth_afa_bin before)
{
    uint64_t low = window->low + ((uint64_t)bin << window->shift);
    uint64_t high = low + (1ull << window->shift);
    c->low = low;
    c->high = high < window->high ? high : window->high;
    c->before = before.sum;
    c->n_before = before.count;
    c->inside = tally->bins[bin].count;
}

static void enter_above(topafa_crossing *c, const orth_afa_window *window,
                        const orth_afa_tally *tally)
{
    c->low = window->high;
    c->inside = tally->above.count;
}

/* All n_latent entries are positive and counted, and their sum does not reach t^2: the last of them
 * needs the judge, because the sum over all latents counts as LAST_SUM. It is in this tally. */
static void enter_last(topafa_crossing *c, const orth_afa_window *window,
                       const orth_afa_tally *tally, orth_afa_bin all)
{
    int bin = 0;
    while (bin < ORTH_AFA_BINS && tally->bins[bin].count == 0)
        bin++;
    if (bin == ORTH_AFA_BINS) {
        enter_above(c, window, tally);
        return;
    }
    all.sum -= tally->bins[bin].sum;
    all.count -= tally->bins[bin].count;
    enter_bin(c, window, tally, bin, all);
}

void topafa_narrow(topafa_crossing *c, const orth_afa_window *window, const orth_afa_tally *tally,
                   int64_t n_latent)
{
    orth_afa_bin so_far = {c->before + tally->above.sum, c->n_before + tally->above.count};
    if (so_far.sum >= ORTH_AFA_WHOLE) {
        enter_above(c, window, tally);
        return;
    }
    for (int bin = ORTH_AFA_BINS - 1; bin >= 0; bin--) {
        if (so_far.sum + tally->bins[bin].sum >= ORTH_AFA_WHOLE) {
            enter_bin(c, window, tally, bin, so_far);
            return;
        }
        so_far.sum += tally->bins[bin].sum;
        so_far.count += tally->bins[bin].count;
    }
    bool all_counted = so_far.count == c->positive;
    if (all_counted && c->positive == (uint64_t)n_latent) {
        enter_last(c, window, tally, so_far);
    } else if (all_counted || window->low <= c->low) {
        c->settled = true;
    } else {
        c->high = window->low;
        c->before = so_far.sum;
        c->n_before = so_far.count;
        c->inside = TOPAFA_UNKNOWN;
    }
}

static void tally_entries(const topafa_crossing *c, const orth_afa_entry *entries, int64_t count,
                          double square, orth_afa_window *window, orth_afa_tally *tally)
{
    *window = window_between(c, c->low, c->high);
    *tally = (orth_afa_tally){0};
    for (int64_t i = 0; i < count; i++) {
        orth_afa_bin *bin = tally->bins + ((entries[i].strength - c->low) >> window->shift);
        bin->sum += orth_afa_quantum(entries[i].strength, square);
        bin->count++;
    }
}

static int64_t keep_between(uint64_t low, uint64_t high, orth_afa_entry *entries, int64_t count)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < count; i++) {
        orth_afa_entry entry = entries[i];
        entries[kept] = entry;
        kept += entry.strength >= low && entry.strength < high;
    }
    return kept;
}

/* Strongest first; equals stay in ascending order of latent. */
static void sort_entries(orth_afa_entry *entries, int64_t count)
{
    for (int64_t i = 1; i < count; i++) {
        orth_afa_entry entry = entries[i];
        int64_t to = i;
        for (; to > 0 && entries[to - 1].strength < entry.strength; to--)
            entries[to] = entries[to - 1];
        entries[to] = entry;
    }
}

static double distance(double sum)
{
    return fabs(sqrt(sum) - 0x1p19);
}

/* A cut after the first `count` entries, the last of which is given. */
static topafa_verdict cut_at(const orth_afa_entry *entry, uint64_t count)
{
    return (topafa_verdict){{entry->strength, entry->latent}, count};
}

/* The first minimum of |sqrt(c_j) - t|, where only the entry that crosses, the one before it and
 * the last latent of all can be it. The entries are sorted. */
static topafa_verdict judge_sorted(const topafa_crossing *c, const orth_afa_entry *entries,
                                   int64_t count, int64_t n_latent, double square)
{
    const topafa_verdict everything = {{1, UINT64_MAX}, c->positive};
    const topafa_verdict above_range = {{c->high, UINT64_MAX}, c->n_before};
    bool holds_last =
        c->positive == (uint64_t)n_latent && c->n_before + (uint64_t)count == c->positive;
    double last = distance(LAST_SUM * 0x1p38 / square);
    uint64_t before = c->before, sum = before;
    int64_t j = 0;
    for (; j < count; j++) {
        sum = before + orth_afa_quantum(entries[j].strength, square);
        if (sum >= ORTH_AFA_WHOLE || j == count - 1)
            break;
        before = sum;
    }
    double here = holds_last && j == count - 1 ? last : distance((double)sum);
    double best = here;
    uint64_t n_here = c->n_before + (uint64_t)j + 1;
    topafa_verdict result = cut_at(entries + j, n_here);
    if (before > 0 && distance((double)before) <= here) {
        best = distance((double)before);
        result = j > 0 ? cut_at(entries + j - 1, n_here - 1) : above_range;
    }
    return last < best ? everything : result;
}

topafa_verdict topafa_judge(const topafa_crossing *crossing, orth_afa_entry *entries, int64_t count,
                            int64_t n_latent, double target_square)
{
    topafa_crossing c = *crossing;
    if (c.settled)
        return (topafa_verdict){{1, UINT64_MAX}, c.positive};
    while (count > SORTED_ENTRIES && c.high - c.low > 1) {
        orth_afa_window window;
        orth_afa_tally tally;
        tally_entries(&c, entries, count, target_square, &window, &tally);
        topafa_narrow(&c, &window, &tally, n_latent);
        count = keep_between(c.low, c.high, entries, count);
    }
    if (c.high - c.low > 1)
        sort_entries(entries, count);
    return judge_sorted(&c, entries, count, n_latent, target_square);
}

/* The mean and three mean deviations around it, a sixteenth of an octave at least; in integers, so
 * that all ranks expect the same. */
topafa_guess topafa_expect(const orth_afa_cut *cuts, const double *squares, int64_t n)
{
    enum { UNIT = 20 };
    int64_t sum = 0, deviation = 0, count = 0;
    for (int pass = 0; pass < 2; pass++) {
        int64_t mean = count ? sum / count : 0;
        for (int64_t i = 0; i < n; i++) {
            if (cuts[i].strength <= 1 || squares[i] == 0.0)
                continue;
            int64_t offset = (int64_t)(cuts[i].strength - orth_afa_bits(squares[i])) >> UNIT;
            if (pass == 0) {
                sum += offset;
                count++;
            } else {
                deviation += offset > mean ? offset - mean : mean - offset;
            }
        }
    }
    if (count == 0)
        return (topafa_guess){0};
    int64_t reach = 3 * (deviation / count) + (int64_t)(OCTAVE >> (UNIT + 4));
    int64_t mean = sum / count;
    return (topafa_guess){(mean - reach) * (1 << UNIT), (mean + reach) * (1 << UNIT)};
}
