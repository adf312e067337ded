#include <orthant/sae/encode.h>

#include "screened.h"

#include <orthant/base/memory.h>
#include <orthant/kern/keys.h>
#include <orthant/kern/pack.h>
#include <orthant/kern/table.h>

#include <omp.h>
#include <string.h>

enum {
    /* Latents are packed so many bytes at a time, which the threads then share in their caches. */
    PACKED_BYTES = 800 << 10,
    PACKED_MOST = 4 * ORTH_TILE_LATENTS,
    /* Screening pays where that many times more latents are encoded than selected. */
    SCREENED_SHARE = 16,
    SCREENED_WIDTH = 64,
    /* And int8 where its bounds, wider with the width, leave few to the second stage. */
    INT8_SHARE = 64,
    INT8_SHARE_OF_WIDTH = 8,
    INT8_LEAST = 128,
    INT8_MOST = 2048
};

/* What is known of each packed latent. */
enum { ROW_BIAS, ROW_P, ROW_Q, ROW_BASE, ROW_UNIT, ROW_FINE_Q, ROW_KINDS };

/* One way over a block: which latents, which tokens, in which arithmetic. */
typedef struct pass {
    const orth_sae *sae;
    const orth_batch *batch;
    orth_encoder *encoder;
    orth_selection *selection;
    const uint32_t *index; ///< the own latents that are encoded; NULL: 0, 1, ...
    int64_t n_latent;
    const uint32_t *slots; ///< the tokens of the block; NULL: 0, 1, ...
    int64_t n_slot;
    const orth_screen *screen; ///< NULL: fp32
    int panel_tokens, panel_latents;
    int64_t row_bytes;  ///< of a row in a panel
    int64_t fine_bytes; ///< of a row of the second stage; 0: there is none
    bool held;          ///< the latents' panels are there already
    int64_t k;          ///< selected per token, for screening
} pass;

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

const orth_screen *orth_encode_screen(const orth_sae *sae, orth_selection_kind kind, int64_t k,
                                      int64_t n_latent)
{
    const orth_kernels *kernels = orth_kernels_get();
    const orth_screen *bf16 = kernels->screen_bf16, *int8 = kernels->screen_int8;
    int64_t d = sae->d_model;
    if (sae->encode == ORTH_ENCODE_FP32 || !orth_selection_uses_k(kind) ||
        k * SCREENED_SHARE > n_latent || d > bf16->widest)
        return NULL;
    if (sae->encode == ORTH_ENCODE_BF16)
        return bf16;
    if (sae->encode == ORTH_ENCODE_INT8)
        return d <= int8->widest ? int8 : bf16;
    int64_t share = larger(INT8_SHARE, d / INT8_SHARE_OF_WIDTH);
    if (int8->faster && d >= INT8_LEAST && d <= INT8_MOST && k * share <= n_latent)
        return int8;
    return bf16->faster && d >= SCREENED_WIDTH ? bf16 : NULL;
}

static int64_t fine_bytes(const orth_screen *screen, int64_t d)
{
    return screen && screen->fine ? screen->fine->row_bytes(d) : 0;
}

/* Latents that are packed at a time, when a row takes that many bytes. */
static int64_t packed_latents(int64_t row_bytes)
{
    int64_t tiles = PACKED_BYTES / (row_bytes * ORTH_TILE_LATENTS);
    int64_t latents = tiles < 1 ? ORTH_TILE_LATENTS : tiles * ORTH_TILE_LATENTS;
    return smaller(latents, PACKED_MOST);
}

