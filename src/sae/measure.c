#include <orthant/sae/measure.h>

#include <orthant/kern/norm.h>
#include <orthant/kern/table.h>

#include <math.h>
#include <omp.h>
#include <string.h>

/* Interleaved partial sums, added in a fixed order, as in kern/passes.h; columns of a strip. */
enum { LANES = 8, STRIP = 32 };

void orth_measure_norms(const float *rows, int64_t n_row, int64_t d, double *norm)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n_row; i++)
        norm[i] = sqrt(orth_dot_f64(rows + i * d, rows + i * d, d));
}

static double fold(const double *lane)
{
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

void orth_measure_squares(const float *rows, int64_t n_row, int64_t d, const double *centre,
                          double *squares)
{
    const orth_passes *passes = orth_kernels_get()->passes;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n_row; i++)
        squares[i] = centre ? passes->distance(rows + i * d, centre, d)
                            : passes->dot(rows + i * d, rows + i * d, d);
}

void orth_measure_difference(const float *x, int64_t n_row, int64_t d, float *rows, double *squares)
{
    const orth_passes *passes = orth_kernels_get()->passes;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n_row; i++)
        squares[i] = passes->subtract(x + i * d, rows + i * d, d);
}

void orth_measure_sum(const float *x, int64_t n_row, int64_t d, float *rows, double *squares)
{
    const orth_passes *passes = orth_kernels_get()->passes;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n_row; i++)
        squares[i] = passes->add(x + i * d, rows + i * d, d);
}

void orth_measure_code(const orth_code *code, int64_t n_latent, const double *decoder_norm,
                       uint32_t *counts, double *out, int64_t *fired)
{
    const orth_passes *passes = orth_kernels_get()->passes;
#pragma omp parallel
    {
        int threads = omp_get_num_threads();
        uint32_t *mine = counts + omp_get_thread_num() * n_latent;
        memset(mine, 0, (size_t)n_latent * sizeof *mine);
#pragma omp for schedule(dynamic, 64)
        for (int64_t t = 0; t < code->n_token; t++) {
            int64_t first = code->start[t], n = code->start[t + 1] - first;
            const uint32_t *latent = code->latent + first;
            double *measures = out + t * ORTH_CODE_MEASURES;
            passes->entries(n, latent, code->value + first, decoder_norm, measures);
            measures[ORTH_CODE_COUNT] = (double)n;
            for (int64_t e = 0; e < n; e++)
                mine[latent[e]]++;
        }
#pragma omp for schedule(static)
        for (int64_t i = 0; i < n_latent; i++)
            for (int p = 0; p < threads; p++)
                fired[i] += counts[p * n_latent + i];
    }
}

/* Threads share the latents, and find theirs in each token's ascending entries. */
void orth_measure_fired(const orth_code *code, int64_t n_latent, int64_t *fired)
{
    int parts = omp_get_max_threads();
#pragma omp parallel for schedule(static, 1)
    for (int p = 0; p < parts; p++) {
        orth_range own = orth_partition(n_latent, parts, p);
        for (int64_t t = 0; t < code->n_token; t++) {
            int64_t end = code->start[t + 1];
            int64_t e = orth_code_first(code, code->start[t], end, own.begin);
            for (; e < end && code->latent[e] < own.end; e++)
                fired[code->latent[e]]++;
        }
    }
}

static void measure_row(const float *centred, const float *residual, const float *b_dec, int64_t d,
                        double *out)
{
    double lanes[ORTH_ROW_MEASURES][LANES] = {{0.0}};
    for (int64_t first = 0; first < d; first += LANES) {
        int64_t width = d - first < LANES ? d - first : LANES;
        for (int64_t l = 0; l < width; l++) {
            double r = (double)residual[first + l];
            double x = (double)centred[first + l] + (double)b_dec[first + l], output = x + r;
            lanes[ORTH_ROW_RESIDUAL][l] += r * r;
            lanes[ORTH_ROW_OUTPUT][l] += output * output;
            lanes[ORTH_ROW_INNER][l] += x * output;
        }
    }
    for (int i = 0; i < ORTH_ROW_MEASURES; i++)
        out[i] = fold(lanes[i]);
}

void orth_measure_rows(const orth_batch *batch, orth_range tokens, const float *residual,
                       const float *b_dec, int64_t d, double *out)
{
#pragma omp parallel for schedule(static)
    for (int64_t t = tokens.begin; t < tokens.end; t++)
        measure_row(batch->x + t * d, residual + t * d, b_dec, d,
                    out + (t - tokens.begin) * ORTH_ROW_MEASURES);
}

void orth_measure_columns(const orth_batch *batch, orth_range tokens, int64_t d,
                          const double *pivot, double *sums, double *squares)
{
#pragma omp parallel for schedule(static)
    for (int64_t j = 0; j < d; j += STRIP) {
        double sum[STRIP] = {0.0}, square[STRIP] = {0.0};
        int64_t width = d - j < STRIP ? d - j : STRIP;
        for (int64_t t = tokens.begin; t < tokens.end; t++) {
            const float *x = batch->x + t * d + j;
            for (int64_t l = 0; batch->valid[t] && l < width; l++) {
                double shifted = (double)x[l] - pivot[j + l];
                sum[l] += shifted;
                square[l] += shifted * shifted;
            }
        }
        for (int64_t l = 0; l < width; l++) {
            sums[j + l] += sum[l];
            squares[j + l] += square[l];
        }
    }
}
