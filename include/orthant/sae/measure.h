#ifndef ORTHANT_SAE_MEASURE_H
#define ORTHANT_SAE_MEASURE_H

#include <orthant/sae/batch.h>
#include <orthant/sae/code.h>

#include <stdint.h>

/**
 * Sums over codes and rows that evaluation is made of. All in double, in an order that does not
 * depend on the number of threads. Nothing here is collective or fails.
 */

/** norm[i] = |row i| of rows (n_row, d). */
void orth_measure_norms(const float *rows, int64_t n_row, int64_t d, double *norm);

/** squares[i] = |row i - centre|^2 of rows (n_row, d); centre (d) or NULL for 0. */
void orth_measure_squares(const float *rows, int64_t n_row, int64_t d, const double *centre,
                          double *squares);

/** rows (n_row, d) become rows - x, or rows + x; squares[i] = |row i|^2 of the result. */
void orth_measure_difference(const float *x, int64_t n_row, int64_t d, float *rows,
                             double *squares);
void orth_measure_sum(const float *x, int64_t n_row, int64_t d, float *rows, double *squares);

/** What orth_measure_code gives of a token. */
enum {
    ORTH_CODE_SQUARE,
    ORTH_CODE_DECODED,
    ORTH_CODE_DECODED_SUM,
    ORTH_CODE_COUNT,
    ORTH_CODE_MEASURES
};

/** out (n_token, ORTH_CODE_MEASURES), over the entries of each token: sum f_i^2,
 * sum (f_i |W_dec,i|)^2 and sum f_i |W_dec,i| with decoder_norm (own latents), number of entries.
 * fired[i] += tokens that have an entry of own latent i. `counts` is scratch (orth_threads_count(),
 * n_latent). */
void orth_measure_code(const orth_code *code, int64_t n_latent, const double *decoder_norm,
                       uint32_t *counts, double *out, int64_t *fired);

/** fired[i] += tokens that have an entry of own latent i: the same alone. */
void orth_measure_fired(const orth_code *code, int64_t n_latent, int64_t *fired);

/** What orth_measure_rows gives of a token. */
enum { ORTH_ROW_RESIDUAL, ORTH_ROW_OUTPUT, ORTH_ROW_INNER, ORTH_ROW_MEASURES };

/** out (tokens, ORTH_ROW_MEASURES), of tokens [tokens.begin, tokens.end) of a centred batch:
 * |x_hat - x|^2, |x_hat|^2, x . x_hat, from residual = x_hat - x (n_token, d). */
void orth_measure_rows(const orth_batch *batch, orth_range tokens, const float *residual,
                       const float *b_dec, int64_t d, double *out);

/** sums[j] += sum of (x_j - pivot_j), squares[j] += sum of (x_j - pivot_j)^2 over the tokens of
 * weight one in [tokens.begin, tokens.end), x as the batch holds it; all (d). */
void orth_measure_columns(const orth_batch *batch, orth_range tokens, int64_t d,
                          const double *pivot, double *sums, double *squares);

#endif