orth_status orth_encoder_create(const orth_screen *screen, int64_t block, int64_t capacity,
                                int64_t d_model, orth_encoder *out)
{
    int64_t padded = block + ORTH_PANEL_TOKENS_MAX, fp32_row = d_model * (int64_t)sizeof(float);
    int64_t row = screen ? larger(screen->row_bytes(d_model), fp32_row) : fp32_row;
    int64_t fine_row = fine_bytes(screen, d_model);
    orth_encoder encoder = {.screen = screen, .block = block, .d_model = d_model};
    encoder.w_bytes = packed_latents(fp32_row) * fp32_row;
    if (screen) {
        int64_t screen_row = screen->row_bytes(d_model);
        encoder.w_bytes =
            larger(encoder.w_bytes, packed_latents(screen_row + fine_row) * screen_row);
    }
    orth_status status = ORTH_ALLOCATE(padded * row, "token panels", &encoder.x_panels);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(encoder.w_bytes, "latent panels", &encoder.w_panels);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(padded * fine_row, "token rows", &encoder.x_fine);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(PACKED_MOST * fine_row, "latent rows", &encoder.w_fine);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(ROW_KINDS * PACKED_MOST, "latent panels", &encoder.rows);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(omp_get_max_threads() * ORTH_PANEL_TOKENS_MAX *
                                   (int64_t)ORTH_TILE_LATENTS,
                               "tiles", &encoder.tile);
    if (status == ORTH_OK && screen)
        status = orth_screened_create(padded, capacity, &encoder.screened);
    if (status == ORTH_OK)
        *out = encoder;
    else
        orth_encoder_free(&encoder);
    return status;
}

void orth_encoder_free(orth_encoder *encoder)
{
    orth_free(encoder->x_panels);
    orth_free(encoder->w_panels);
    orth_free(encoder->held);
    orth_free(encoder->held_bias);
    orth_free(encoder->x_fine);
    orth_free(encoder->w_fine);
    orth_free(encoder->rows);
    orth_free(encoder->tile);
    orth_screened_free(&encoder->screened);
    memset(encoder, 0, sizeof *encoder);
}

/* The panels of the pass's arithmetic. */
static void set_widths(pass *p)
{
    const orth_kernels *kernels = orth_kernels_get();
    p->panel_tokens = p->screen ? p->screen->panel_tokens : kernels->panel_tokens;
    p->panel_latents = p->screen ? p->screen->panel_latents : kernels->panel_latents;
    p->row_bytes = p->screen ? p->screen->row_bytes(p->encoder->d_model)
                             : p->encoder->d_model * (int64_t)sizeof(float);
    p->fine_bytes = p->screen ? fine_bytes(p->screen, p->encoder->d_model) : 0;
    p->held = p->encoder->held && !p->screen && !p->index;
}

static int64_t slot_of(const pass *p, int64_t position)
{
    return p->slots ? (int64_t)p->slots[position] : position;
}

/* Of the packed latents, from latent `at` on. */
static float *latent_row(const orth_encoder *encoder, int kind, int64_t at)
{
    return encoder->rows + kind * PACKED_MOST + at;
}

/* Pack the tokens of one panel, and forget what was kept of them. */
static void open_panel(const pass *p, int64_t at)
{
    orth_candidates *c = &p->selection->candidates;
    orth_encoder *encoder = p->encoder;
    int64_t d = encoder->d_model, rows = smaller(p->panel_tokens, p->n_slot - at);
    const float *x = p->batch->x + c->first_token * d;
    char *panel = encoder->x_panels + at * p->row_bytes;
    for (int64_t r = 0; r < rows; r++) {
        int64_t slot = slot_of(p, at + r);
        c->count[slot] = 0;
        c->above[slot] = p->selection->floor;
    }
    if (!p->screen) {
        orth_pack(p->slots ? x : x + at * d, p->slots ? p->slots + at : NULL, rows, p->panel_tokens,
                  d, (float *)panel);
        return;
    }
    orth_screened_block *s = &encoder->screened;
    float size[ORTH_PANEL_TOKENS_MAX], rest[ORTH_PANEL_TOKENS_MAX];
    orth_screen_rows out = {size, rest, s->unit + at};
    p->screen->pack_tokens(x + at * d, NULL, rows, d, panel, &out);
    for (int64_t r = 0; r < p->panel_tokens; r++)
        orth_screened_open(s, at + r, d, size[r], rest[r], p->selection->floor, p->k,
                           r < rows && p->batch->valid[c->first_token + at + r]);
    if (!p->fine_bytes)
        return;
    p->screen->fine->pack(x + at * d, NULL, rows, d, encoder->x_fine + at * p->fine_bytes, &out);
    for (int64_t r = 0; r < rows; r++)
        orth_screen_token_bound(d, size[r], rest[r], s->fine_alpha + at + r, s->fine_beta + at + r);
}

