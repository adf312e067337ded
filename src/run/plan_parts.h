#ifndef ORTHANT_SRC_RUN_PLAN_PARTS_H
#define ORTHANT_SRC_RUN_PLAN_PARTS_H

/** The parts of a plan that are nobody else's business: rates of a machine, and times from them. */

#include <orthant/run/plan.h>

enum { ORTH_PLAN_DENSITIES = 32 };

/** Rates by density of the code, ascending; flops are 2 or 6 x entries x d_model. */
typedef struct orth_plan_curve {
    int count;
    double density[ORTH_PLAN_DENSITIES];
    double flops[ORTH_PLAN_DENSITIES]; ///< a second
} orth_plan_curve;

/** What a node does in a second with `threads` threads. */
typedef struct orth_plan_rates {
    bool rough;
    char why_rough[96]; ///< and what to do
    char machine[160];
    double d_model; ///< that they were measured with; 0: not known
    double threads;
    double encode[ORTH_ENCODE_INT8 + 1]; ///< by orth_encode_kind: flops; 0: not there
    orth_plan_curve decode;
    orth_plan_curve gradient;
    double update;           ///< bytes of weights and moments, read and written
    double elementwise;      ///< bytes of tokens, read and written
    double exchange;         ///< bytes that a rank receives from another of its node
    double storage;          ///< bytes of checkpoints
    double storage_verified; ///< the same when they are read again
    double select_topafa;    ///< seconds for each pre-activation
} orth_plan_rates;

/** Rates from a bench file, or rough ones of this processor when `path` is NULL. ORTH_ERR_USAGE
 * when there is no such file, ORTH_ERR_DATA when it is no result of bench. Local. */
orth_status orth_plan_rates_load(const char *path, int threads, orth_plan_rates *out);

/** Flops a second at a density: between two points a power of the density, outside the nearest
 * point's. */
double orth_plan_curve_at(const orth_plan_curve *curve, double density);

/** Time of a step on a layout whose memory and flow are known. */
void orth_plan_time_of(const orth_plan_problem *problem, const orth_plan_rates *rates,
                       orth_plan_layout *layout);

#endif
