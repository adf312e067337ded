/* Certified screening: its bounds hold for whatever the rows are, the canonical products of single
 * latents have the bits of the panel kernel's, and cuts drop nothing that may be selected. */
#include "check_mpi.h"
#include "values.h"

#include <orthant/kern/screen.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { D_MAX = 400, ROWS = 40, LATENTS = 70, WIDEST = 1 << 16 };

typedef struct operands {
    float x[WIDEST]; ///< (ROWS, d), or one row
    float w[WIDEST]; ///< (LATENTS, d), or one row
    float bias[LATENTS];
} operands;

static float one_chain(const float *x, const float *w, int64_t d, float bias)
{
    float sum = 0.0f;
    for (int64_t j = 0; j < d; j++)
        sum = fmaf(x[j], w[j], sum);
    return sum + bias;
}

/* Rows that stress a bound: the kind decides what they hold. */
enum {
    PLAIN,
    OUTLIER,    /* one coordinate a thousand times the others */
    MIDPOINT,   /* every value halfway between two bf16 */
    TINY,       /* subnormal products, squares that underflow */
    SUBNORMAL,  /* subnormal values */
    HUGE_ROWS,  /* squares near the largest float */
    CANCELLING, /* equal magnitudes, alternating signs: sums far below their terms */
    ZERO,
    KINDS
};

static void shape(int kind, int64_t n, float *values)
{
    for (int64_t i = 0; i < n; i++) {
        float v = values[i];
        switch (kind) {
        case OUTLIER:
            values[i] = i % 97 == 5 ? 1000.0f * v : v;
            break;
        case MIDPOINT:
            values[i] = copysignf(1.0f + 0x1p-8f + (float)(i % 50) * 0x1p-6f, v);
            break;
        case TINY:
            values[i] = v * 1e-22f;
            break;
        case SUBNORMAL:
            values[i] = v * 1e-39f;
            break;
        case HUGE_ROWS:
            values[i] = v * 1e18f;
            break;
        case CANCELLING:
            values[i] = i % 2 ? 1.00390625f : -1.0f + 0x1p-9f * v;
            break;
        case ZERO:
            values[i] = 0.0f;
            break;
        default:
            break;
        }
    }
}

static operands *make_operands(int64_t seed, int x_kind, int w_kind)
{
    operands *o = calloc(1, sizeof *o);
    fill_random(seed, ROWS * D_MAX, o->x);
    fill_random(seed + 1, LATENTS * D_MAX, o->w);
    fill_random(seed + 2, LATENTS, o->bias);
    shape(x_kind, ROWS * D_MAX, o->x);
    shape(w_kind, LATENTS * D_MAX, o->w);
    return o;
}

enum { PANEL = 32 };

/* A tile of one token panel and one latent panel. */
typedef struct tile {
    float size[2 * PANEL], rest[2 * PANEL], unit[2 * PANEL];
    float alpha[PANEL], beta[PANEL], cut[PANEL], base[PANEL];
    float out[ORTH_PANEL_TOKENS_MAX * PANEL];
    uint32_t mask[PANEL];
    float upper[2 * PANEL], lower[2 * PANEL];
    uint32_t position[2 * PANEL];
} tile;

/* How many bounds of token r do not hold; adds up their width over |x| |w|. */
static int64_t broken_of_token(const orth_kernels *set, const operands *o, const tile *t, int64_t d,
                               int64_t r, int64_t n_latent, const orth_screen_latents *latents,
                               double *total)
{
    float upper[2 * PANEL], lower[2 * PANEL];
    uint32_t position[2 * PANEL], all = n_latent < 32 ? (1u << n_latent) - 1 : UINT32_MAX;
    orth_screened kept = {upper, lower, position, 0};
    int64_t broken = (t->mask[r] & all) != all;
    set->screen_keep(t->out + r * PANEL, all, 100, t->alpha[r], t->beta[r], latents, &kept);
    broken += kept.count != n_latent;
    for (int64_t i = 0; i < kept.count; i++) {
        float value = one_chain(o->x + r * d, o->w + i * d, d, o->bias[i]);
        broken +=
            kept.position[i] != 100 + (uint32_t)i || value > kept.upper[i] || value < kept.lower[i];
        *total +=
            (double)(kept.upper[i] - kept.lower[i]) / (double)(t->size[r] * latents->p[i] + 1e-30f);
    }
    return broken;
}