static void pack_latents(const pass *p, int64_t first, int64_t count, int64_t at)
{
    orth_encoder *encoder = p->encoder;
    const orth_params *weights = &p->sae->weights;
    int64_t d = encoder->d_model, rows = smaller(p->panel_latents, count - at);
    const uint32_t *index = p->index ? p->index + first + at : NULL;
    const float *base = index ? weights->W_enc : weights->W_enc + (first + at) * d;
    char *panel = encoder->w_panels + at * p->row_bytes;
    for (int64_t r = 0; r < rows; r++)
        *latent_row(encoder, ROW_BIAS, at + r) =
            weights->b_enc[index ? (int64_t)index[r] : first + at + r];
    if (!p->screen) {
        orth_pack(base, index, rows, p->panel_latents, d, (float *)panel);
        return;
    }
    orth_screen_rows out = {latent_row(encoder, ROW_P, at), latent_row(encoder, ROW_Q, at),
                            latent_row(encoder, ROW_UNIT, at)};
    p->screen->pack_latents(base, index, rows, d, panel, &out);
    if (p->fine_bytes) {
        out.rest = latent_row(encoder, ROW_FINE_Q, at);
        p->screen->fine->pack(base, index, rows, d, encoder->w_fine + at * p->fine_bytes, &out);
    }
    orth_screen_base(rows, latent_row(encoder, ROW_BIAS, at), latent_row(encoder, ROW_BASE, at));
}

/* One tile row: keep what may be selected of a token's next `count` pre-activations. */
static void keep_row(orth_selection *selection, int64_t slot, const float *row, int64_t count,
                     int64_t first)
{
    orth_candidates *c = &selection->candidates;
    c->count[slot] += orth_kernels_get()->keep(row, count, c->above[slot], (uint32_t)first,
                                               c->keys + slot * c->capacity + c->count[slot]);
    if (selection->ops->prune && c->count[slot] + ORTH_TILE_LATENTS > c->capacity)
        selection->ops->prune(selection, slot, c->scratch + omp_get_thread_num() * c->capacity);
}

/* Every latent's panel in one array. */
orth_status orth_encoder_hold(const orth_sae *sae, orth_encoder *encoder)
{
    int64_t d = encoder->d_model, n = orth_range_size(sae->own);
    int width = orth_kernels_get()->panel_latents;
    int64_t padded = (n + width - 1) / width * width, row_bytes = d * (int64_t)sizeof(float);
    if (encoder->screen)
        return ORTH_OK;
    if (!encoder->held)
        ORTH_TRY(ORTH_ALLOCATE(padded * row_bytes, "latent panels", &encoder->held));
    if (!encoder->held_bias)
        ORTH_TRY(ORTH_ALLOCATE(padded, "latent panels", &encoder->held_bias));
    memcpy(encoder->held_bias, sae->weights.b_enc, (size_t)n * sizeof *encoder->held_bias);
#pragma omp parallel for schedule(static)
    for (int64_t at = 0; at < n; at += width)
        orth_pack(sae->weights.W_enc + at * d, NULL, smaller(width, n - at), width, d,
                  (float *)(encoder->held + at * row_bytes));
    return ORTH_OK;
}

