#include <orthant/eval/quality.h>

#include <orthant/base/memory.h>
#include <orthant/kern/norm.h>
#include <orthant/kern/threads.h>
#include <orthant/par/collective.h>
#include <orthant/sae/measure.h>

#include <math.h>
#include <string.h>

/* Sums over tokens. */
enum {
    SUM_RESIDUAL,   ///< |r|^2
    SUM_NORMALISED, ///< |r|^2 / |z|^2
    SUM_COSINE,
    SUM_AFA,
    SUM_ELBO,
    SUM_COUNT
};

/* The L0 and eLBO histograms. */
enum { L0_BINS = 64, ELBO_LEAST = -12, ELBO_MOST = 2, BINS_PER_DECADE = 4 };

static const double CODE_BITS = 7.0, RARE = 1e-5;

struct orth_quality_sums {
    double sums[SUM_COUNT];
    int64_t tokens;
    int64_t nonzero; ///< tokens with |z| > 0
    int64_t elbo_undefined;
    double b_dec_square;
    double b_dec_norm;
    double *decoder_norm;   ///< (n_own)
    double *code_measures;  ///< (tokens of the group, ORTH_CODE_MEASURES)
    double *row_measures;   ///< (tokens that this rank judges, ORTH_ROW_MEASURES)
    double *pivot;          ///< (d) the first batch's mean: variances are taken about it
    double *column_sums;    ///< (d) of z - b_dec - pivot
    double *column_squares; ///< (d)
    bool has_pivot;
    int64_t *fired;   ///< (n_own) tokens on which each own latent fired
    uint32_t *counts; ///< (threads, n_own) scratch
    orth_counts l0;
    orth_values elbo;
    orth_histogram elbo_histogram;
    orth_zf zf;
    orth_zf_counts zf_counts;
    orth_quasi quasi;
};

static orth_status create_arrays(const orth_sae *sae, int64_t rows, int64_t batch,
                                 orth_quality_sums *s)
{
    int64_t d = sae->d_model, n_own = orth_range_size(sae->own);
    int64_t group = orth_partition_largest(batch, sae->grid->n_group);
    int64_t judged = orth_partition_largest(group, sae->grid->n_shard);
    int64_t batches = orth_partition_largest(rows, batch);
    ORTH_TRY(ORTH_ALLOCATE(n_own, "decoder norms", &s->decoder_norm));
    ORTH_TRY(ORTH_ALLOCATE(group * ORTH_CODE_MEASURES, "measures", &s->code_measures));
    ORTH_TRY(ORTH_ALLOCATE(judged * ORTH_ROW_MEASURES, "measures", &s->row_measures));
    ORTH_TRY(ORTH_ALLOCATE(d, "column means", &s->pivot));
    ORTH_TRY(ORTH_ALLOCATE(d, "column sums", &s->column_sums));
    ORTH_TRY(ORTH_ALLOCATE(d, "column squares", &s->column_squares));
    ORTH_TRY(ORTH_ALLOCATE(n_own, "firing counts", &s->fired));
    ORTH_TRY(ORTH_ALLOCATE(orth_threads_count() * n_own, "firing counts", &s->counts));
    ORTH_TRY(orth_values_create(judged * batches, rows <= ORTH_QUALITY_EXACT, &s->elbo));
    ORTH_TRY(orth_histogram_create(ELBO_LEAST, 1.0 / BINS_PER_DECADE,
                                   (int64_t)(ELBO_MOST - ELBO_LEAST) * BINS_PER_DECADE,
                                   &s->elbo_histogram));
    return orth_zf_create(rows, &s->zf);
}

