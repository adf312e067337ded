#include "trial_parts.h"

#include <orthant/base/memory.h>
#include <orthant/kern/afa.h>
#include <orthant/kern/gemm.h>
#include <orthant/kern/keys.h>
#include <orthant/kern/pack.h>
#include <orthant/kern/table.h>

#include <omp.h>
#include <string.h>

/* Tokens of a block that stays in the cache while the latents pass, values that `keep` gets at
 * once, lists of a sparse product. */
enum { BLOCK_PANELS = 16, TILE = 128, PREPARED = 64 };

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

orth_status orth_trial_fill(int64_t count, float **out)
{
    ORTH_TRY(ORTH_ALLOCATE(count, "trial", out));
    float *values = *out;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)((uint32_t)i * 2654435761u >> 8) * 0x1p-23f - 1.0f;
    return ORTH_OK;
}

/* ---- limits ---- */

static orth_status sgemm_open(orth_trial *t)
{
    const orth_trial_sizes *s = &t->sizes;
    ORTH_TRY(orth_trial_fill(s->n_token * s->d_model, &t->a));
    ORTH_TRY(orth_trial_fill(s->n_latent * s->d_model, &t->b));
    ORTH_TRY(orth_trial_fill(s->n_token * s->n_latent, &t->c));
    t->work = 2.0 * (double)s->n_token * (double)s->n_latent * (double)s->d_model;
    return ORTH_OK;
}

static void sgemm_run(orth_trial *t)
{
    const orth_trial_sizes *s = &t->sizes;
    int64_t d = s->d_model, n = s->n_latent;
    orth_gemm(false, true, s->n_token, n, d, t->a, d, t->b, d, false, t->c, n);
}

static orth_status triad_open(orth_trial *t)
{
    t->count = t->sizes.bytes / (int64_t)sizeof(float);
    t->work = 12.0 * (double)t->count;
    ORTH_TRY(orth_trial_fill(t->count, &t->a));
    ORTH_TRY(orth_trial_fill(t->count, &t->b));
    return orth_trial_fill(t->count, &t->c);
}

static void triad_run(orth_trial *t)
{
    float *restrict a = t->a;
    const float *restrict b = t->b, *restrict c = t->c;
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < t->count; i++)
        a[i] = b[i] + 3.0f * c[i];
}

/* ---- the encoder's products ---- */

static int64_t padded(int64_t count, int width)
{
    return (count + width - 1) / width * width;
}

static void pack_all(const float *rows, int64_t count, int width, int64_t d, float *panels)
{
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < count; r += width)
        orth_pack(rows + r * d, NULL, smaller(width, count - r), width, d, panels + r * d);
}

static orth_status chain_open(orth_trial *t)
{
    const orth_kernels *kernels = orth_kernels_get();
    const orth_trial_sizes *s = &t->sizes;
    int64_t d = s->d_model, tokens = padded(s->n_token, kernels->panel_tokens);
    int64_t latents = padded(s->n_latent, kernels->panel_latents);
    float *rows = NULL;
    ORTH_TRY(ORTH_ALLOCATE(tokens * d, "trial", &t->a));
    ORTH_TRY(ORTH_ALLOCATE(latents * d, "trial", &t->b));
    ORTH_TRY(ORTH_ALLOCATE(omp_get_max_threads() * ORTH_PANEL_TOKENS_MAX * ORTH_PANEL_LATENTS_MAX,
                           "trial", &t->c));
    ORTH_TRY(ORTH_ALLOCATE(ORTH_PANEL_LATENTS_MAX, "trial", &t->e));
    ORTH_TRY(orth_trial_fill((tokens > latents ? tokens : latents) * d, &rows));
    pack_all(rows, tokens, kernels->panel_tokens, d, t->a);
    pack_all(rows, latents, kernels->panel_latents, d, t->b);
    orth_free(rows);
    t->work = 2.0 * (double)tokens * (double)latents * (double)d;
    return ORTH_OK;
}

/* As the encoder does it, but nothing is selected of a tile. */
static void chain_run(orth_trial *t)
{
    const orth_kernels *kernels = orth_kernels_get();
    int width = kernels->panel_tokens, latents = kernels->panel_latents;
    int64_t d = t->sizes.d_model, tokens = padded(t->sizes.n_token, width), block;
    block = (int64_t)BLOCK_PANELS * width;
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t first = 0; first < tokens; first += block) {
        float *tile = t->c + omp_get_thread_num() * ORTH_PANEL_TOKENS_MAX * ORTH_PANEL_LATENTS_MAX;
        int64_t end = smaller(first + block, tokens);
        for (int64_t i = 0; i < t->sizes.n_latent; i += latents)
            for (int64_t r = first; r < end; r += width)
                kernels->chain(d, t->a + r * d, t->b + i * d, t->e, tile, latents);
    }
}