/* The panel that begins with latent `at` of those packed from `first` on, and its b_enc. */
static const float *latent_panel(const pass *p, int64_t first, int64_t at, const float **bias)
{
    const orth_encoder *encoder = p->encoder;
    *bias = p->held ? encoder->held_bias + first + at : latent_row(encoder, ROW_BIAS, at);
    return (const float *)(p->held ? encoder->held + (first + at) * p->row_bytes
                                   : encoder->w_panels + at * p->row_bytes);
}

/* One panel of tokens with latents [at, at + count) of the packed ones, which start at `first` of
 * the list: the tile stays in the first-level cache and is reduced row by row. */
static void encode_tile(const pass *p, int64_t token, int64_t first, int64_t at, int64_t count)
{
    const orth_encoder *encoder = p->encoder;
    const orth_candidates *c = &p->selection->candidates;
    int64_t named = p->index ? 0 : p->selection->own.begin;
    const float *x = (const float *)(encoder->x_panels + token * p->row_bytes);
    float *tile =
        encoder->tile + (int64_t)omp_get_thread_num() * ORTH_PANEL_TOKENS_MAX * ORTH_TILE_LATENTS;
    for (int64_t i = 0; i < count; i += p->panel_latents) {
        const float *bias, *w = latent_panel(p, first, at + i, &bias);
        orth_kernels_get()->chain(encoder->d_model, x, w, bias, tile + i, ORTH_TILE_LATENTS);
    }
    for (int64_t r = 0; r < smaller(p->panel_tokens, p->n_slot - token); r++) {
        int64_t slot = slot_of(p, token + r);
        if (p->batch->valid[c->first_token + slot])
            keep_row(p->selection, slot, tile + r * ORTH_TILE_LATENTS, count, named + first + at);
    }
}

static orth_screen_latents packed(const orth_encoder *encoder, int q, int64_t at)
{
    return (orth_screen_latents){.p = latent_row(encoder, ROW_P, at),
                                 .q = latent_row(encoder, q, at),
                                 .bias = latent_row(encoder, ROW_BIAS, at),
                                 .base = latent_row(encoder, ROW_BASE, at),
                                 .unit = latent_row(encoder, ROW_UNIT, at)};
}

/* Packed latents that await the second stage, for each token of a panel. */
typedef struct waiting {
    uint32_t index[ORTH_PANEL_TOKENS_MAX][2 * ORTH_PANEL_LATENTS_MAX];
    int64_t count[ORTH_PANEL_TOKENS_MAX];
} waiting;

static void refine(const pass *p, int64_t token, int64_t first, int64_t seen, int64_t r, waiting *w)
{
    orth_encoder *encoder = p->encoder;
    orth_screen_latents latents = packed(encoder, ROW_FINE_Q, 0);
    orth_screened_refine(&encoder->screened, token + r, p->screen->fine, encoder->d_model,
                         encoder->x_fine + (token + r) * p->fine_bytes, encoder->w_fine,
                         w->count[r], w->index[r], (uint32_t)first, p->k, seen, &latents);
    w->count[r] = 0;
}

/* What a panel of latents has left of token r of a panel. */
static void take(const pass *p, int64_t token, int64_t first, int64_t at, int64_t r, uint32_t mask,
                 const float *upper, const orth_screen_latents *latents, waiting *w)
{
    if (!p->fine_bytes) {
        orth_screened_keep(&p->encoder->screened, token + r, upper, mask, (uint32_t)(first + at),
                           p->k, first + at + p->panel_latents, latents);
        return;
    }
    for (; mask; mask &= mask - 1)
        w->index[r][w->count[r]++] = (uint32_t)at + (uint32_t)__builtin_ctz(mask);
    if (w->count[r] > ORTH_PANEL_LATENTS_MAX)
        refine(p, token, first, first + at + p->panel_latents, r, w);
}

