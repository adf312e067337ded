#include <orthant/sae/update.h>

#include <orthant/base/memory.h>
#include <orthant/kern/norm.h>
#include <orthant/kern/table.h>
#include <orthant/par/collective.h>

#include <math.h>
#include <omp.h>
#include <string.h>

/* Latents of a block where the whole gradient is not needed at once. */
enum { BLOCK_ROWS = 1024, COLUMNS = 64 };

orth_status orth_learner_create(const orth_sae *sae, int64_t n_token, orth_learner *out)
{
    int64_t n_own = orth_range_size(sae->own), d = sae->d_model;
    int64_t rows = sae->recipe.clip > 0.0 || n_own < BLOCK_ROWS ? n_own : BLOCK_ROWS;
    orth_learner learner = {0};
    orth_status status = ORTH_ALLOCATE(rows * d, "gradient of W_enc", &learner.block.W_enc);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(rows * d, "gradient of W_dec", &learner.block.W_dec);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(rows, "gradient of b_enc", &learner.block.b_enc);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(omp_get_max_threads() * n_token, "gradient", &learner.values);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(d, "gradient of b_dec", &learner.b_dec);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(rows, "gradient", &learner.square);
    if (status == ORTH_OK)
        *out = learner;
    else
        orth_learner_free(&learner);
    return status;
}