/* ---- passes over memory ---- */

static orth_status pack_open(orth_trial *t)
{
    int64_t row = t->sizes.d_model * (int64_t)sizeof(float);
    t->count = padded(t->sizes.bytes / row + 1, orth_kernels_get()->panel_latents);
    t->work = 2.0 * (double)(t->count * row);
    ORTH_TRY(orth_trial_fill(t->count * t->sizes.d_model, &t->a));
    return orth_trial_fill(t->count * t->sizes.d_model, &t->b);
}

static void pack_run(orth_trial *t)
{
    pack_all(t->a, t->count, orth_kernels_get()->panel_latents, t->sizes.d_model, t->b);
}

/* Tiles of which as many values pass as of a token's, all in all. */
static orth_status keep_open(orth_trial *t)
{
    t->count = padded(t->sizes.bytes / (int64_t)sizeof(float), TILE);
    t->work = 4.0 * (double)t->count;
    ORTH_TRY(orth_trial_fill(t->count, &t->a));
    return ORTH_ALLOCATE((int64_t)omp_get_max_threads() * TILE, "trial", &t->keys);
}

static void keep_run(orth_trial *t)
{
    const orth_kernels *kernels = orth_kernels_get();
    float above = 1.0f - 2.0f * (float)t->sizes.k / (float)t->sizes.n_latent;
    if (above < 0.0f)
        above = 0.0f;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < t->count; i += TILE)
        kernels->keep(t->a + i, TILE, above, (uint32_t)i, t->keys + omp_get_thread_num() * TILE);
}

static orth_status adam_open(orth_trial *t)
{
    t->count = padded(t->sizes.bytes / (int64_t)sizeof(float), TILE);
    t->work = 28.0 * (double)t->count;
    ORTH_TRY(orth_trial_fill(t->count, &t->a));
    ORTH_TRY(orth_trial_fill(t->count, &t->b));
    ORTH_TRY(ORTH_ALLOCATE(t->count, "trial", &t->c));
    return ORTH_ALLOCATE(t->count, "trial", &t->e);
}

static void adam_run(orth_trial *t)
{
    const orth_adam adam = {.beta1 = 0.9f,
                            .beta2 = 0.999f,
                            .new1 = 0.1f,
                            .new2 = 0.001f,
                            .rate = 1e-6f,
                            .root = 1.0f,
                            .eps = 1e-8f};
    const orth_kernels *kernels = orth_kernels_get();
    int64_t d = t->sizes.d_model;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < t->count; i += d)
        kernels->adam(smaller(d, t->count - i), t->a + i, 1.0f, &adam, t->b + i, t->c + i,
                      t->e + i);
}

/* ---- selection ---- */

/* Of 2k keys of each token the k largest, as when a token's candidates have filled their room. */
static orth_status cut_open(orth_trial *t)
{
    t->per = 2 * t->sizes.k;
    t->count = t->sizes.n_token;
    t->work = 8.0 * (double)t->per * (double)t->count;
    ORTH_TRY(ORTH_ALLOCATE(t->per, "trial", &t->keys));
    for (int64_t i = 0; i < t->per; i++)
        t->keys[i] = ((uint64_t)i * 2654435761u & 0x7fffffffu) << 32 | (uint32_t)~i;
    t->own = NULL;
    return orth_allocate((int64_t)omp_get_max_threads() * t->per, 2 * sizeof(uint64_t), "trial",
                         &t->own);
}

static void cut_run(orth_trial *t)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < t->count; i++) {
        uint64_t *keys = (uint64_t *)t->own + 2 * omp_get_thread_num() * t->per;
        memcpy(keys, t->keys, (size_t)t->per * sizeof *keys);
        memcpy(keys + t->per, t->keys, (size_t)t->per * sizeof *keys);
        orth_keys_filter(keys, t->per, orth_keys_kth(keys + t->per, t->per, t->per / 2));
    }
}