orth_status orth_quality_begin(const orth_sae *sae, int64_t rows, int64_t batch, double eps,
                               orth_quality_sums **out)
{
    orth_quality_sums *s = NULL;
    ORTH_TRY(ORTH_ALLOCATE(1, "evaluation", &s));
    orth_status status = create_arrays(sae, rows, batch, s);
    if (status != ORTH_OK) {
        orth_quality_free(s);
        return status;
    }
    orth_measure_norms(sae->weights.W_dec, orth_range_size(sae->own), sae->d_model,
                       s->decoder_norm);
    s->b_dec_square = orth_dot_f64(sae->weights.b_dec, sae->weights.b_dec, sae->d_model);
    s->b_dec_norm = sqrt(s->b_dec_square);
    s->quasi = orth_quasi_begin(eps);
    *out = s;
    return ORTH_OK;
}

/* The first batch's mean becomes the pivot: sums of squares about it lose nothing, however far the
 * tokens are from 0. */
static orth_status add_columns(orth_quality_sums *s, const orth_sae *sae, const orth_batch *batch,
                               orth_range part)
{
    int64_t d = sae->d_model;
    if (!s->has_pivot && batch->n_valid > 0) {
        orth_measure_columns(batch, part, d, s->pivot, s->column_sums, s->column_squares);
        ORTH_TRY(orth_sum_f64(s->column_sums, d, sae->grid->world));
        for (int64_t j = 0; j < d; j++)
            s->pivot[j] = s->column_sums[j] / (double)batch->n_valid;
        memset(s->column_sums, 0, (size_t)d * sizeof *s->column_sums);
        memset(s->column_squares, 0, (size_t)d * sizeof *s->column_squares);
        s->has_pivot = true;
    }
    orth_measure_columns(batch, part, d, s->pivot, s->column_sums, s->column_squares);
    return ORTH_OK;
}

/* eLBO of a token: a tight dictionary and a fitting code make it small. */
static void add_elbo(orth_quality_sums *s, int64_t n_latent, double z, double f_square)
{
    if (!(f_square > 0.0) || n_latent < 2) {
        s->elbo_undefined++;
        return;
    }
    double elbo = fabs(z * z - f_square) / ((double)(n_latent - 1) * f_square);
    s->sums[SUM_ELBO] += elbo;
    orth_values_add(&s->elbo, elbo);
    orth_histogram_add(&s->elbo_histogram, elbo > 0.0 ? log10(elbo) : (double)ELBO_LEAST);
}

/* One token: |z|, its row measures and its code measures. */
static orth_status add_token(orth_quality_sums *s, int64_t n_latent, int64_t row, double z,
                             const double *measures, const double *code)
{
    double residual = measures[ORTH_ROW_RESIDUAL], output = measures[ORTH_ROW_OUTPUT];
    double excess = sqrt(code[ORTH_CODE_SQUARE]) - z;
    double f_square = code[ORTH_CODE_DECODED] + s->b_dec_square;
    s->tokens++;
    s->sums[SUM_RESIDUAL] += residual;
    s->sums[SUM_AFA] += excess * excess;
    if (z > 0.0) {
        s->nonzero++;
        s->sums[SUM_NORMALISED] += residual / (z * z);
        if (output > 0.0)
            s->sums[SUM_COSINE] += measures[ORTH_ROW_INNER] / (z * sqrt(output));
    }
    add_elbo(s, n_latent, z, f_square);
    orth_zf_count(&s->zf_counts, z * z, f_square);
    orth_quasi_add(&s->quasi, n_latent, z * z, output, f_square,
                   code[ORTH_CODE_DECODED_SUM] + s->b_dec_norm);
    orth_zf_add(&s->zf, row, z, sqrt(f_square));
    return orth_counts_add(&s->l0, (int64_t)code[ORTH_CODE_COUNT]);
}