void orth_learner_free(orth_learner *learner)
{
    orth_free(learner->block.W_enc);
    orth_free(learner->block.W_dec);
    orth_free(learner->block.b_enc);
    orth_free(learner->values);
    orth_free(learner->b_dec);
    orth_free(learner->square);
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

/* The decoder bias also enters through x - b_dec: minus g_i W_enc,i for each latent of the block.
 */
static void encoder_part_of_b_dec(const orth_sae *sae, orth_range rows, const float *g_bias,
                                  double *b_dec)
{
    int64_t d = sae->d_model;
#pragma omp parallel for schedule(static)
    for (int64_t j = 0; j < d; j += COLUMNS) {
        int64_t width = d - j < COLUMNS ? d - j : COLUMNS;
        double sum[COLUMNS] = {0.0};
        for (int64_t i = rows.begin; i < rows.end; i++) {
            const float *row = sae->weights.W_enc + i * d + j;
            double g = (double)g_bias[i - rows.begin];
            for (int64_t l = 0; l < width; l++)
                sum[l] += g * (double)row[l];
        }
        for (int64_t l = 0; l < width; l++)
            b_dec[j + l] -= sum[l];
    }
}

/* Make a row of W_dec unit and take from its gradient the part along it. A zero row is left alone.
 */
static void normalise_and_project(float *w, float *g, int64_t d)
{
    double square = orth_dot_f64(w, w, d);
    if (square == 0.0)
        return;
    double factor = 1.0 / sqrt(square);
    for (int64_t j = 0; j < d; j++)
        w[j] = (float)((double)w[j] * factor);
    double along = orth_dot_f64(g, w, d);
    for (int64_t j = 0; j < d; j++)
        g[j] = (float)((double)g[j] - along * (double)w[j]);
}

/* Up to the clip: projection where the recipe has it before, and the squared norm of each row. */
static double measure_block(orth_sae *sae, orth_range rows, orth_learner *learner, int64_t at)
{
    int64_t d = sae->d_model, n_row = orth_range_size(rows);
    bool bias = sae->recipe.b_enc;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n_row; i++) {
        float *g_enc = learner->block.W_enc + (at + i) * d,
              *g_dec = learner->block.W_dec + (at + i) * d;
        if (sae->recipe.decoder == ORTH_DECODER_GAO)
            normalise_and_project(sae->weights.W_dec + (rows.begin + i) * d, g_dec, d);
        double g_bias = bias ? (double)learner->block.b_enc[at + i] : 0.0;
        learner->square[at + i] =
            orth_dot_f64(g_enc, g_enc, d) + orth_dot_f64(g_dec, g_dec, d) + g_bias * g_bias;
    }
    double square = 0.0;
    for (int64_t i = 0; i < n_row; i++)
        square += learner->square[at + i];
    return square;
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

/* From the clip on. */
static void apply_block(orth_sae *sae, const update_plan *plan, orth_range rows, float factor,
                        orth_learner *learner, int64_t at)
{
    int64_t d = sae->d_model;
    orth_params *w = &sae->weights, *e = &sae->average, *m = &sae->moment1, *v = &sae->moment2;
    bool averaged = sae->recipe.ema > 0.0;
#pragma omp parallel for schedule(static)
    for (int64_t i = rows.begin; i < rows.end; i++) {
        int64_t row = (at + i - rows.begin) * d;
        float *g_dec = learner->block.W_dec + row;
        if (sae->recipe.decoder == ORTH_DECODER_TOPAFA)
            normalise_and_project(w->W_dec + i * d, g_dec, d);
        update_array(sae, plan, d, learner->block.W_enc + row, factor, w->W_enc + i * d,
                     averaged ? e->W_enc + i * d : NULL, m->W_enc + i * d, v->W_enc + i * d);
        update_array(sae, plan, d, g_dec, factor, w->W_dec + i * d,
                     averaged ? e->W_dec + i * d : NULL, m->W_dec + i * d, v->W_dec + i * d);
    }
    if (sae->recipe.b_enc)
        update_array(sae, plan, orth_range_size(rows), learner->block.b_enc + at, factor,
                     w->b_enc + rows.begin, averaged ? e->b_enc + rows.begin : NULL,
                     m->b_enc + rows.begin, v->b_enc + rows.begin);
}

static orth_status reduce_block(const orth_sae *sae, orth_range rows, orth_learner *learner,
                                int64_t at)
{
    int64_t d = sae->d_model, n = orth_range_size(rows);
    ORTH_TRY(orth_sum_f32(learner->block.W_enc + at * d, n * d, sae->grid->peers));
    ORTH_TRY(orth_sum_f32(learner->block.W_dec + at * d, n * d, sae->grid->peers));
    return orth_sum_f32(learner->block.b_enc + at, n, sae->grid->peers);
}

static void update_b_dec(orth_sae *sae, const update_plan *plan, float factor, const double *g)
{
    int64_t d = sae->d_model;
    float gradient[COLUMNS];
    for (int64_t j = 0; j < d; j += COLUMNS) {
        int64_t width = d - j < COLUMNS ? d - j : COLUMNS;
        for (int64_t l = 0; l < width; l++)
            gradient[l] = (float)g[j + l];
        update_array(sae, plan, width, gradient, factor, sae->weights.b_dec + j,
                     sae->recipe.ema > 0.0 ? sae->average.b_dec + j : NULL, sae->moment1.b_dec + j,
                     sae->moment2.b_dec + j);
    }
}

/* min(1, clip / norm); the top-AFA code adds 1e-6 to the norm. */
static float clip_factor(const orth_recipe *recipe, double norm)
{
    double divisor = recipe->decoder == ORTH_DECODER_GAO ? norm : norm + 1e-6;
    if (recipe->clip == 0.0 || !(divisor > recipe->clip))
        return 1.0f;
    return (float)(recipe->clip / divisor);
}

/* The norm over all parameters, each once. */
static orth_status global_norm(const orth_sae *sae, double square, const double *b_dec,
                               double *grad_norm)
{
    ORTH_TRY(orth_sum_f64(&square, 1, sae->grid->group));
    for (int64_t j = 0; j < sae->d_model; j++)
        square += b_dec[j] * b_dec[j];
    *grad_norm = sqrt(square);
    return ORTH_OK;
}

orth_status orth_gradient_update(orth_sae *sae, const orth_batch *batch,
                                 const orth_branch *branches, int n_branch, double rate,
                                 orth_dense_scratch *scratch, orth_learner *learner,
                                 double *grad_norm, orth_phase_timer *timer)
{
    update_plan plan = plan_update(sae, rate);
    int64_t n_own = orth_range_size(sae->own);
    bool held = sae->recipe.clip > 0.0;
    double square = 0.0;
    orth_phase back = orth_phase_enter(timer, ORTH_PHASE_GRADIENT);
    for (int64_t first = 0; first < n_own; first += BLOCK_ROWS) {
        orth_range rows = {first, first + BLOCK_ROWS < n_own ? first + BLOCK_ROWS : n_own};
        int64_t at = held ? first : 0, d = sae->d_model;
        orth_block_gradient block = {learner->block.W_enc + at * d, learner->block.W_dec + at * d,
                                     learner->block.b_enc + at};
        orth_phase_enter(timer, ORTH_PHASE_GRADIENT);
        orth_gradient_block(sae, batch, branches, n_branch, rows, scratch, learner->values, &block);
        encoder_part_of_b_dec(sae, rows, block.b_enc, learner->b_dec);
        orth_phase_enter(timer, ORTH_PHASE_REDUCE);
        ORTH_TRY(reduce_block(sae, rows, learner, at));
        orth_phase_enter(timer, ORTH_PHASE_UPDATE);
        square += measure_block(sae, rows, learner, at);
        if (!held)
            apply_block(sae, &plan, rows, 1.0f, learner, at);
    }
    orth_phase_enter(timer, ORTH_PHASE_REDUCE);
    ORTH_TRY(orth_sum_f64(learner->b_dec, sae->d_model, sae->grid->world));
    ORTH_TRY(global_norm(sae, square, learner->b_dec, grad_norm));
    orth_phase_enter(timer, ORTH_PHASE_UPDATE);
    float factor = clip_factor(&sae->recipe, *grad_norm);
    if (held)
        apply_block(sae, &plan, (orth_range){0, n_own}, factor, learner, 0);
    update_b_dec(sae, &plan, factor, learner->b_dec);
    sae->step++;
    orth_phase_enter(timer, back);
    return ORTH_OK;
}
