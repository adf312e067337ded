#include <orthant/sae/init.h>

#include <orthant/base/memory.h>
#include <orthant/base/random.h>
#include <orthant/kern/norm.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/par/end_job.h>
#include <orthant/sae/step.h>

#include <math.h>
#include <string.h>

/* Gao et al.'s rescaling of W_enc looks at this many random unit vectors. */
enum { PROBES = 256 };

void orth_init_decoder(orth_sae *sae)
{
    int64_t d = sae->d_model;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < orth_range_size(sae->own); i++) {
        const float *from = sae->weights.W_enc + i * d;
        double square = orth_dot_f64(from, from, d);
        double factor = square > 0.0 ? 1.0 / sqrt(square) : 0.0;
        for (int64_t j = 0; j < d; j++)
            sae->weights.W_dec[i * d + j] = (float)((double)from[j] * factor);
    }
}

static void uniform_rows(orth_sae *sae, double bound)
{
    int64_t d = sae->d_model;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < orth_range_size(sae->own); i++)
        for (int64_t j = 0; j < d; j++) {
            double u = orth_random_uniform((uint64_t)sae->recipe.seed, ORTH_RANDOM_WEIGHTS,
                                           (uint64_t)(sae->own.begin + i), (uint64_t)j);
            sae->weights.W_enc[i * d + j] = (float)((2.0 * u - 1.0) * bound);
        }
    orth_init_decoder(sae);
}

static orth_status init_kaiming(orth_sae *sae, const orth_sample *sample)
{
    (void)sample;
    uniform_rows(sae, sqrt(6.0 / (double)sae->recipe.n_latent));
    return ORTH_OK;
}

/* Input u + b_dec for a random unit vector u. */
static void probe_row(const orth_sae *sae, int64_t probe, float *x)
{
    int64_t d = sae->d_model;
    double square = 0.0;
    for (int64_t j = 0; j < d; j++) {
        x[j] = (float)orth_random_normal((uint64_t)sae->recipe.seed, ORTH_RANDOM_PROBES,
                                         (uint64_t)probe, (uint64_t)j);
        square += (double)x[j] * (double)x[j];
    }
    for (int64_t j = 0; j < d; j++)
        x[j] = (float)((double)x[j] / sqrt(square)) + sae->weights.b_dec[j];
}

/* |W_dec^T f| of each own token, summed over the shards in fixed point: exact in any order. Values
 * and rows are below one, so that 2^44 leaves room for 2^18 entries. */
static orth_status reconstruction_norms(const orth_sae *sae, const orth_code *code, int64_t *sums,
                                        double *norms)
{
    int64_t d = sae->d_model;
    memset(sums, 0, (size_t)(code->n_token * d) * sizeof *sums);
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < code->n_token; t++)
        for (int64_t e = code->start[t]; e < code->start[t + 1]; e++) {
            const float *row = sae->weights.W_dec + (int64_t)code->latent[e] * d;
            for (int64_t j = 0; j < d; j++)
                sums[t * d + j] += llrint((double)code->value[e] * (double)row[j] * 0x1p44);
        }
    ORTH_TRY(orth_allreduce(sums, code->n_token * d, MPI_INT64_T, MPI_SUM, sae->grid->group));
    for (int64_t t = 0; t < code->n_token; t++) {
        double square = 0.0;
        for (int64_t j = 0; j < d; j++)
            square += ((double)sums[t * d + j] * 0x1p-44) * ((double)sums[t * d + j] * 0x1p-44);
        norms[t] = sqrt(square);
    }
    return ORTH_OK;
}

static orth_status measure_probes(const orth_sae *sae, orth_workspace *w, int64_t *sums,
                                  double *mean)
{
    bool *valid;
    double norms[PROBES] = {0.0};
    orth_range reads = orth_grid_reads(sae->grid, PROBES);
    float *x = orth_workspace_rows(w, sae, PROBES, &valid);
    for (int64_t i = 0; i < orth_range_size(reads); i++) {
        probe_row(sae, reads.begin + i, x + i * sae->d_model);
        valid[i] = true;
    }
    ORTH_TRY(orth_forward(sae, PROBES, w, NULL));
    ORTH_TRY(reconstruction_norms(sae, &w->code, sums, norms + w->batch.first_token));
    /* Every token group fills its part, the others add zero. */
    ORTH_TRY(orth_allreduce(norms, PROBES, MPI_DOUBLE, MPI_SUM, sae->grid->peers));
    *mean = 0.0;
    for (int i = 0; i < PROBES; i++)
        *mean += norms[i] / PROBES;
    return ORTH_OK;
}