orth_status orth_quality_add(orth_quality_sums *s, const orth_sae *sae, const orth_workspace *w,
                             int64_t first_row)
{
    const orth_grid *grid = sae->grid;
    const orth_batch *batch = &w->batch;
    orth_range part = orth_partition(batch->n_token, grid->n_shard, grid->shard_index);
    orth_measure_code(&w->code, orth_range_size(sae->own), s->decoder_norm, s->counts,
                      s->code_measures, s->fired);
    ORTH_TRY(orth_sum_f64(s->code_measures, batch->n_token * ORTH_CODE_MEASURES, grid->group));
    ORTH_TRY(add_columns(s, sae, batch, part));
    orth_measure_rows(batch, part, w->residual, sae->weights.b_dec, sae->d_model, s->row_measures);
    for (int64_t t = part.begin; t < part.end; t++)
        if (batch->valid[t])
            ORTH_TRY(add_token(s, sae->recipe.n_latent, first_row + batch->first_token + t,
                               batch->norm[t],
                               s->row_measures + (t - part.begin) * ORTH_ROW_MEASURES,
                               s->code_measures + t * ORTH_CODE_MEASURES));
    return ORTH_OK;
}

/* ---- the figures ---- */

static double quotient(double a, double b)
{
    return b > 0.0 ? a / b : NAN;
}

static orth_status finish_sums(orth_quality_sums *s, const orth_sae *sae, orth_quality *out)
{
    int64_t counts[] = {s->tokens, s->nonzero, s->elbo_undefined}, d = sae->d_model;
    MPI_Comm world = sae->grid->world;
    ORTH_TRY(orth_allreduce(counts, 3, MPI_INT64_T, MPI_SUM, world));
    ORTH_TRY(orth_sum_f64(s->sums, SUM_COUNT, world));
    ORTH_TRY(orth_sum_f64(s->column_sums, d, world));
    ORTH_TRY(orth_sum_f64(s->column_squares, d, world));
    if (counts[0] == 0)
        return orth_fail(ORTH_ERR_DATA, "evaluation: every row holds NaN or Inf; clean the data");
    double tokens = (double)counts[0], variance = 0.0;
    for (int64_t j = 0; j < d; j++)
        variance += s->column_squares[j] - s->column_sums[j] * s->column_sums[j] / tokens;
    out->tokens = counts[0];
    out->elbo_undefined = counts[2];
    out->mse = s->sums[SUM_RESIDUAL] / (tokens * (double)d);
    out->nmse = quotient(s->sums[SUM_NORMALISED], (double)counts[1]);
    out->fvu = quotient(s->sums[SUM_RESIDUAL], variance);
    out->cosine = quotient(s->sums[SUM_COSINE], (double)counts[1]);
    out->afa = s->sums[SUM_AFA] / tokens;
    out->elbo_mean = quotient(s->sums[SUM_ELBO], tokens - (double)counts[2]);
    return ORTH_OK;
}

static orth_status finish_l0(orth_quality_sums *s, const orth_sae *sae, orth_quality *out)
{
    ORTH_TRY(orth_counts_merge(&s->l0, sae->grid->world));
    int64_t max = s->l0.size - 1, width = max / L0_BINS + 1, total = 0;
    ORTH_TRY(orth_histogram_create(0.0, (double)width, max / width + 1, &out->l0_histogram));
    for (int64_t i = 0; i <= max; i++) {
        out->l0_histogram.counts[i / width] += s->l0.count[i];
        total += i * s->l0.count[i];
    }
    out->l0 = (double)total / (double)out->tokens;
    out->l0_p5 = orth_counts_quantile(&s->l0, 0.05);
    out->l0_p50 = orth_counts_quantile(&s->l0, 0.5);
    out->l0_p95 = orth_counts_quantile(&s->l0, 0.95);
    out->l0_max = max;
    out->description_length = out->l0 * (CODE_BITS + log2((double)sae->recipe.n_latent));
    return ORTH_OK;
}