/* One look of top-AFA at the candidates of each token, half of the latents: their sums in bins. */
static orth_status tally_open(orth_trial *t)
{
    double *norms = NULL;
    t->per = t->sizes.n_latent / 2;
    t->count = 1 + t->sizes.bytes / (16 * t->per);
    t->work = 16.0 * (double)t->per * (double)t->count;
    ORTH_TRY(orth_trial_fill(t->per, &t->a));
    ORTH_TRY(ORTH_ALLOCATE(t->per, "trial", &norms));
    t->own = norms;
    ORTH_TRY(ORTH_ALLOCATE(t->per, "trial", &t->keys));
    for (int64_t i = 0; i < t->per; i++) {
        t->keys[i] = orth_key(0.5f + 0.4f * t->a[i], (uint32_t)i);
        norms[i] = 1.0;
    }
    return ORTH_OK;
}

static void tally_run(orth_trial *t)
{
    enum { SHIFT = 45 };
    const orth_afa_kernels *afa = orth_kernels_get()->afa;
    const orth_afa_token token = {t->keys, t->per, t->own, 0, 1.0, 1.0, (double)t->per};
    uint64_t low = orth_afa_bits(0.25);
    const orth_afa_window window = {low, low + ((uint64_t)ORTH_AFA_BINS << SHIFT), ORTH_AFA_END,
                                    SHIFT};
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < t->count; i++) {
        orth_afa_tally tally = {.above = {0, 0}};
        afa->tally(&token, &window, &tally);
    }
}

/* ---- sparse products ---- */

/* A thin code goes row by row through all latents; a dense one through tiles in the cache: a window
 * of columns of TILE latents. */
static int64_t columns_of(const orth_trial *t)
{
    return t->kind->density > 0.0 ? ORTH_TILE_COLUMNS : t->sizes.d_model;
}

/* Of a thread: results, and lanes of scalar products. */
static int64_t scratch_of(const orth_trial *t)
{
    return PREPARED * (columns_of(t) + ORTH_DOT_LANES * t->per);
}

/* PREPARED different lists of `per` entries, ascending, which one call takes. */
static orth_status sparse_open(orth_trial *t)
{
    int64_t n = t->kind->density > 0.0 ? TILE : t->sizes.n_latent, d = columns_of(t);
    double entries = t->kind->density > 0.0 ? t->kind->density * TILE : (double)t->sizes.k;
    t->per = entries < 1.0 ? 1 : smaller((int64_t)entries, n);
    double each = 2.0 * PREPARED * (double)t->per * (double)d;
    t->count = 1 + (int64_t)(t->sizes.operations / each);
    t->work = each * (double)t->count;
    ORTH_TRY(orth_trial_fill((n > PREPARED ? n : PREPARED) * d, &t->a));
    ORTH_TRY(orth_trial_fill(PREPARED * t->per, &t->b));
    ORTH_TRY(orth_trial_fill(omp_get_max_threads() * scratch_of(t), &t->c));
    ORTH_TRY(ORTH_ALLOCATE(PREPARED * t->per, "trial", &t->index));
    ORTH_TRY(orth_allocate(PREPARED + 1, sizeof(int64_t), "trial", &t->own));
    for (int64_t p = 0; p <= PREPARED; p++)
        ((int64_t *)t->own)[p] = p * t->per;
    for (int64_t e = 0; e < PREPARED * t->per; e++) {
        int64_t from = e % t->per * n / t->per, to = (e % t->per + 1) * n / t->per;
        t->index[e] = (uint32_t)(from + ((uint32_t)e * 2654435761u >> 8) % (to - from));
    }
    return ORTH_OK;
}

static void combine_run(orth_trial *t)
{
    int64_t d = columns_of(t);
    const orth_lists lists = {PREPARED, t->own, t->index, t->b};
    const orth_rows rows = {.data = t->a, .stride = d, .width = d, .far = t->kind->density == 0.0};
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < t->count; i++)
        orth_kernels_get()->sparse->combine(&lists, &rows,
                                            t->c + omp_get_thread_num() * scratch_of(t), d);
}

/* combine and the scalar products of the same rows: twice the work. */
static orth_status project_open(orth_trial *t)
{
    ORTH_TRY(sparse_open(t));
    t->work *= 2.0;
    return ORTH_OK;
}

