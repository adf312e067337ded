#include <orthant/eval/quasi.h>

#include <orthant/kern/norm.h>
#include <orthant/par/collective.h>

#include <math.h>

/* x_hat is a sum of fp32 values, and eps comes from fp32 products: the share of |f~|_1^2, which no
 * partial sum exceeds, that rounding may cost. */
static const double ROUNDING = 1e-5;

orth_quasi orth_quasi_begin(double eps)
{
    return (orth_quasi){.eps = eps, .largest = -1.0};
}

void orth_quasi_add(orth_quasi *quasi, int64_t n_latent, double z, double output, double square,
                    double sum)
{
    double pairs = fmax(0.0, sum * sum - square), rounding = ROUNDING * sum * sum;
    double from_output = fabs(output - square), from_z = fabs(z - square);
    bool violates = from_output > quasi->eps * pairs + rounding; /* false where eps is NaN */
    double ratio = from_output / pairs;
    /* What rounding alone puts above eps is no ratio that a dictionary can have. */
    if (!violates && ratio > quasi->eps)
        ratio = quasi->eps;
    /* Of a single entry all that differs is rounding. */
    if (pairs > rounding)
        quasi->largest = fmax(quasi->largest, ratio);
    /* NaN, or infinite on both sides: nothing is known of the token. */
    if (isnan(quasi->eps) || !isfinite(from_z) || !isfinite(pairs))
        return;
    quasi->violations += violates;
    quasi->within += from_z <= quasi->eps * pairs + rounding;
    quasi->within_wide += from_z <= quasi->eps * (double)n_latent * square + rounding;
}

orth_status orth_quasi_finish(orth_quasi *quasi, MPI_Comm comm)
{
    int64_t counts[] = {quasi->violations, quasi->within, quasi->within_wide};
    ORTH_TRY(orth_allreduce(counts, 3, MPI_INT64_T, MPI_SUM, comm));
    ORTH_TRY(orth_allreduce(&quasi->largest, 1, MPI_DOUBLE, MPI_MAX, comm));
    quasi->violations = counts[0];
    quasi->within = counts[1];
    quasi->within_wide = counts[2];
    if (quasi->largest < 0.0)
        quasi->largest = NAN;
    return ORTH_OK;
}

orth_status orth_bias_coherence(const orth_sae *sae, double *cosine)
{
    int64_t d = sae->d_model;
    const float *b = sae->weights.b_dec;
    double length = sqrt(orth_dot_f64(b, b, d)), most = 0.0;
    for (int64_t i = 0; i < orth_range_size(sae->own); i++) {
        const float *row = sae->weights.W_dec + i * d;
        double norm = sqrt(orth_dot_f64(row, row, d));
        if (norm > 0.0 && length > 0.0)
            most = fmax(most, fabs(orth_dot_f64(row, b, d)) / (norm * length));
    }
    ORTH_TRY(orth_allreduce(&most, 1, MPI_DOUBLE, MPI_MAX, sae->grid->world));
    *cosine = most;
    return ORTH_OK;
}