/* The bounds of `n_token` tokens and `n_latent` latents; returns how many do not hold. Sets the
 * mean distance of the bounds over |x| |w|. */
static int64_t broken_bounds(const orth_kernels *set, const orth_screen *screen, const operands *o,
                             int64_t d, int64_t n_token, int64_t n_latent, double *looseness)
{
    tile *t = calloc(1, sizeof *t);
    void *x = calloc((size_t)screen->panel_tokens, (size_t)screen->row_bytes(d));
    void *w = calloc((size_t)screen->panel_latents, (size_t)screen->row_bytes(d));
    orth_screen_rows x_rows = {t->size, t->rest, t->unit};
    orth_screen_rows w_rows = {t->size + PANEL, t->rest + PANEL, t->unit + PANEL};
    orth_screen_tokens tokens = {t->alpha, t->beta, t->cut, t->unit};
    orth_screen_latents latents = {w_rows.size, w_rows.rest, o->bias, t->base, w_rows.unit};
    int64_t broken = 0;
    double total = 0.0;
    screen->pack_tokens(o->x, NULL, n_token, d, x, &x_rows);
    screen->pack_latents(o->w, NULL, n_latent, d, w, &w_rows);
    orth_screen_base(n_latent, o->bias, t->base);
    for (int64_t r = 0; r < screen->panel_tokens; r++) {
        orth_screen_token_bound(d, t->size[r], t->rest[r], t->alpha + r, t->beta + r);
        t->cut[r] = -INFINITY;
    }
    screen->product(d, x, w, &tokens, &latents, t->out, PANEL, t->mask);
    for (int64_t r = 0; r < n_token; r++)
        broken += broken_of_token(set, o, t, d, r, n_latent, &latents, &total);
    *looseness = total / (double)(n_token * n_latent);
    free(w);
    free(x);
    free(t);
    return broken;
}

static void check_screen(const orth_kernels *set, const orth_screen *screen, double loose)
{
    static const int64_t widths[] = {1, 2, 31, 33, 64, 127, 384};
    for (int x_kind = 0; x_kind < KINDS; x_kind++)
        for (int w_kind = 0; w_kind < KINDS; w_kind++) {
            operands *o = make_operands(10 * x_kind + w_kind, x_kind, w_kind);
            for (size_t c = 0; c < sizeof widths / sizeof *widths; c++) {
                double looseness;
                int64_t tokens = c % 2 ? screen->panel_tokens : screen->panel_tokens - 1;
                int64_t latents = c % 3 ? screen->panel_latents : screen->panel_latents - 5;
                int64_t broken =
                    broken_bounds(set, screen, o, widths[c], tokens, latents, &looseness);
                ck_assert_msg(broken == 0, "%s %s: kinds %d %d, d %d: %d bounds broken", set->name,
                              screen->name, x_kind, w_kind, (int)widths[c], (int)broken);
                if (x_kind == PLAIN && w_kind == PLAIN && widths[c] == 384)
                    ck_assert_msg(looseness < loose, "%s %s: margins are %g of |x||w|", set->name,
                                  screen->name, looseness);
            }
            free(o);
        }
}

/* Operands of a second stage, and the bounds of one token. */
typedef struct fine_rows {
    float size[LATENTS + PANEL], rest[LATENTS + PANEL], base[LATENTS];
    char *x, *w;
    float upper[LATENTS + 16], lower[LATENTS + 16];
    uint32_t position[LATENTS + 16];
} fine_rows;

/* Keep n latents that lie `step` apart of token r, of which only what reaches `cut` may stay, in
 * order; returns how many bounds do not hold or were kept or dropped wrongly. */