static void project_run(orth_trial *t)
{
    const orth_sparse *sparse = orth_kernels_get()->sparse;
    int64_t d = columns_of(t);
    const orth_lists lists = {PREPARED, t->own, t->index, t->b};
    const orth_rows rows = {.data = t->a, .stride = d, .width = d, .far = t->kind->density == 0.0};
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < t->count; i++) {
        float *out = t->c + omp_get_thread_num() * scratch_of(t), *lanes = out + PREPARED * d;
        sparse->project(&lists, &rows, t->a, d, out, d, true, lanes);
        sparse->fold(PREPARED * t->per, lanes, lanes);
    }
}

/* ---- the table ---- */

#ifdef ORTH_HAVE_OPENBLAS
static const char SGEMM[] = "OpenBLAS fp32";
#elif defined(ORTH_HAVE_BLAS)
static const char SGEMM[] = "BLAS fp32";
#else
static const char SGEMM[] = "plain fp32";
#endif

#define OWN_KERNEL(name, limit, density, open, run)                                                \
    &(const orth_trial_kind)                                                                       \
    {                                                                                              \
        name, limit, false, density, open, run, NULL                                               \
    }

static const orth_trial_kind *const kinds[] = {
    &(const orth_trial_kind){SGEMM, ORTH_TRIAL_FP32, true, 0, sgemm_open, sgemm_run, NULL},
    &orth_trial_onednn_fp32,
    &orth_trial_onednn_bf16,
    &orth_trial_onednn_int8,
    &(const orth_trial_kind){"triad", ORTH_TRIAL_MEMORY, true, 0, triad_open, triad_run, NULL},
    OWN_KERNEL("chain", ORTH_TRIAL_FP32, 0, chain_open, chain_run),
    &orth_trial_screen_bf16,
    &orth_trial_screen_int8,
    OWN_KERNEL("pack", ORTH_TRIAL_MEMORY, 0, pack_open, pack_run),
    OWN_KERNEL("keep", ORTH_TRIAL_MEMORY, 0, keep_open, keep_run),
    OWN_KERNEL("cut of 2k keys", ORTH_TRIAL_MEMORY, 0, cut_open, cut_run),
    OWN_KERNEL("top-AFA tally", ORTH_TRIAL_MEMORY, 0, tally_open, tally_run),
    OWN_KERNEL("combine, k", ORTH_TRIAL_FP32, 0, sparse_open, combine_run),
    OWN_KERNEL("combine, 18 %", ORTH_TRIAL_FP32, 0.18, sparse_open, combine_run),
    OWN_KERNEL("combine, 50 %", ORTH_TRIAL_FP32, 0.5, sparse_open, combine_run),
    OWN_KERNEL("project, k", ORTH_TRIAL_FP32, 0, project_open, project_run),
    OWN_KERNEL("project, 18 %", ORTH_TRIAL_FP32, 0.18, project_open, project_run),
    OWN_KERNEL("project, 50 %", ORTH_TRIAL_FP32, 0.5, project_open, project_run),
    OWN_KERNEL("adam", ORTH_TRIAL_MEMORY, 0, adam_open, adam_run),
};

int orth_trial_count(void)
{
    return sizeof kinds / sizeof *kinds;
}

const char *orth_trial_name(int i)
{
    return kinds[i]->name;
}

orth_trial_limit orth_trial_limited_by(int i)
{
    return kinds[i]->limit;
}

bool orth_trial_sets_limit(int i)
{
    return kinds[i]->sets_limit;
}

orth_status orth_trial_open(int i, const orth_trial_sizes *sizes, orth_trial **out)
{
    orth_trial *trial = NULL;
    *out = NULL;
    ORTH_TRY(ORTH_ALLOCATE(1, "trial", &trial));
    trial->kind = kinds[i];
    trial->sizes = *sizes;
    orth_status status = kinds[i]->open(trial);
    if (status == ORTH_OK && trial->work > 0.0)
        *out = trial;
    else
        orth_trial_close(trial);
    return status;
}

void orth_trial_run(orth_trial *trial)
{
    trial->kind->run(trial);
}

double orth_trial_work(const orth_trial *trial)
{
    return trial->work;
}

void orth_trial_close(orth_trial *trial)
{
    if (!trial)
        return;
    if (trial->kind->close)
        trial->kind->close(trial);
    else
        orth_free(trial->own);
    orth_free(trial->a);
    orth_free(trial->b);
    orth_free(trial->c);
    orth_free(trial->e);
    orth_free(trial->index);
    orth_free(trial->keys);
    orth_free(trial);
}
