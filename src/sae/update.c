#include <orthant/sae/update.h>

#include <orthant/base/fault.h>
#include <orthant/base/memory.h>
#include <orthant/kern/norm.h>
#include <orthant/kern/table.h>
#include <orthant/par/collective.h>

#include <math.h>
#include <omp.h>
#include <string.h>

enum { CHUNK = ORTH_CHUNK_LATENTS, BAND = ORTH_BAND_CHUNKS * CHUNK, PIECE = 16, COLUMNS = 64 };

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static orth_status block_create(int64_t rows, int64_t d, const char *what, orth_block_gradient *out)
{
    ORTH_TRY(ORTH_ALLOCATE(rows * d, what, &out->W_enc));
    ORTH_TRY(ORTH_ALLOCATE(rows * d, what, &out->W_dec));
    return ORTH_ALLOCATE(rows, what, &out->b_enc);
}

static void block_free(orth_block_gradient *block)
{
    orth_free(block->W_enc);
    orth_free(block->W_dec);
    orth_free(block->b_enc);
}

/* Pieces of the own part in a bucket, which threads share for the update. */
static int64_t pieces_of(const orth_buckets *buckets)
{
    return buckets->per_part * orth_partition_largest(buckets->chunk, PIECE);
}

static orth_status create_local(const orth_sae *sae, int64_t n_token, orth_learner *out)
{
    int64_t n_own = orth_range_size(sae->own), d = sae->d_model, threads = omp_get_max_threads();
    int64_t partials = ORTH_BAND_CHUNKS;
    if (sae->grid->n_group > 1) {
        ORTH_TRY(orth_buckets_create(sae, &out->buckets));
        if (pieces_of(&out->buckets) > partials)
            partials = pieces_of(&out->buckets);
    } else {
        ORTH_TRY(ORTH_ALLOCATE(threads * CHUNK * 2 * d, "gradient of a chunk", &out->chunks));
    }
    if (sae->recipe.clip > 0.0) {
        ORTH_TRY(block_create(orth_range_size(sae->part), d, "gradient", &out->held));
        ORTH_TRY(ORTH_ALLOCATE(2 * n_token, "token norms", &out->tokens));
    }
    ORTH_TRY(ORTH_ALLOCATE(n_own, "gradient of b_enc", &out->bias));
    ORTH_TRY(ORTH_ALLOCATE(d, "gradient of b_dec", &out->b_dec));
    ORTH_TRY(ORTH_ALLOCATE(partials * d, "gradient of b_dec", &out->partial));
    return ORTH_ALLOCATE(n_own, "gradient", &out->square);
}

orth_status orth_learner_create(const orth_sae *sae, int64_t n_token, orth_learner *out)
{
    orth_learner learner = {0};
    orth_status status = create_local(sae, n_token, &learner);
    if (status == ORTH_OK)
        *out = learner;
    else
        orth_learner_free(&learner);
    return status;
}

void orth_learner_free(orth_learner *learner)
{
    orth_buckets_free(&learner->buckets);
    block_free(&learner->held);
    void *blocks[] = {learner->chunks,  learner->bias,   learner->b_dec,
                      learner->partial, learner->square, learner->tokens};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        orth_free(blocks[i]);
    memset(learner, 0, sizeof *learner);
}

double orth_learning_rate(const orth_recipe *recipe, int64_t step, int64_t steps)
{
    double rate = recipe->lr;
    if (recipe->warmup > 0 && step < recipe->warmup)
        rate *= (double)step / (double)recipe->warmup;
    double falling = recipe->decay * (double)steps, left = (double)(steps - step + 1);
    if (falling > 0.0 && left < falling)
        rate *= left / falling;
    return rate;
}

/* What one step's update needs to know besides the arrays. */
typedef struct update_plan {
    orth_adam adam;
    float average_new; ///< 1 - ema
} update_plan;

