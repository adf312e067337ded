#include "logistic.h"

#include <math.h>

/* Half the Newton decrement, in nats, at which the search ends; what counts as its end where
 * rounding stops it before; the least part of a step; the decrease that is asked for (Armijo), and
 * the rounding of the objective. */
static const double END = 1e-20, NEAR_END = 1e-12, SHORTEST = 1e-9, DECREASE = 1e-4,
                    ROUNDING = 1e-14;

/* A determinant that small, against the product of the diagonal, is rounding. */
static const double SINGULAR = 1e-13;

void orth_logistic_begin(double b, orth_logistic_search *out)
{
    *out = (orth_logistic_search){.b = b, .try_b = b};
}

/* log(1 + exp(z)) */
static double softplus(double z)
{
    return z > 0.0 ? z + log1p(exp(-z)) : log1p(exp(z));
}

static double sigmoid(double z)
{
    double small = exp(-fabs(z));
    return (z > 0.0 ? 1.0 : small) / (1.0 + small);
}

/* One exponential serves the probability of either label and the loss. */
void orth_logistic_add(double w, double b, double value, bool label, double *sums)
{
    double z = w * value + b, small = exp(-fabs(z)), lesser = small / (1.0 + small);
    double likely = 1.0 / (1.0 + small), curvature = lesser * likely;
    bool right = (z > 0.0) == label;
    double slope = right ? lesser : likely; /* the probability of the other label */
    slope = label ? -slope : slope;
    sums[ORTH_LOGISTIC_LOSS] += log1p(small) + (right ? 0.0 : fabs(z));
    sums[ORTH_LOGISTIC_W] += slope * value;
    sums[ORTH_LOGISTIC_B] += slope;
    sums[ORTH_LOGISTIC_WW] += curvature * value * value;
    sums[ORTH_LOGISTIC_WB] += curvature * value;
    sums[ORTH_LOGISTIC_BB] += curvature;
    sums[ORTH_LOGISTIC_RIGHT] += right;
}

void orth_logistic_add_silent(double b, double negative, double positive, double *sums)
{
    double p = sigmoid(b), q = sigmoid(-b);
    sums[ORTH_LOGISTIC_LOSS] += negative * softplus(b) + positive * softplus(-b);
    sums[ORTH_LOGISTIC_B] += negative * p - positive * q;
    sums[ORTH_LOGISTIC_BB] += (negative + positive) * p * q;
    sums[ORTH_LOGISTIC_RIGHT] += b > 0.0 ? positive : negative;
}

/* The Newton step from the point just accepted; the gradient's own direction where the Hessian is
 * singular to rounding. */
static void set_step(orth_logistic_search *s, const double *sums, double tokens, double l2)
{
    double w = sums[ORTH_LOGISTIC_W] / tokens + l2 * s->w, b = sums[ORTH_LOGISTIC_B] / tokens;
    double ww = sums[ORTH_LOGISTIC_WW] / tokens + l2, wb = sums[ORTH_LOGISTIC_WB] / tokens;
    double bb = sums[ORTH_LOGISTIC_BB] / tokens, determinant = ww * bb - wb * wb;
    if (determinant > SINGULAR * ww * bb) {
        s->step_w = (wb * b - bb * w) / determinant;
        s->step_b = (wb * w - ww * b) / determinant;
    } else {
        s->step_w = -w / ww;
        s->step_b = bb > 0.0 ? -b / bb : 0.0;
    }
    s->slope = w * s->step_w + b * s->step_b;
    s->length = 1.0;
    s->converged = -s->slope / 2.0 < END;
    s->done = s->converged;
}

void orth_logistic_advance(orth_logistic_search *s, const double *sums, double tokens, double l2)
{
    double loss = sums[ORTH_LOGISTIC_LOSS] / tokens;
    double objective = loss + l2 / 2.0 * s->try_w * s->try_w;
    double most = s->objective + DECREASE * s->length * s->slope + ROUNDING * s->objective;
    if (s->length == 0.0 || objective <= most) {
        s->w = s->try_w;
        s->b = s->try_b;
        s->loss = loss;
        s->objective = objective;
        s->right = sums[ORTH_LOGISTIC_RIGHT] / tokens;
        set_step(s, sums, tokens, l2);
    } else if ((s->length /= 2.0) < SHORTEST) {
        s->done = true;
        s->converged = -s->slope / 2.0 < NEAR_END;
    }
    s->try_w = s->w + s->length * s->step_w;
    s->try_b = s->b + s->length * s->step_b;
}