static int64_t broken_fine(const orth_screen_fine *fine, const operands *o, fine_rows *f, int64_t d,
                           int64_t r, int64_t n, uint32_t step, float cut)
{
    uint32_t index[LATENTS];
    float alpha, beta;
    orth_screen_latents latents = {f->size + PANEL, f->rest + PANEL, o->bias, f->base, NULL};
    orth_screened kept = {f->upper, f->lower, f->position, 0};
    int64_t at = 0, broken = 0;
    for (int64_t e = 0; e < n; e++)
        index[e] = (uint32_t)e * step;
    orth_screen_token_bound(d, f->size[r], f->rest[r], &alpha, &beta);
    fine->keep(d, f->x + r * fine->row_bytes(d), f->w, n, index, 100, alpha, beta, cut, &latents,
               &kept);
    for (int64_t e = 0; e < n; e++) {
        float value = one_chain(o->x + r * d, o->w + index[e] * d, d, o->bias[index[e]]);
        if (at < kept.count && f->position[at] == 100 + index[e]) {
            broken += value > f->upper[at] || value < f->lower[at] || f->upper[at] < cut;
            at++;
        } else {
            broken += !(value < cut);
        }
    }
    return broken + (at != kept.count) + (cut == -INFINITY && kept.count != n);
}

static void check_fine(const orth_kernels *set, const operands *o, int64_t d, int x_kind,
                       int w_kind)
{
    static const int64_t counts[] = {0, 1, 2, 3, 4, 7, 16, 17, 23};
    const orth_screen_fine *fine = set->screen_int8->fine;
    fine_rows *f = calloc(1, sizeof *f);
    f->x = aligned_alloc(64, (size_t)(3 * fine->row_bytes(d)));
    f->w = aligned_alloc(64, (size_t)(LATENTS * fine->row_bytes(d)));
    fine->pack(o->x, NULL, 3, d, f->x, &(orth_screen_rows){f->size, f->rest, NULL});
    fine->pack(o->w, NULL, LATENTS, d, f->w,
               &(orth_screen_rows){f->size + PANEL, f->rest + PANEL, NULL});
    orth_screen_base(LATENTS, o->bias, f->base);
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
        for (int64_t r = 0; r < 3; r++) {
            int64_t n = counts[c];
            int64_t broken = broken_fine(fine, o, f, d, r, n, 3, -INFINITY);
            broken += broken_fine(fine, o, f, d, r, 2 * n, 1, 0.01f);
            ck_assert_msg(broken == 0, "%s: kinds %d %d, d %d, n %d: %d broken", set->name, x_kind,
                          w_kind, (int)d, (int)n, (int)broken);
        }
    free(f->x);
    free(f->w);
    free(f);
}

START_TEST(second_stages_hold_for_any_rows)
{
    static const int64_t widths[] = {1, 2, 31, 33, 64, 127, 384};
    const orth_kernels *sets[KERNEL_SETS];
    for (int x_kind = 0; x_kind < KINDS; x_kind++)
        for (int w_kind = 0; w_kind < KINDS; w_kind++) {
            operands *o = make_operands(10 * x_kind + w_kind, x_kind, w_kind);
            for (int s = 0; s < kernel_sets(sets); s++)
                for (size_t c = 0; c < sizeof widths / sizeof *widths; c++)
                    check_fine(sets[s], o, widths[c], x_kind, w_kind);
            free(o);
        }
}
END_TEST

/* Bounds from rows that are not finite are of no use, but they drop nothing. */
START_TEST(rows_that_are_not_finite_are_kept)
{
    static const float values[] = {NAN, INFINITY, -INFINITY, 3e38f};
    const orth_kernels *sets[KERNEL_SETS];
    for (int s = 0; s < kernel_sets(sets); s++) {
        const orth_screen *screens[] = {sets[s]->screen_bf16, sets[s]->screen_int8};
        for (int v = 0; v < 8; v++) {
            operands *o = make_operands(9, PLAIN, PLAIN);
            double looseness;
            for (int64_t j = 0; j < (v < 4 ? 1 : 384); j++)
                (v % 2 ? o->x : o->w)[384 + j] = values[v / 2];
            for (int i = 0; i < 2; i++)
                ck_assert_int_eq(broken_bounds(sets[s], screens[i], o, 384, 3, 5, &looseness), 0);
            free(o);
        }
    }
}
END_TEST

START_TEST(bounds_hold_for_any_rows)
{
    const orth_kernels *sets[KERNEL_SETS];
    for (int s = 0; s < kernel_sets(sets); s++)
        check_screen(sets[s], sets[s]->screen_bf16, 0.01);
    for (int s = 0; s < kernel_sets(sets); s++)
        check_screen(sets[s], sets[s]->screen_int8, 0.05);
}
END_TEST

