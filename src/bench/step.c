/* The whole training step on random tokens in memory, and what doubling a size does to it. */
#include "parts.h"

#include <orthant/base/log.h>
#include <orthant/base/memory.h>
#include <orthant/base/random.h>
#include <orthant/eval/quality.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/par/end_job.h>
#include <orthant/sae/init.h>
#include <orthant/sae/step.h>

#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

enum {
    SEED = 49,
    DIRECTIONS = 1024, ///< that tokens are made of
    ACTIVE = 16,       ///< of a token
    DEAD_EVERY = 20,   ///< 5 % of the latents are dead where AuxK is measured
    LONG_AGO = 1 << 20 ///< steps since a dead latent fired
};

/* Weights change by so little that codes keep their density however many steps are run. */
static const double RATE = 1e-9;

/* One step to measure. */
typedef struct bench_case {
    const char *name;
    const char *transposed; ///< as what the transposition of its code is told; NULL: not
    orth_selection_kind selection;
    orth_encode_kind encode;
    double density; ///< topafa: of the code
    bool aux;
} bench_case;

/* A way to encode that this machine does not have, or not for these sizes, is left out. */
static const bench_case cases[] = {
    {"topk", "transpose, k", ORTH_SELECT_TOPK, ORTH_ENCODE_FP32, 0.0, false},
    {"topk", NULL, ORTH_SELECT_TOPK, ORTH_ENCODE_BF16, 0.0, false},
    {"topk", NULL, ORTH_SELECT_TOPK, ORTH_ENCODE_INT8, 0.0, false},
    {"topk, AuxK, 5 % dead", NULL, ORTH_SELECT_TOPK, ORTH_ENCODE_AUTO, 0.0, true},
    {"topafa at 18 %", "transpose, 18 %", ORTH_SELECT_TOPAFA, ORTH_ENCODE_AUTO, 0.18, false},
    {"topafa at 18 %, AuxK", NULL, ORTH_SELECT_TOPAFA, ORTH_ENCODE_AUTO, 0.18, true},
    {"topafa at 50 %", "transpose, 50 %", ORTH_SELECT_TOPAFA, ORTH_ENCODE_AUTO, 0.5, false},
};

/* The step whose sizes are doubled. */
static const bench_case doubled_case = {"topk",           NULL, ORTH_SELECT_TOPK,
                                        ORTH_ENCODE_AUTO, 0.0,  false};

/* The published recipes of configs/gao-topk.yaml and topafa.yaml, as far as they cost time. */
static orth_recipe recipe_of(const bench_case *c, const orth_bench_options *sizes)
{
    bool topafa = c->selection == ORTH_SELECT_TOPAFA;
    orth_aux_variant aux = topafa ? ORTH_AUX_TOPAFA : ORTH_AUX_GAO;
    return (orth_recipe){.seed = SEED,
                         .n_latent = sizes->n_latent,
                         .selection = c->selection,
                         .k = sizes->k,
                         .b_enc = !topafa,
                         .target = ORTH_TARGET_CENTRED,
                         .init = ORTH_INIT_KAIMING,
                         .loss = ORTH_LOSS_MSE,
                         .aux = c->aux ? aux : ORTH_AUX_NONE,
                         .aux_coefficient = 1.0 / 32.0,
                         .dead = ORTH_DEAD_BATCHES,
                         .dead_batches = 5,
                         .afa_coefficient = topafa ? 1.0 / 24.0 : 0.0,
                         .batch = sizes->batch,
                         .lr = RATE,
                         .beta1 = 0.9,
                         .beta2 = 0.999,
                         .eps = 1e-8,
                         .clip = topafa ? 1e5 : 0.0,
                         .decoder = topafa ? ORTH_DECODER_TOPAFA : ORTH_DECODER_GAO};
}

/* ---- tokens and weights ---- */

/* A token: ACTIVE of DIRECTIONS random directions with weights in [1/2, 3/2), and one dimension
 * that is far from zero in all tokens, as language models have it. */