static update_plan plan_update(const orth_sae *sae, double rate)
{
    const orth_recipe *r = &sae->recipe;
    double t = (double)(sae->step + 1);
    return (update_plan){.adam = {.beta1 = (float)r->beta1,
                                  .beta2 = (float)r->beta2,
                                  .new1 = (float)(1.0 - r->beta1),
                                  .new2 = (float)(1.0 - r->beta2),
                                  .rate = (float)(rate / (1.0 - pow(r->beta1, t))),
                                  .root = (float)(1.0 / sqrt(1.0 - pow(r->beta2, t))),
                                  .eps = (float)r->eps},
                         .average_new = (float)(1.0 - r->ema)};
}

/* Make a row of W_dec unit and take from its gradient the part along it; returns the square of what
 * is left. A zero row is left alone. */
static double normalise_and_project(float *w, float *g, int64_t d)
{
    const orth_passes *passes = orth_kernels_get()->passes;
    double square = passes->dot(w, w, d);
    if (square == 0.0)
        return passes->dot(g, g, d);
    return passes->project(passes->scale_dot(1.0 / sqrt(square), w, g, d), w, g, d);
}

/* Up to the clip, of a few rows of the own shard with their whole gradient: projection where the
 * recipe has it before, the squared norm of each row, and the part of b_dec's gradient that enters
 * through x - b_dec: minus g_i W_enc,i. */
static void measure_rows(orth_sae *sae, orth_range rows, const orth_block_gradient *g,
                         double *partial, orth_learner *learner)
{
    const orth_passes *passes = orth_kernels_get()->passes;
    int64_t d = sae->d_model;
    memset(partial, 0, (size_t)d * sizeof *partial);
    for (int64_t i = rows.begin; i < rows.end; i++) {
        int64_t at = i - rows.begin;
        const float *g_enc = g->W_enc + at * d;
        float *g_dec = g->W_dec + at * d;
        double bias = (double)g->b_enc[at], in_norm = sae->recipe.b_enc ? bias : 0.0, square;
        if (sae->recipe.decoder == ORTH_DECODER_GAO)
            square = normalise_and_project(sae->weights.W_dec + i * d, g_dec, d);
        else
            square = passes->dot(g_dec, g_dec, d);
        learner->square[i] = passes->dot(g_enc, g_enc, d) + square + in_norm * in_norm;
        passes->accumulate(-bias, sae->weights.W_enc + i * d, partial, d);
        learner->bias[i] = g->b_enc[at];
    }
}

static void average(int64_t n, float part, const float *w, float *e)
{
    for (int64_t i = 0; i < n; i++)
        e[i] += (w[i] - e[i]) * part;
}

/* EMA, then Adam, of one array. */
static void update_array(const orth_sae *sae, const update_plan *plan, int64_t n, const float *g,
                         float factor, float *w, float *e, float *m, float *v)
{
    if (sae->recipe.ema > 0.0)
        average(n, plan->average_new, w, e);
    orth_kernels_get()->adam(n, g, factor, &plan->adam, w, m, v);
}

/* From the clip on, of rows of both matrices. Moments are there from the own part's first on. */
static void update_rows(orth_sae *sae, const update_plan *plan, orth_range rows,
                        const orth_block_gradient *g, float factor)
{
    int64_t d = sae->d_model, part = sae->part.begin - sae->own.begin;
    orth_params *w = &sae->weights, *e = &sae->average, *m = &sae->moment1, *v = &sae->moment2;
    bool averaged = sae->recipe.ema > 0.0;
    for (int64_t i = rows.begin; i < rows.end; i++) {
        int64_t at = (i - rows.begin) * d, row = i * d, own = (i - part) * d;
        if (sae->recipe.decoder == ORTH_DECODER_TOPAFA)
            normalise_and_project(w->W_dec + row, g->W_dec + at, d);
        update_array(sae, plan, d, g->W_enc + at, factor, w->W_enc + row,
                     averaged ? e->W_enc + own : NULL, m->W_enc + own, v->W_enc + own);
        update_array(sae, plan, d, g->W_dec + at, factor, w->W_dec + row,
                     averaged ? e->W_dec + own : NULL, m->W_dec + own, v->W_dec + own);
    }
}

