#include <orthant/sae/encode.h>

#include <orthant/base/memory.h>
#include <orthant/kern/keys.h>
#include <orthant/kern/pack.h>
#include <orthant/kern/table.h>

#include <omp.h>
#include <string.h>

/* The own latents that are encoded. */
typedef struct latent_list {
    const uint32_t *index; ///< NULL: 0, 1, ...
    int64_t count;
} latent_list;

orth_status orth_encoder_create(int64_t block, int64_t d_model, orth_encoder *out)
{
    const orth_kernels *kernels = orth_kernels_get();
    int64_t panels = orth_partition_largest(block, kernels->panel_tokens);
    orth_encoder encoder = {.block = block, .d_model = d_model};
    orth_status status =
        ORTH_ALLOCATE(panels * kernels->panel_tokens * d_model, "token panels", &encoder.x_panels);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(ORTH_TILE_LATENTS * d_model, "latent panels", &encoder.w_panels);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(ORTH_TILE_LATENTS, "latent panels", &encoder.bias);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(omp_get_max_threads() * kernels->panel_tokens * ORTH_TILE_LATENTS,
                               "tiles", &encoder.tile);
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
    orth_free(encoder->bias);
    orth_free(encoder->tile);
    memset(encoder, 0, sizeof *encoder);
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void open_block(const orth_batch *batch, int64_t first, orth_encoder *encoder,
                       orth_selection *selection)
{
    const orth_kernels *kernels = orth_kernels_get();
    orth_candidates *c = &selection->candidates;
    int width = kernels->panel_tokens;
    int64_t d = encoder->d_model;
    c->first_token = first;
    c->n_token = smaller(c->block, batch->n_token - first);
    for (int64_t slot = 0; slot < c->n_token; slot++) {
        c->count[slot] = 0;
        c->above[slot] = selection->floor;
    }
#pragma omp parallel for schedule(static)
    for (int64_t slot = 0; slot < c->n_token; slot += width)
        orth_pack(batch->x + (first + slot) * d, NULL, smaller(width, c->n_token - slot), width, d,
                  encoder->x_panels + slot * d);
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

/* The tile of one panel of tokens: a panel of latents at a time, then reduced row by row. */
static void encode_panel(const orth_batch *batch, const orth_encoder *encoder,
                         orth_selection *selection, int64_t slot, int64_t first, int64_t count)
{
    const orth_kernels *kernels = orth_kernels_get();
    const orth_candidates *c = &selection->candidates;
    int64_t d = encoder->d_model, width = kernels->panel_latents;
    float *tile =
        encoder->tile + (int64_t)omp_get_thread_num() * kernels->panel_tokens * ORTH_TILE_LATENTS;
    for (int64_t i = 0; i < count; i += width)
        kernels->chain(d, encoder->x_panels + slot * d, encoder->w_panels + i * d,
                       encoder->bias + i, tile + i, ORTH_TILE_LATENTS);
    int64_t rows = smaller(kernels->panel_tokens, c->n_token - slot);
    for (int64_t r = 0; r < rows; r++)
        if (batch->valid[c->first_token + slot + r])
            keep_row(selection, slot + r, tile + r * ORTH_TILE_LATENTS, count, first);
}

static void pack_latents(const orth_sae *sae, latent_list list, orth_encoder *encoder,
                         int64_t first, int64_t count, int64_t panel)
{
    int width = orth_kernels_get()->panel_latents;
    int64_t d = sae->d_model, rows = smaller(width, count - panel);
    const uint32_t *index = list.index ? list.index + first + panel : NULL;
    const float *base = index ? sae->weights.W_enc : sae->weights.W_enc + (first + panel) * d;
    orth_pack(base, index, rows, width, d, encoder->w_panels + panel * d);
    for (int64_t r = 0; r < rows; r++)
        encoder->bias[panel + r] =
            sae->weights.b_enc[index ? (int64_t)index[r] : first + panel + r];
}

static void encode_block(const orth_sae *sae, const orth_batch *batch, latent_list list,
                         orth_encoder *encoder, orth_selection *selection)
{
    const orth_kernels *kernels = orth_kernels_get();
    const orth_candidates *c = &selection->candidates;
#pragma omp parallel
    for (int64_t first = 0; first < list.count; first += ORTH_TILE_LATENTS) {
        int64_t count = smaller(ORTH_TILE_LATENTS, list.count - first);
#pragma omp for schedule(static)
        for (int64_t panel = 0; panel < count; panel += kernels->panel_latents)
            pack_latents(sae, list, encoder, first, count, panel);
#pragma omp for schedule(static)
        for (int64_t slot = 0; slot < c->n_token; slot += kernels->panel_tokens)
            encode_panel(batch, encoder, selection, slot, first, count);
    }
}

/* Keys held positions in the list; from here on they hold global latents. */
static void name_latents(latent_list list, orth_selection *selection)
{
    orth_candidates *c = &selection->candidates;
#pragma omp parallel for schedule(static)
    for (int64_t slot = 0; slot < c->n_token; slot++) {
        uint64_t *keys = c->keys + slot * c->capacity;
        for (int64_t i = 0; i < c->count[slot]; i++) {
            int64_t position = orth_key_latent(keys[i]);
            int64_t latent = list.index ? (int64_t)list.index[position] : position;
            keys[i] = (keys[i] & 0xffffffff00000000u) |
                      (uint32_t) ~(uint32_t)(latent + selection->own.begin);
        }
    }
}

orth_status orth_encode_select(const orth_sae *sae, const orth_batch *batch,
                               const uint32_t *latents, int64_t n_latents, orth_encoder *encoder,
                               orth_selection *selection, orth_phase_timer *timer)
{
    latent_list list = {latents, n_latents};
    orth_phase back = orth_phase_enter(timer, ORTH_PHASE_ENCODE);
    selection->batch = batch;
    selection->floor = 0.0f;
    ORTH_TRY(orth_code_begin(selection->code, batch->n_token));
    if (selection->code_inner)
        ORTH_TRY(orth_code_begin(selection->code_inner, batch->n_token));
    /* Ranks of a group have the same tokens and the same block size, hence the same blocks. */
    for (int64_t first = 0; first < batch->n_token; first += selection->candidates.block) {
        orth_phase_enter(timer, ORTH_PHASE_ENCODE);
        open_block(batch, first, encoder, selection);
        encode_block(sae, batch, list, encoder, selection);
        orth_phase_enter(timer, ORTH_PHASE_SELECT);
        name_latents(list, selection);
        ORTH_TRY(selection->ops->close_block(selection));
    }
    if (selection->ops->close_batch)
        ORTH_TRY(selection->ops->close_batch(selection));
    orth_phase_enter(timer, back);
    return ORTH_OK;
}
