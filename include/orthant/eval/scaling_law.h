#ifndef ORTHANT_EVAL_SCALING_LAW_H
#define ORTHANT_EVAL_SCALING_LAW_H

#include <orthant/base/status.h>

#include <stdbool.h>
#include <stdint.h>

/**
 * How the loss falls with the number of latents n and the sparsity k (Gao et al. 2024, section 3):
 *
 *     L(n, k) = exp(alpha + beta_k log k + beta_n log n + gamma log k log n) [+ exp(zeta + eta log
 * k)]
 *
 * the last term being what no number of latents removes.
 */
typedef enum orth_scaling_coefficient {
    ORTH_SCALING_ALPHA,
    ORTH_SCALING_BETA_K,
    ORTH_SCALING_BETA_N,
    ORTH_SCALING_GAMMA,
    ORTH_SCALING_ZETA, ///< only with the irreducible term
    ORTH_SCALING_ETA,
    ORTH_SCALING_COUNT
} orth_scaling_coefficient;
extern const char *const orth_scaling_names[]; ///< "alpha" ..., ends in NULL

/** A trained model: n latents, sparsity k and loss, all positive. */
typedef struct orth_scaling_point {
    double n;
    double k;
    double loss;
} orth_scaling_point;

/** A fitted law. */
typedef struct orth_scaling_law {
    bool irreducible;
    bool used[ORTH_SCALING_COUNT];    ///< false: the points cannot tell it, or it was not asked for
    double value[ORTH_SCALING_COUNT]; ///< 0 where it is not used
    double error[ORTH_SCALING_COUNT]; ///< standard errors; NaN without degrees of freedom
    double covariance[ORTH_SCALING_COUNT][ORTH_SCALING_COUNT];
    int64_t points;
    int parameters;
    double sigma;     ///< standard deviation of log L about the fit; NaN without degrees of freedom
    double r_square;  ///< of log L
    double condition; ///< of the Jacobian with columns of unit length at the solution
    int starts;       ///< that the search was begun from
    int converged;    ///< of them
    bool loose;       ///< the points hardly determine the coefficients: do not read them one by one
} orth_scaling_law;

/**
 * Least squares in log L by GSL's trust-region method, from the linear model's solution; with
 * `irreducible` from several fixed starts, of which the best solution counts. Standard errors from
 * sigma^2 (J^T J)^-1.
 *
 * Where all points have one k, beta_k, gamma and eta are left out (a law of n alone); where all
 * have one n, beta_n and gamma are. ORTH_ERR_DATA: fewer points than coefficients, points that do
 * not tell the coefficients apart (one n and one k; n and k that move together), an irreducible
 * term wanted of one n, values that are not positive and finite, no convergence. Local.
 */
orth_status orth_scaling_fit(const orth_scaling_point *points, int64_t count, bool irreducible,
                             orth_scaling_law *out);

/** L(n, k) of a law; *log_error (may be NULL) becomes the standard error of log L(n, k) that the
 * coefficients' covariance gives. Pure arithmetic. */
double orth_scaling_predict(const orth_scaling_law *law, double n, double k, double *log_error);

#endif
