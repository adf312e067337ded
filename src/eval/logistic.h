#ifndef ORTHANT_SRC_EVAL_LOGISTIC_H
#define ORTHANT_SRC_EVAL_LOGISTIC_H

#include <stdbool.h>

/*
 * Logistic regression on one value and a constant: minimise over (w, b)
 *
 *     mean over tokens of log(1 + exp(-s (w v + b))) + (l2 / 2) w^2,    s = 1 for label 1, else -1
 *
 * by damped Newton steps. What a step needs of the tokens are sums, which may be formed anywhere.
 */

/* Sums over tokens at a point (w, b). */
typedef enum orth_logistic_sum {
    ORTH_LOGISTIC_LOSS,
    ORTH_LOGISTIC_W,     ///< the gradient
    ORTH_LOGISTIC_B,     ///<
    ORTH_LOGISTIC_WW,    ///< the Hessian
    ORTH_LOGISTIC_WB,    ///<
    ORTH_LOGISTIC_BB,    ///<
    ORTH_LOGISTIC_RIGHT, ///< tokens on the right side of 1/2
    ORTH_LOGISTIC_SUMS
} orth_logistic_sum;

/* Where the search stands. */
typedef struct orth_logistic_search {
    double w, b;           ///< the best point so far
    double loss;           ///< there: mean cross-entropy
    double objective;      ///< with the term of l2
    double right;          ///< share of tokens on the right side
    double try_w, try_b;   ///< where the sums are wanted next
    double step_w, step_b; ///< the Newton step from (w, b)
    double slope;          ///< derivative of the objective along it, negative
    double length;         ///< of it that is tried; 0: nothing was evaluated yet
    bool done;
    bool converged; ///< half the Newton decrement fell below 1e-20
} orth_logistic_search;

/** Begin at w = 0 and a given b. */
void orth_logistic_begin(double b, orth_logistic_search *out);

/** Add a token of value `value`. */
void orth_logistic_add(double w, double b, double value, bool label, double *sums);

/** Add tokens of value 0, `negative` of label 0 and `positive` of label 1. */
void orth_logistic_add_silent(double b, double negative, double positive, double *sums);

/** Take the sums over `tokens` tokens at (try_w, try_b) in: accept the point or halve the step, and
 * set the next one, or `done`. */
void orth_logistic_advance(orth_logistic_search *search, const double *sums, double tokens,
                           double l2);

#endif