void orth_bench_tokens(int64_t first, int64_t count, int64_t d_model, float *out)
{
    for (int64_t t = 0; t < count; t++) {
        float *x = out + t * d_model;
        uint64_t token = (uint64_t)(first + t);
        memset(x, 0, (size_t)d_model * sizeof *x);
        for (uint64_t a = 0; a < ACTIVE; a++) {
            uint64_t bits = orth_random_bits(SEED, ORTH_RANDOM_TEST, token, a);
            float weight = 0.5f + (float)(bits >> 40) * 0x1p-24f;
            uint32_t state = (uint32_t)(bits % DIRECTIONS) * 2654435761u + 1u;
            for (int64_t j = 0; j < d_model; j++) {
                state = state * 1664525u + 1013904223u;
                x[j] += weight * ((float)(state >> 8) * 0x1p-23f - 1.0f);
            }
        }
        x[d_model / 3] += 20.0f;
    }
}

orth_status orth_bench_model(const orth_grid *grid, const orth_recipe *recipe, int64_t d_model,
                             orth_sae *out)
{
    ORTH_TRY(orth_agree(grid->world, orth_sae_create(grid, recipe, d_model, true, out)));
    return orth_init_random(out, NULL);
}

/* z with P(Z > z) = share, for a standard normal Z. */
static double normal_quantile(double share)
{
    double low = -8.0, high = 8.0;
    for (int i = 0; i < 60; i++) {
        double z = 0.5 * (low + high);
        if (0.5 * erfc(z * sqrt(0.5)) > share)
            low = z;
        else
            high = z;
    }
    return low;
}

/*
 * top-AFA keeps the largest values until their squares make up |x|^2. With the random W_enc of the
 * initialisation (variance 2/n) and unit rows of W_dec a token's pre-activations are normal with
 * variance 2 |x|^2 / n, and the squares of the largest share r of them add up to 2 G(r) |x|^2,
 * G(r) = z phi(z) + r, z the quantile of r. So W_enc times 1 / sqrt(2 G(r)) gives density r; where
 * only a share `alive` of the latents counts, 1 / sqrt(2 alive G(r / alive)). All positive values
 * are a half; for that they are made to fall just short of |x|^2.
 */
static void set_density(double density, double alive, orth_sae *sae)
{
    double share = density / alive, z = normal_quantile(share);
    double tail = exp(-0.5 * z * z) / sqrt(2.0 * acos(-1.0));
    double factor = 1.0 / sqrt(2.0 * alive * (z * tail + share));
    if (share >= 0.5)
        factor *= 0.9;
    for (int64_t i = 0; i < orth_range_size(sae->own) * sae->d_model; i++)
        sae->weights.W_enc[i] *= (float)factor;
}

/* Latents whose values are too small to be selected, but positive for half of the tokens. */
static void make_dead(orth_sae *sae)
{
    for (int64_t i = 0; i < orth_range_size(sae->own); i++) {
        if ((sae->own.begin + i) % DEAD_EVERY)
            continue;
        sae->steps_since_fired[i] = LONG_AGO;
        for (int64_t j = 0; j < sae->d_model; j++)
            sae->weights.W_enc[i * sae->d_model + j] *= 0.1f;
    }
}

/* ---- one step at work ---- */

typedef struct stage {
    const bench_case *which;
    orth_grid const *grid;
    orth_sae sae;
    orth_workspace workspace;
    orth_workspace evaluation; ///< as orthant eval has it
    float *tokens;             ///< the own part of the batch, as it comes from the reader
    int64_t before;            ///< resident bytes before the model was made
} stage;

int64_t orth_bench_resident(void)
{
    long long pages = 0, unused;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file && fscanf(file, "%lld %lld", &unused, &pages) != 2)
        pages = 0;
    if (file)
        fclose(file);
    return (int64_t)pages * sysconf(_SC_PAGESIZE);
}

/* Let the peak of resident memory start again where the system can. */
static void forget_peak(void)
{
#ifdef __GLIBC__
    malloc_trim(0); /* what was freed is not what a step may use without being seen */
#endif
    int file = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (file < 0)
        return;
    if (write(file, "5", 1) != 1)
        orth_log_info("bench: the peak of memory is that of the whole program");
    close(file);
}

static orth_status open_local(const orth_bench_options *sizes, stage *s)
{
    orth_range reads = orth_grid_reads(s->grid, sizes->batch);
    int64_t count = orth_range_size(reads);
    ORTH_TRY(ORTH_ALLOCATE(count * sizes->d_model, "tokens", &s->tokens));
    orth_bench_tokens(reads.begin, count, sizes->d_model, s->tokens);
    return ORTH_OK;
}

static void close_stage(stage *s)
{
    orth_workspace_free(&s->workspace);
    orth_workspace_free(&s->evaluation);
    orth_sae_free(&s->sae);
    orth_free(s->tokens);
}