START_TEST(the_widest_rows_fit)
{
    const orth_kernels *sets[KERNEL_SETS];
    operands *o = make_operands(11, PLAIN, PLAIN);
    fill_random(12, WIDEST, o->x);
    fill_random(13, WIDEST, o->w);
    for (int s = 0; s < kernel_sets(sets); s++) {
        const orth_screen *screens[] = {sets[s]->screen_bf16, sets[s]->screen_int8};
        for (int i = 0; i < 2; i++) {
            double looseness;
            ck_assert_int_le(screens[i]->widest, WIDEST);
            ck_assert_int_eq(
                broken_bounds(sets[s], screens[i], o, screens[i]->widest, 1, 1, &looseness), 0);
        }
    }
    free(o);
}
END_TEST

START_TEST(listed_latents_have_the_bits_of_the_chain)
{
    static const int64_t widths[] = {1, 15, 16, 17, 100, 384};
    const orth_kernels *sets[KERNEL_SETS];
    operands *o = make_operands(5, PLAIN, PLAIN);
    for (int s = 0; s < kernel_sets(sets); s++)
        for (size_t c = 0; c < sizeof widths / sizeof *widths; c++)
            for (int64_t n = 0; n < LATENTS; n += n < 34 ? 1 : 9) {
                uint32_t index[LATENTS];
                float out[LATENTS + 1];
                int64_t d = widths[c];
                for (int64_t e = 0; e < n; e++)
                    index[e] = (uint32_t)(e * 37 % LATENTS);
                out[n] = 77.0f;
                sets[s]->chain_rows(n, index, o->w, o->bias, o->x + 3, d, out);
                for (int64_t e = 0; e < n; e++) {
                    float wanted = one_chain(o->x + 3, o->w + index[e] * d, d, o->bias[index[e]]);
                    ck_assert(same_bits(out + e, &wanted, 1));
                }
                ck_assert(out[n] == 77.0f);
            }
    free(o);
}
END_TEST

static int descending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x > y ? -1 : x < y;
}

/* Raise the cut of n random bounds; the k-th largest lower bound is the most that may be asked. */
static void check_raise(const orth_kernels *set, int64_t seed, int64_t n, int64_t k)
{
    float lower[600], upper[600], sorted[600], kept_upper[600];
    uint32_t position[600];
    fill_random(seed, n, lower);
    memcpy(sorted, lower, sizeof sorted);
    for (int64_t i = 0; i < n; i++) {
        upper[i] = lower[i] + 0.01f * (float)(i % 7);
        position[i] = (uint32_t)(3 * i);
    }
    if (n > 4)
        upper[4] = NAN;
    memcpy(kept_upper, upper, sizeof upper);
    qsort(sorted, (size_t)n, sizeof *sorted, descending);
    orth_screened s = {kept_upper, lower, position, n};
    float cut = set->screen_raise(k, 0x1p-149f, &s);
    float best = n >= k && sorted[k - 1] > 0.0f ? sorted[k - 1] : 0x1p-149f;
    ck_assert(cut <= best && cut >= best * (1.0f - 0x1p-14f));
    int64_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        if (upper[i] < cut)
            continue;
        ck_assert(at < s.count && position[at] == (uint32_t)(3 * i));
        ck_assert(same_bits(kept_upper + at, upper + i, 1));
        at++;
    }
    ck_assert_int_eq(at, s.count);
}

START_TEST(cuts_keep_whatever_may_be_selected)
{
    const orth_kernels *sets[KERNEL_SETS];
    for (int s = 0; s < kernel_sets(sets); s++)
        for (int64_t n = 0; n < 600; n += n < 40 ? 1 : 61)
            for (int64_t k = 1; k <= 300; k *= 3)
                check_raise(sets[s], 100 + n, n, k);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("screen");
    TCase *cases = tcase_create("screen");
    tcase_add_test(cases, bounds_hold_for_any_rows);
    tcase_add_test(cases, second_stages_hold_for_any_rows);
    tcase_add_test(cases, rows_that_are_not_finite_are_kept);
    tcase_add_test(cases, the_widest_rows_fit);
    tcase_add_test(cases, listed_latents_have_the_bits_of_the_chain);
    tcase_add_test(cases, cuts_keep_whatever_may_be_selected);
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