/* The biases of the encoder, when every latent's gradient is known. */
static void update_b_enc(orth_sae *sae, const update_plan *plan, float factor, const float *g)
{
    if (sae->recipe.b_enc)
        update_array(sae, plan, orth_range_size(sae->own), g, factor, sae->weights.b_enc,
                     sae->average.b_enc, sae->moment1.b_enc, sae->moment2.b_enc);
}

static void update_b_dec(orth_sae *sae, const update_plan *plan, float factor, const double *g)
{
    int64_t d = sae->d_model;
    float gradient[COLUMNS];
    for (int64_t j = 0; j < d; j += COLUMNS) {
        int64_t width = smaller(COLUMNS, d - j);
        for (int64_t l = 0; l < width; l++)
            gradient[l] = (float)g[j + l];
        update_array(sae, plan, width, gradient, factor, sae->weights.b_dec + j,
                     sae->recipe.ema > 0.0 ? sae->average.b_dec + j : NULL, sae->moment1.b_dec + j,
                     sae->moment2.b_dec + j);
    }
}

/** What the parts of a step's update share. */
typedef struct pass {
    orth_sae *sae;
    const orth_batch *batch;
    const orth_branch *branches;
    int n_branch;
    orth_product_scratch *scratch;
    orth_learner *learner;
    orth_phase_timer *timer;
    update_plan plan;
    bool held; ///< the clip may bind: gradients wait for their norm
} pass;

/* A thread's phases: the main thread's stand for all. */
static void enter(const pass *p, orth_phase phase)
{
    if (omp_get_thread_num() == 0)
        orth_phase_enter(p->timer, phase);
}

/* The gradient of a chunk where it stays: in the thread's buffer, or held. */
static orth_block_gradient place_of(const pass *p, orth_range rows, float *bias)
{
    int64_t d = p->sae->d_model;
    if (p->held)
        return orth_block_rows(&p->learner->held, rows.begin, d);
    float *mine = p->learner->chunks + (int64_t)omp_get_thread_num() * CHUNK * 2 * d;
    return (orth_block_gradient){mine, mine + CHUNK * d, bias};
}

/* One chunk from its gradient to its update, by one thread. */
static void pass_chunk(const pass *p, orth_range rows, double *partial)
{
    float bias[CHUNK];
    orth_block_gradient g = place_of(p, rows, bias);
    enter(p, ORTH_PHASE_GRADIENT);
    orth_gradient_chunk(p->sae, p->batch, p->branches, p->n_branch, rows, p->scratch, &g);
    enter(p, ORTH_PHASE_UPDATE);
    measure_rows(p->sae, rows, &g, partial, p->learner);
    if (!p->held)
        update_rows(p->sae, &p->plan, rows, &g, 1.0f);
}

/* Add what the chunks of a band give to b_dec, chunk after chunk. */
static void fold_partials(const pass *p, int64_t n_chunk)
{
    int64_t d = p->sae->d_model;
#pragma omp for schedule(static)
    for (int64_t j = 0; j < d; j++)
        for (int64_t c = 0; c < n_chunk; c++)
            p->learner->b_dec[j] += p->learner->partial[c * d + j];
}

/* Latents [band.begin, band.end), no more than a band, of the only token group. */
static void pass_band(const pass *p, orth_range band)
{
    int64_t d = p->sae->d_model;
#pragma omp parallel
    {
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = band.begin; i < band.end; i += CHUNK) {
            orth_range rows = {i, smaller(i + CHUNK, band.end)};
            pass_chunk(p, rows, p->learner->partial + (i - band.begin) / CHUNK * d);
        }
        fold_partials(p, (orth_range_size(band) + CHUNK - 1) / CHUNK);
    }
}

