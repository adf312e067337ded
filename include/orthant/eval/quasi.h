#ifndef ORTHANT_EVAL_QUASI_H
#define ORTHANT_EVAL_QUASI_H

#include <orthant/sae/model.h>

#include <stdint.h>

/**
 * The check of quasi-orthogonality (Lee et al. 2025, section 4), token by token.
 *
 * Let u_a be the rows w_i / |w_i| of W_dec and b_dec / |b_dec|, and f~_a >= 0 the entries
 * f_i |w_i| and |b_dec|, so that x_hat = sum_a f~_a u_a. Then
 *
 *     |x_hat|^2 = sum_a f~_a^2 + sum_{a != b} f~_a f~_b u_a . u_b,
 *
 * and with eps_max the largest |u_a . u_b| of all pairs a != b, as sum_{a != b} f~_a f~_b =
 * |f~|_1^2 - |f~|_2^2,
 *
 *     abs(|x_hat|^2 - |f~|_2^2) <= eps_max (|f~|_1^2 - |f~|_2^2).                         (sharp)
 *
 * By Cauchy and Schwarz |f~|_1^2 <= m |f~|_2^2 for m entries that are not 0; there are at most
 * n + 1, the latents and the bias, hence the paper's form
 *
 *     abs(|x_hat|^2 - |f~|_2^2) <= eps_max n |f~|_2^2                                     (wide)
 *
 * (its "n - 1" for n directions). The bounds hold for x_hat, whatever the model; that they hold for
 * z, too, says that the residual does not spoil the link of |z| and |f~|.
 */
typedef struct orth_quasi {
    double eps; ///< eps_max; NaN: not known, then nothing is compared with it
    /** max over tokens of abs(|x_hat|^2 - |f~|_2^2) / (|f~|_1^2 - |f~|_2^2): no smaller eps_max
     * would do. NaN when no token has two entries. */
    double largest;
    int64_t violations; ///< tokens whose x_hat is beyond the sharp bound by more than rounding
    int64_t within;     ///< tokens whose z is within the sharp bound
    int64_t within_wide;
} orth_quasi;

/** Nothing counted yet; `eps` may be NaN. */
orth_quasi orth_quasi_begin(double eps);

/** Take in a token: |z|^2, |x_hat|^2, |f~|_2^2, |f~|_1; n_latent of the model. Local. */
void orth_quasi_add(orth_quasi *quasi, int64_t n_latent, double z, double output, double square,
                    double sum);

/** What all ranks counted, on all ranks. Collective; a failure ends the run. */
orth_status orth_quasi_finish(orth_quasi *quasi, MPI_Comm comm);

/**
 * The largest |cos| of b_dec with a row of W_dec, 0 when b_dec = 0; rows of zeros left out.
 * Collective over the grid; a failure ends the run.
 */
orth_status orth_bias_coherence(const orth_sae *sae, double *cosine);

#endif