static orth_status open_stage(const orth_grid *grid, const bench_case *which,
                              const orth_bench_options *sizes, stage *s)
{
    *s = (stage){.which = which, .grid = grid};
    orth_recipe recipe = recipe_of(which, sizes);
    orth_status status = orth_agree(grid->world, open_local(sizes, s));
    forget_peak();
    s->before = orth_bench_resident();
    if (status == ORTH_OK)
        status = orth_bench_model(grid, &recipe, sizes->d_model, &s->sae);
    s->sae.encode = which->encode;
    if (status == ORTH_OK)
        status = orth_workspace_create(&s->sae, sizes->batch, true, &s->workspace);
    if (status == ORTH_OK && which->density > 0.0)
        set_density(which->density, which->aux ? 1.0 - 1.0 / DEAD_EVERY : 1.0, &s->sae);
    if (status == ORTH_OK && which->aux)
        make_dead(&s->sae);
    return status;
}

/* A failure of orth_step may be of one rank alone: the others wait. */
static orth_status run_step(stage *s, orth_phase_timer *timer, double *seconds, double *l0)
{
    bool *valid;
    double since;
    int64_t batch = s->sae.recipe.batch, count = orth_range_size(orth_grid_reads(s->grid, batch));
    orth_step_options options = {.rate = RATE};
    orth_step_report report;
    float *x = orth_workspace_rows(&s->workspace, &s->sae, batch, &valid);
    memcpy(x, s->tokens, (size_t)(count * s->sae.d_model) * sizeof *x);
    memset(valid, 1, (size_t)count * sizeof *valid);
    ORTH_TRY(orth_bench_begin(s->grid->world, &since));
    orth_phase_start(timer);
    orth_status status = orth_step(&s->sae, &s->workspace, &options, timer, &report);
    orth_phase_enter(timer, ORTH_PHASE_OTHER);
    if (status != ORTH_OK && status != ORTH_ERR_NONFINITE)
        return orth_end_job(s->grid->world, status);
    ORTH_TRY(status);
    *l0 = report.l0;
    return orth_bench_end(s->grid->world, since, seconds);
}

/* The same batch evaluated: codes, reconstruction and every figure of `orthant eval`, eps left out.
 * That fixes the weights once for all batches; here they have changed with the step before. */
static orth_status run_evaluation(stage *s, orth_quality_sums *sums, double *seconds)
{
    bool *valid;
    double since;
    orth_workspace *w = &s->evaluation;
    int64_t batch = s->sae.recipe.batch, count = orth_range_size(orth_grid_reads(s->grid, batch));
    float *x = orth_workspace_rows(w, &s->sae, batch, &valid);
    ORTH_TRY(orth_agree(s->grid->world, orth_workspace_fix(&s->sae, w)));
    ORTH_TRY(orth_bench_begin(s->grid->world, &since));
    memcpy(x, s->tokens, (size_t)(count * s->sae.d_model) * sizeof *x);
    memset(valid, 1, (size_t)count * sizeof *valid);
    orth_status status = orth_forward(&s->sae, batch, w, NULL);
    if (status == ORTH_OK)
        status = orth_quality_add(sums, &s->sae, w, 0);
    if (status != ORTH_OK)
        return orth_end_job(s->grid->world, status);
    return orth_bench_end(s->grid->world, since, seconds);
}

/* ---- the steps ---- */

/* Weights and moments read and written by one rank of all that have them, W_enc read by the
 * encoder, W_dec by decoder and gradient, four arrays of the batch written and read, and a code's
 * entries by rows and by columns. */
static double bytes_moved(const orth_grid *grid, const orth_bench_step *step)
{
    double weights = (double)step->n_latent * (double)step->d_model * 4.0;
    double tokens = (double)step->batch * (double)step->d_model * 4.0 * grid->n_shard;
    double entries = step->density * (double)step->n_latent * (double)step->batch;
    return (12.0 + 3.0 * grid->n_group) * weights + 8.0 * tokens + 32.0 * entries;
}

/* The median of each phase over the repetitions, in proportion so that they add up to the step's.
 */
static void median_phases(const orth_phase_timer *timers, int64_t count, double seconds,
                          double *phase)
{
    if (count < 1)
        return;
    double values[count], sum = 0.0;
    for (int p = 0; p < ORTH_PHASE_COUNT; p++) {
        for (int64_t r = 0; r < count; r++)
            values[r] = timers[r].seconds[p];
        phase[p] = orth_bench_median(values, count);
        sum += phase[p];
    }
    for (int p = 0; p < ORTH_PHASE_COUNT && sum > 0.0; p++)
        phase[p] *= seconds / sum;
}