/* The gradient of one bucket, and off with it. */
static orth_status make_bucket(const pass *p, int64_t bucket)
{
    orth_buckets *buckets = &p->learner->buckets;
    int64_t chunks = p->sae->grid->n_group * buckets->per_part;
    orth_status moved = ORTH_OK;
    orth_phase_enter(p->timer, ORTH_PHASE_GRADIENT);
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t i = 0; i < chunks; i++) {
        int peer = (int)(i / buckets->per_part);
        int64_t c = i % buckets->per_part;
        orth_range rows = orth_bucket_rows(p->sae, buckets, bucket, peer, c);
        orth_block_gradient g = orth_bucket_place(p->sae, buckets, bucket, peer, c);
        if (orth_range_size(rows) > 0)
            orth_gradient_chunk(p->sae, p->batch, p->branches, p->n_branch, rows, p->scratch, &g);
        if (omp_get_thread_num() == 0 && moved == ORTH_OK)
            moved = orth_buckets_progress(buckets);
    }
    ORTH_TRY(moved);
    return orth_bucket_send(p->sae, buckets, bucket);
}

/* A few rows of the own part, whose gradients are here from all groups. */
static void use_piece(const pass *p, int64_t bucket, int64_t piece, double *partial)
{
    const orth_buckets *buckets = &p->learner->buckets;
    orth_sae *sae = p->sae;
    int own = sae->grid->group_index;
    int64_t d = sae->d_model, pieces = orth_partition_largest(buckets->chunk, PIECE);
    int64_t c = piece / pieces, first = piece % pieces * PIECE;
    orth_range chunk = orth_bucket_rows(sae, buckets, bucket, own, c);
    orth_range rows = {smaller(chunk.begin + first, chunk.end),
                       smaller(chunk.begin + first + PIECE, chunk.end)};
    orth_block_gradient place = orth_bucket_place(sae, buckets, bucket, own, c), g;
    if (p->held)
        g = orth_block_rows(&p->learner->held, rows.begin - (sae->part.begin - sae->own.begin), d);
    else
        g = orth_block_rows(&place, rows.begin - chunk.begin, d);
    orth_bucket_sum(sae, buckets, bucket, c,
                    (orth_range){rows.begin - chunk.begin, rows.end - chunk.begin}, &g);
    measure_rows(sae, rows, &g, partial, p->learner);
    if (!p->held)
        update_rows(sae, &p->plan, rows, &g, 1.0f);
}

/* Sum a bucket over the groups and update the own part's rows of it, while the next one is under
 * way. */
static orth_status use_bucket(const pass *p, int64_t bucket)
{
    orth_buckets *buckets = &p->learner->buckets;
    int64_t pieces = pieces_of(buckets), d = p->sae->d_model;
    orth_status moved = ORTH_OK;
    orth_phase_enter(p->timer, ORTH_PHASE_REDUCE);
    ORTH_TRY(orth_bucket_wait(buckets, bucket));
    orth_phase_enter(p->timer, ORTH_PHASE_UPDATE);
#pragma omp parallel
    {
#pragma omp for schedule(static)
        for (int64_t i = 0; i < pieces; i++) {
            use_piece(p, bucket, i, p->learner->partial + i * d);
            if (omp_get_thread_num() == 0 && moved == ORTH_OK)
                moved = orth_buckets_progress(buckets);
        }
        fold_partials(p, pieces);
    }
    ORTH_TRY(moved);
    return p->held ? ORTH_OK : orth_bucket_share(p->sae, buckets, bucket);
}

/* The same shard of several token groups: a bucket is made while the one before is under way. */
static orth_status pass_buckets(const pass *p)
{
    orth_buckets *buckets = &p->learner->buckets;
    for (int64_t bucket = 0; bucket <= buckets->count; bucket++) {
        if (bucket < buckets->count)
            ORTH_TRY(make_bucket(p, bucket));
        if (bucket > 0)
            ORTH_TRY(use_bucket(p, bucket - 1));
    }
    orth_phase_enter(p->timer, ORTH_PHASE_REDUCE);
    return orth_buckets_finish(buckets);
}

/* The only token group: no chunk waits for anything. */
static void pass_bands(const pass *p)
{
    int64_t n_own = orth_range_size(p->sae->own);
    for (int64_t first = 0; first < n_own; first += BAND)
        pass_band(p, (orth_range){first, smaller(first + BAND, n_own)});
}