/* Peers add what they counted of the same latents; then each shard describes its own. */
static orth_status finish_frequency(orth_quality_sums *s, const orth_sae *sae, orth_quality *out)
{
    int64_t n_own = orth_range_size(sae->own), latents[2] = {0, 0};
    double least = floor(-log10((double)out->tokens));
    ORTH_TRY(orth_histogram_create(least, 1.0 / BINS_PER_DECADE,
                                   (int64_t)(-least) * BINS_PER_DECADE + 1, &out->frequency));
    ORTH_TRY(orth_allreduce(s->fired, n_own, MPI_INT64_T, MPI_SUM, sae->grid->peers));
    for (int64_t i = 0; i < n_own; i++) {
        double share = (double)s->fired[i] / (double)out->tokens;
        latents[0] += s->fired[i] == 0;
        latents[1] += share < RARE;
        if (s->fired[i] > 0)
            orth_histogram_add(&out->frequency, log10(share));
    }
    ORTH_TRY(orth_allreduce(out->frequency.counts, out->frequency.bins, MPI_INT64_T, MPI_SUM,
                            sae->grid->group));
    ORTH_TRY(orth_allreduce(latents, 2, MPI_INT64_T, MPI_SUM, sae->grid->group));
    out->dead = latents[0];
    out->rare = latents[1];
    return ORTH_OK;
}

static orth_status finish_elbo(orth_quality_sums *s, const orth_sae *sae, orth_quality *out)
{
    static const double shares[] = {0.25, 0.5, 0.75};
    MPI_Comm world = sae->grid->world;
    double quantiles[3];
    ORTH_TRY(orth_values_quantiles(&s->elbo, shares, 3, world, quantiles));
    out->elbo_q25 = quantiles[0];
    out->elbo_median = quantiles[1];
    out->elbo_q75 = quantiles[2];
    ORTH_TRY(orth_allreduce(s->elbo_histogram.counts, s->elbo_histogram.bins, MPI_INT64_T, MPI_SUM,
                            world));
    ORTH_TRY(orth_zf_finish(&s->zf, world));
    out->elbo_histogram = s->elbo_histogram;
    out->zf = s->zf;
    s->elbo_histogram = (orth_histogram){0};
    s->zf = (orth_zf){0};
    return ORTH_OK;
}

static orth_status finish_norms(orth_quality_sums *s, const orth_sae *sae, orth_quality *out)
{
    orth_zf_counts *c = &s->zf_counts;
    ORTH_TRY(
        orth_allreduce(c, sizeof *c / sizeof(int64_t), MPI_INT64_T, MPI_SUM, sae->grid->world));
    ORTH_TRY(orth_quasi_finish(&s->quasi, sae->grid->world));
    out->zf_counts = *c;
    out->quasi = s->quasi;
    return ORTH_OK;
}

static orth_status finish_all(orth_quality_sums *s, const orth_sae *sae, orth_quality *out)
{
    ORTH_TRY(finish_sums(s, sae, out));
    ORTH_TRY(finish_l0(s, sae, out));
    ORTH_TRY(finish_frequency(s, sae, out));
    ORTH_TRY(finish_norms(s, sae, out));
    return finish_elbo(s, sae, out);
}

orth_status orth_quality_finish(orth_quality_sums *s, const orth_sae *sae, orth_quality *out)
{
    orth_quality quality = {.n_latent = sae->recipe.n_latent, .d_model = sae->d_model};
    orth_status status = finish_all(s, sae, &quality);
    if (status == ORTH_OK)
        *out = quality;
    else
        orth_quality_clear(&quality);
    return status;
}

void orth_quality_free(orth_quality_sums *s)
{
    if (!s)
        return;
    void *blocks[] = {s->decoder_norm, s->code_measures,  s->row_measures, s->pivot,
                      s->column_sums,  s->column_squares, s->fired,        s->counts};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        orth_free(blocks[i]);
    orth_counts_free(&s->l0);
    orth_values_free(&s->elbo);
    orth_histogram_free(&s->elbo_histogram);
    orth_zf_free(&s->zf);
    orth_free(s);
}

void orth_quality_clear(orth_quality *quality)
{
    orth_histogram_free(&quality->l0_histogram);
    orth_histogram_free(&quality->frequency);
    orth_histogram_free(&quality->elbo_histogram);
    orth_zf_free(&quality->zf);
    memset(quality, 0, sizeof *quality);
}