/* Mean over the ranks of the seconds in which a step encodes and selects: one way over the tiles.
 */
static orth_status encoding_seconds(const stage *s, const orth_phase_timer *timer, double *out)
{
    double seconds = timer->seconds[ORTH_PHASE_ENCODE] + timer->seconds[ORTH_PHASE_SELECT];
    ORTH_TRY(orth_sum_f64(&seconds, 1, s->grid->world));
    *out = seconds / s->grid->size;
    return ORTH_OK;
}

/* Steps and evaluations in turn, so that both see the same machine; the peak of memory is that of
 * the step alone. */
static orth_status repeat_both(stage *s, orth_quality_sums *sums, int64_t count, double *times,
                               orth_phase_timer *timers, orth_bench_step *out)
{
    double l0 = 0.0, seconds[count + 1], ratios[count + 1], encoding;
    orth_phase_timer warm;
    ORTH_TRY(run_step(s, &warm, times, &l0));
    out->peak_memory = orth_peak_memory();
    ORTH_TRY(orth_workspace_create(&s->sae, s->sae.recipe.batch, false, &s->evaluation));
    ORTH_TRY(run_evaluation(s, sums, seconds));
    for (int64_t r = 0; r < count; r++) {
        ORTH_TRY(run_step(s, timers + r, times + r, &l0));
        ORTH_TRY(run_evaluation(s, sums, seconds + r));
        ORTH_TRY(encoding_seconds(s, timers + r, &encoding));
        ratios[r] = encoding / seconds[r];
    }
    out->evaluation_seconds = orth_bench_median(seconds, count);
    out->evaluation_of_encode = orth_bench_median(ratios, count);
    out->seconds = orth_bench_median(times, count);
    out->density = l0 / (double)s->sae.recipe.n_latent;
    median_phases(timers, count, out->seconds, out->phase);
    ORTH_TRY(orth_sum_f64(out->phase, ORTH_PHASE_COUNT, s->grid->world));
    for (int p = 0; p < ORTH_PHASE_COUNT; p++)
        out->phase[p] /= s->grid->size;
    return ORTH_OK;
}

static orth_status repeat(stage *s, int64_t count, double *times, orth_phase_timer *timers,
                          orth_bench_step *out)
{
    orth_quality_sums *sums = NULL;
    int64_t batch = s->sae.recipe.batch;
    orth_status status = orth_agree(
        s->grid->world, orth_quality_begin(&s->sae, batch * (count + 1), batch, NAN, &sums));
    if (status == ORTH_OK)
        status = repeat_both(s, sums, count, times, timers, out);
    orth_quality_free(sums);
    return status;
}

/* What the encoder of the workspace does. */
static orth_encode_kind encode_in_use(const stage *s)
{
    const orth_screen *screen = s->workspace.encoder.screen;
    if (!screen)
        return ORTH_ENCODE_FP32;
    return strcmp(screen->name, "int8") == 0 ? ORTH_ENCODE_INT8 : ORTH_ENCODE_BF16;
}

static bool is_new(const stage *s)
{
    return s->which->encode == ORTH_ENCODE_AUTO || s->which->encode == encode_in_use(s);
}

/* The code of the last step by latents: 8 bytes of each entry read and written. */
static orth_status time_transposition(stage *s, orth_bench_report *report)
{
    int64_t count = report->options.repetitions, n_own = orth_range_size(s->sae.own);
    double since, times[count], bytes = 16.0 * (double)orth_code_entries(&s->workspace.code);
    orth_workspace *w = &s->workspace;
    if (!s->which->transposed || report->n_kernel == ORTH_BENCH_KERNELS)
        return ORTH_OK;
    for (int64_t r = 0; r < count; r++) {
        ORTH_TRY(orth_bench_begin(s->grid->world, &since));
        ORTH_TRY(orth_agree(s->grid->world, orth_code_transpose(&w->code, n_own, &w->columns)));
        ORTH_TRY(orth_bench_end(s->grid->world, since, times + r));
    }
    ORTH_TRY(orth_sum_f64(&bytes, 1, s->grid->world));
    double rate = bytes / orth_bench_median(times, count);
    report->kernels[report->n_kernel++] = (orth_bench_kernel){
        s->which->transposed, rate, true, rate / report->limit[ORTH_TRIAL_MEMORY]};
    return ORTH_OK;
}