/* The same by screening, a panel of latents at a time. */
static void screen_tile(const pass *p, int64_t token, int64_t first, int64_t at, int64_t count)
{
    orth_encoder *encoder = p->encoder;
    orth_screened_block *s = &encoder->screened;
    const char *x = encoder->x_panels + token * p->row_bytes;
    orth_screen_tokens tokens = {s->alpha + token, s->beta + token, s->cut + token,
                                 s->unit + token};
    float upper[ORTH_PANEL_TOKENS_MAX * ORTH_PANEL_LATENTS_MAX];
    uint32_t mask[ORTH_PANEL_TOKENS_MAX];
    waiting w;
    int64_t next = token;
    memset(w.count, 0, sizeof w.count);
    for (int64_t i = at; i < at + count; i += p->panel_latents) {
        orth_screen_latents latents = packed(encoder, ROW_Q, i);
        int64_t real = smaller(p->panel_latents, at + count - i);
        uint32_t wanted = real < 32 ? (1u << real) - 1 : UINT32_MAX;
        /* Not all at once: the products hide the latency of a few rows. */
        for (int64_t r = 0; r < 2 && p->fine_bytes && next < token + p->panel_tokens; r++, next++)
            orth_screened_prefetch(s, next, encoder->x_fine + next * p->fine_bytes, p->fine_bytes);
        p->screen->product(encoder->d_model, x, encoder->w_panels + i * p->row_bytes, &tokens,
                           &latents, upper, ORTH_PANEL_LATENTS_MAX, mask);
        for (int64_t r = 0; r < p->panel_tokens; r++)
            if (mask[r] & wanted)
                take(p, token, first, i, r, mask[r] & wanted, upper + r * ORTH_PANEL_LATENTS_MAX,
                     &latents, &w);
    }
    for (int64_t r = 0; r < p->panel_tokens; r++)
        if (w.count[r])
            refine(p, token, first, first + at + count, r, &w);
}

/* All latents of the list with the tokens of the pass. */
static void encode_pass(const pass *p)
{
    int64_t most = packed_latents(p->row_bytes + p->fine_bytes);
    int64_t step = p->screen ? most : ORTH_TILE_LATENTS;
    void (*tile)(const pass *, int64_t, int64_t, int64_t, int64_t) =
        p->screen ? screen_tile : encode_tile;
    if (p->n_slot == 0)
        return;
#pragma omp parallel
    {
#pragma omp for schedule(static)
        for (int64_t at = 0; at < p->n_slot; at += p->panel_tokens)
            open_panel(p, at);
        for (int64_t first = 0; first < p->n_latent; first += most) {
            int64_t count = smaller(most, p->n_latent - first);
#pragma omp for schedule(static)
            for (int64_t at = 0; at < (p->held ? 0 : count); at += p->panel_latents)
                pack_latents(p, first, count, at);
#pragma omp for schedule(dynamic, 1)
            for (int64_t token = 0; token < p->n_slot; token += p->panel_tokens)
                for (int64_t at = 0; at < count; at += step)
                    tile(p, token, first, at, smaller(step, count - at));
        }
    }
}

/* With several shards: what the other shards hold for sure raises the cuts, so that no shard
 * computes more values than may be selected of all. */
static orth_status share_bounds(const pass *p)
{
    orth_screened_block *screened = &p->encoder->screened;
    const orth_candidates *c = &p->selection->candidates;
    if (p->selection->grid->n_shard == 1 || !p->selection->ops->agree_floor)
        return ORTH_OK;
#pragma omp parallel for schedule(static)
    for (int64_t slot = 0; slot < p->n_slot; slot++)
        orth_screened_lower(screened, slot, p->index, p->selection);
    ORTH_TRY(p->selection->ops->agree_floor(p->selection));
#pragma omp parallel for schedule(static)
    for (int64_t slot = 0; slot < p->n_slot; slot++)
        orth_screened_raise(screened, slot, c->above[slot]);
    return ORTH_OK;
}

