#include <orthant/eval/spectrum.h>

#include <orthant/base/memory.h>

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

void orth_spectrum_summarise(orth_spectrum *spectrum)
{
    int64_t d = spectrum->d;
    const double *values = spectrum->eigenvalues;
    double square = 0.0, entropy = 0.0, least = (double)d * DBL_EPSILON * values[0];
    spectrum->trace = 0.0;
    spectrum->rank = 0;
    for (int64_t i = d - 1; i >= 0; i--) /* the small ones first */
        spectrum->trace += values[i];
    for (int64_t i = d - 1; i >= 0; i--) {
        double share = values[i] / spectrum->trace;
        square += share * share;
        if (values[i] > least) {
            spectrum->rank++;
            entropy -= share * log(share);
        }
    }
    bool none = !(spectrum->trace > 0.0);
    spectrum->condition = spectrum->rank == d ? values[0] / values[d - 1] : INFINITY;
    spectrum->effective_rank = none ? NAN : exp(entropy);
    spectrum->participation = none ? NAN : 1.0 / square;
    if (none)
        spectrum->condition = NAN;
}

void orth_spectrum_free(orth_spectrum *spectrum)
{
    orth_free(spectrum->eigenvalues);
    memset(spectrum, 0, sizeof *spectrum);
}