/* Divide W_enc by the mean norm of the reconstructions of unit vectors. */
static orth_status rescale_encoder(orth_sae *sae)
{
    orth_sae probed = *sae;
    orth_workspace workspace;
    int64_t *sums = NULL;
    double mean = 0.0;
    probed.recipe.selection = ORTH_SELECT_TOPK;
    probed.recipe.multi_k = 0;
    if (probed.recipe.k > probed.recipe.n_latent)
        probed.recipe.k = probed.recipe.n_latent;
    ORTH_TRY(orth_workspace_create(&probed, PROBES, false, &workspace));
    orth_status status =
        orth_agree(sae->grid->world, ORTH_ALLOCATE(PROBES * sae->d_model, "initialisation", &sums));
    if (status == ORTH_OK) {
        status = measure_probes(&probed, &workspace, sums, &mean);
        if (status != ORTH_OK)
            orth_end_job(sae->grid->world, status);
    }
    for (int64_t i = 0;
         status == ORTH_OK && mean > 0.0 && i < orth_range_size(sae->own) * sae->d_model; i++)
        sae->weights.W_enc[i] = (float)((double)sae->weights.W_enc[i] / mean);
    orth_free(sums);
    orth_workspace_free(&workspace);
    return status;
}

static orth_status init_gao(orth_sae *sae, const orth_sample *sample)
{
    double *median = NULL;
    uniform_rows(sae, 1.0 / sqrt((double)sae->d_model));
    orth_status status =
        orth_agree(sae->grid->world, ORTH_ALLOCATE(sae->d_model, "geometric median", &median));
    if (status == ORTH_OK)
        status = orth_sample_median(sample, median);
    for (int64_t j = 0; status == ORTH_OK && j < sae->d_model; j++)
        sae->weights.b_dec[j] = (float)median[j];
    orth_free(median);
    return status == ORTH_OK ? rescale_encoder(sae) : status;
}

orth_status orth_init_random(orth_sae *sae, const orth_sample *sample)
{
    static orth_status (*const table[])(orth_sae *, const orth_sample *) = {
        [ORTH_INIT_GAO] = init_gao,
        [ORTH_INIT_KAIMING] = init_kaiming,
    };
    return table[sae->recipe.init](sae, sample);
}

static orth_status sample_variance(const orth_sample *sample, double *variance)
{
    double *mean = NULL;
    orth_status status =
        orth_agree(sample->comm, ORTH_ALLOCATE(sample->d_model, "sample mean", &mean));
    if (status == ORTH_OK)
        status = orth_sample_mean(sample, mean);
    if (status == ORTH_OK)
        status = orth_sample_mean_square(sample, mean, variance);
    if (status == ORTH_OK)
        *variance /= (double)sample->d_model;
    orth_free(mean);
    return status;
}

orth_status orth_init_scales(orth_sae *sae, orth_sample *sample)
{
    double square = 0.0, variance = 0.0;
    if (sae->recipe.input == ORTH_INPUT_SCALE) {
        ORTH_TRY(orth_sample_mean_square(sample, NULL, &square));
        sae->input_scale = square > 0.0 ? sqrt((double)sae->d_model / square) : 1.0;
        orth_input_normalise(ORTH_INPUT_SCALE, sae->input_scale, orth_range_size(sample->own),
                             sample->d_model, sample->x);
    }
    if (sae->recipe.loss != ORTH_LOSS_MSE_SCALED)
        return ORTH_OK;
    sae->mse_scale = sae->recipe.mse_scale;
    if (sae->mse_scale == 0.0) {
        ORTH_TRY(sample_variance(sample, &variance));
        sae->mse_scale = variance > 0.0 ? 1.0 / variance : 1.0;
    }
    return ORTH_OK;
}