/* Bring together what each peer has of its part: `count` values a row. */
static orth_status gather_parts(const orth_sae *sae, int64_t count, float *rows)
{
    int groups = sae->grid->n_group;
    int64_t n_own = orth_range_size(sae->own), counts[groups];
    for (int g = 0; g < groups; g++)
        counts[g] = orth_range_size(orth_partition(n_own, groups, g)) * count;
    return orth_allgather(rows + (sae->part.begin - sae->own.begin) * count, counts, sizeof *rows,
                          rows, sae->grid->peers);
}

/* What was held, when the clip factor is known. */
static orth_status update_held(const pass *p, float factor)
{
    orth_sae *sae = p->sae;
    int64_t d = sae->d_model, first = sae->part.begin - sae->own.begin;
    int64_t n_part = orth_range_size(sae->part);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n_part; i += PIECE) {
        orth_block_gradient g = orth_block_rows(&p->learner->held, i, d);
        orth_range rows = {first + i, first + smaller(i + PIECE, n_part)};
        update_rows(sae, &p->plan, rows, &g, factor);
    }
    if (sae->grid->n_group == 1)
        return ORTH_OK;
    orth_phase_enter(p->timer, ORTH_PHASE_REDUCE);
    ORTH_TRY(gather_parts(sae, d, sae->weights.W_enc));
    ORTH_TRY(gather_parts(sae, d, sae->weights.W_dec));
    orth_phase_enter(p->timer, ORTH_PHASE_UPDATE);
    return ORTH_OK;
}

/* The top-AFA code adds this to the norm that it divides by. */
static double clip_divisor(const orth_recipe *recipe, double norm)
{
    return recipe->decoder == ORTH_DECODER_GAO ? norm : norm + 1e-6;
}

/* min(1, clip / norm) */
static float clip_factor(const orth_recipe *recipe, double norm)
{
    double divisor = clip_divisor(recipe, norm);
    if (recipe->clip == 0.0 || !(divisor > recipe->clip))
        return 1.0f;
    return (float)(recipe->clip / divisor);
}

/* Sum the gradient of b_dec over all ranks, then the norm over all parameters, each once. */
static orth_status global_norm(const orth_sae *sae, orth_learner *learner, double *grad_norm)
{
    double square = 0.0;
    for (int64_t i = sae->part.begin; i < sae->part.end; i++)
        square += learner->square[i - sae->own.begin];
    ORTH_TRY(orth_sum_f64(learner->b_dec, sae->d_model, sae->grid->world));
    ORTH_TRY(orth_sum_f64(&square, 1, sae->grid->world));
    for (int64_t j = 0; j < sae->d_model; j++)
        square += learner->b_dec[j] * learner->b_dec[j];
    *grad_norm = sqrt(square);
    return ORTH_OK;
}

orth_status orth_gradient_update(orth_sae *sae, const orth_batch *batch,
                                 const orth_branch *branches, int n_branch, double rate,
                                 double bound, orth_product_scratch *scratch, orth_learner *learner,
                                 double *grad_norm, orth_phase_timer *timer)
{
    pass p = {sae,  batch, branches, n_branch, scratch, learner, timer, plan_update(sae, rate),
              false};
    p.held = sae->recipe.clip > 0.0 && !(clip_divisor(&sae->recipe, bound) <= sae->recipe.clip);
    orth_phase back = orth_phase_enter(timer, ORTH_PHASE_GRADIENT);
    if (sae->grid->n_group > 1) {
        ORTH_TRY(pass_buckets(&p));
        ORTH_TRY(gather_parts(sae, 1, learner->bias));
    } else {
        pass_bands(&p);
    }
    orth_phase_enter(timer, ORTH_PHASE_REDUCE);
    orth_fault("step.reduce");
    ORTH_TRY(global_norm(sae, learner, grad_norm));
    orth_phase_enter(timer, ORTH_PHASE_UPDATE);
    float factor = p.held ? clip_factor(&sae->recipe, *grad_norm) : 1.0f;
    if (p.held)
        ORTH_TRY(update_held(&p, factor));
    update_b_enc(sae, &p.plan, factor, learner->bias);
    update_b_dec(sae, &p.plan, factor, learner->b_dec);
    sae->step++;
    orth_phase_enter(timer, back);
    return ORTH_OK;
}