/* Screen a block, compute what is left, and encode in fp32 the tokens of which too much is. */
static orth_status screen_block(pass p)
{
    orth_screened_block *screened = &p.encoder->screened;
    const orth_candidates *c = &p.selection->candidates;
    int64_t d = p.encoder->d_model;
    screened->room = smaller(screened->capacity, c->capacity);
    screened->n_latent = p.n_latent;
    encode_pass(&p);
#pragma omp parallel for schedule(dynamic, 16)
    for (int64_t slot = 0; slot < p.n_slot; slot++)
        orth_screened_confirm(screened, slot, p.k);
    ORTH_TRY(share_bounds(&p));
#pragma omp parallel for schedule(dynamic, 16)
    for (int64_t slot = 0; slot < p.n_slot; slot++)
        if (!screened->lost[slot])
            orth_screened_close(screened, slot, p.sae, p.index,
                                p.batch->x + (c->first_token + slot) * d, p.selection);
    p.slots = screened->slots;
    p.n_slot = orth_screened_lost(screened, p.n_slot);
    p.screen = NULL;
    set_widths(&p);
    encode_pass(&p);
    return ORTH_OK;
}

/* Keys of a list hold positions in it; from here on they hold global latents, as others do. */
static void name_latents(const pass *p)
{
    orth_candidates *c = &p->selection->candidates;
    if (!p->index)
        return;
#pragma omp parallel for schedule(static)
    for (int64_t slot = 0; slot < c->n_token; slot++) {
        uint64_t *keys = c->keys + slot * c->capacity;
        for (int64_t i = 0; i < c->count[slot]; i++) {
            int64_t latent = p->selection->own.begin + (int64_t)p->index[orth_key_latent(keys[i])];
            keys[i] = (keys[i] & 0xffffffff00000000u) | (uint32_t) ~(uint32_t)latent;
        }
    }
}

static orth_status encode_block(pass p)
{
    const orth_selection *selection = p.selection;
    p.n_slot = selection->candidates.n_token;
    /* All ranks of a token group decide alike: a list of dead latents has another length on each.
     */
    if (!p.index && selection->ops->screened && selection->ops->screened(selection, &p.k))
        p.screen = p.encoder->screen;
    set_widths(&p);
    if (p.screen)
        return screen_block(p);
    encode_pass(&p);
    return ORTH_OK;
}

orth_status orth_encode_select(const orth_sae *sae, const orth_batch *batch,
                               const uint32_t *latents, int64_t n_latents, orth_encoder *encoder,
                               orth_selection *selection, orth_phase_timer *timer)
{
    orth_phase back = orth_phase_enter(timer, ORTH_PHASE_ENCODE);
    orth_candidates *c = &selection->candidates;
    pass p = {.sae = sae,
              .batch = batch,
              .encoder = encoder,
              .selection = selection,
              .index = latents,
              .n_latent = n_latents};
    selection->batch = batch;
    selection->floor = selection->ops->floor ? selection->ops->floor(selection) : 0.0f;
    ORTH_TRY(orth_code_begin(selection->code, batch->n_token));
    if (selection->code_inner)
        ORTH_TRY(orth_code_begin(selection->code_inner, batch->n_token));
    /* Ranks of a group have the same tokens and the same block size, hence the same blocks. */
    for (int64_t first = 0; first < batch->n_token; first += c->block) {
        orth_phase_enter(timer, ORTH_PHASE_ENCODE);
        c->first_token = first;
        c->n_token = smaller(c->block, batch->n_token - first);
        ORTH_TRY(encode_block(p));
        orth_phase_enter(timer, ORTH_PHASE_SELECT);
        name_latents(&p);
        ORTH_TRY(selection->ops->close_block(selection));
    }
    if (selection->ops->close_batch)
        ORTH_TRY(selection->ops->close_batch(selection));
    orth_phase_enter(timer, back);
    return ORTH_OK;
}