/* *there tells whether this machine has what the case asks for. */
static orth_status measure(const orth_grid *grid, const bench_case *which, int64_t alone,
                           orth_bench_report *report, orth_bench_step *out, bool *there)
{
    stage s;
    const orth_bench_options *sizes = &report->options;
    double times[sizes->repetitions];
    orth_phase_timer timers[sizes->repetitions];
    *out = (orth_bench_step){.selection = which->selection,
                             .batch = sizes->batch,
                             .d_model = sizes->d_model,
                             .n_latent = sizes->n_latent};
    snprintf(out->name, sizeof out->name, "%s", which->name);
    orth_status status = open_stage(grid, which, sizes, &s);
    out->encode = encode_in_use(&s);
    *there = status == ORTH_OK && is_new(&s);
    if (*there)
        status = repeat(&s, sizes->repetitions, times, timers, out);
    int64_t peak = out->peak_memory - s.before + alone;
    if (*there && status == ORTH_OK)
        status = time_transposition(&s, report);
    close_stage(&s);
    if (status != ORTH_OK || !*there)
        return status;
    ORTH_TRY(orth_allreduce(&peak, 1, MPI_INT64_T, MPI_MAX, grid->world));
    out->peak_memory = peak;
    out->tokens_per_s = (double)sizes->batch / out->seconds;
    out->bytes_moved = bytes_moved(grid, out);
    return ORTH_OK;
}

orth_status orth_bench_steps(const orth_grid *grid, int64_t alone, orth_bench_report *report)
{
    double before, after;
    ORTH_TRY(orth_bench_yardstick(grid->world, report, &before));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        orth_bench_step *step = &report->steps[report->n_step];
        orth_log_info("bench: step, %s, %s", cases[i].name, orth_encode_names[cases[i].encode]);
        bool there;
        ORTH_TRY(measure(grid, cases + i, alone, report, step, &there));
        if (!there)
            continue;
        ORTH_TRY(orth_bench_yardstick(grid->world, report, &after));
        step->in_S = step->seconds / (0.5 * (before + after));
        before = after;
        report->n_step++;
    }
    return ORTH_OK;
}

/* ---- doubling ---- */

/* Base and doubled step in turn, so that both see the same machine. */
static orth_status double_one(const orth_grid *grid, const orth_bench_options *base,
                              const orth_bench_options *doubled, orth_bench_doubling *out)
{
    stage s[2];
    int64_t count = base->repetitions;
    double times[2][count], ratios[count], l0;
    orth_phase_timer timer;
    orth_status status = open_stage(grid, &doubled_case, base, &s[0]);
    orth_status other = open_stage(grid, &doubled_case, doubled, &s[1]);
    if (status == ORTH_OK)
        status = other;
    for (int64_t r = -1; r < count && status == ORTH_OK; r++) {
        for (int i = 0; i < 2 && status == ORTH_OK; i++)
            status = run_step(&s[i], &timer, r < 0 ? &l0 : &times[i][r], &l0);
        if (r >= 0)
            ratios[r] = times[1][r] / times[0][r];
    }
    close_stage(&s[1]);
    close_stage(&s[0]);
    ORTH_TRY(status);
    out->ratio = orth_bench_median(ratios, count);
    out->base_seconds = orth_bench_median(times[0], count);
    out->seconds = orth_bench_median(times[1], count);
    return ORTH_OK;
}

orth_status orth_bench_series(const orth_grid *grid, orth_bench_report *report)
{
    static const char *const names[] = {"n_latent", "batch", "d_model"};
    for (int i = 0; i < 3; i++) {
        orth_bench_options doubled = report->options;
        int64_t *const sizes[] = {&doubled.n_latent, &doubled.batch, &doubled.d_model};
        *sizes[i] *= 2;
        orth_log_info("bench: twice the %s", names[i]);
        orth_bench_doubling *entry = &report->series[report->n_series];
        *entry = (orth_bench_doubling){.name = names[i],
                                       .batch = doubled.batch,
                                       .d_model = doubled.d_model,
                                       .n_latent = doubled.n_latent};
        ORTH_TRY(double_one(grid, &report->options, &doubled, entry));
        report->n_series++;
    }
    return ORTH_OK;
}
