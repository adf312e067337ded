#include <orthant/eval/quantile.h>

#include <orthant/base/memory.h>
#include <orthant/par/collective.h>

#include <math.h>
#include <string.h>

/* ---- histogram ---- */

orth_status orth_histogram_create(double first, double width, int64_t bins, orth_histogram *out)
{
    orth_histogram histogram = {.bins = bins};
    orth_status status = ORTH_ALLOCATE(bins + 1, "histogram", &histogram.edges);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(bins, "histogram", &histogram.counts);
    if (status != ORTH_OK) {
        orth_histogram_free(&histogram);
        return status;
    }
    for (int64_t i = 0; i <= bins; i++)
        histogram.edges[i] = first + width * (double)i;
    *out = histogram;
    return ORTH_OK;
}

void orth_histogram_add(orth_histogram *histogram, double value)
{
    if (histogram->bins == 0)
        return;
    double width = histogram->edges[1] - histogram->edges[0];
    double place = floor((value - histogram->edges[0]) / width);
    double last = (double)(histogram->bins - 1);
    histogram->counts[place > 0.0 ? (int64_t)(place < last ? place : last) : 0]++;
}

void orth_histogram_free(orth_histogram *histogram)
{
    orth_free(histogram->edges);
    orth_free(histogram->counts);
    memset(histogram, 0, sizeof *histogram);
}

/* ---- integers ---- */

static orth_status grow_counts(orth_counts *counts, int64_t size)
{
    if (size <= counts->capacity)
        return ORTH_OK;
    int64_t *count = NULL, capacity = size + size / 2 + 64;
    ORTH_TRY(ORTH_ALLOCATE(capacity, "counts of L0", &count));
    if (counts->size > 0)
        memcpy(count, counts->count, (size_t)counts->size * sizeof *count);
    orth_free(counts->count);
    counts->count = count;
    counts->capacity = capacity;
    return ORTH_OK;
}

orth_status orth_counts_add(orth_counts *counts, int64_t value)
{
    ORTH_TRY(grow_counts(counts, value + 1));
    if (value >= counts->size)
        counts->size = value + 1;
    counts->count[value]++;
    return ORTH_OK;
}

orth_status orth_counts_merge(orth_counts *counts, MPI_Comm comm)
{
    int64_t size = counts->size;
    ORTH_TRY(orth_allreduce(&size, 1, MPI_INT64_T, MPI_MAX, comm));
    ORTH_TRY(grow_counts(counts, size));
    counts->size = size;
    return orth_allreduce(counts->count, size, MPI_INT64_T, MPI_SUM, comm);
}

static int64_t counts_nth(const orth_counts *counts, int64_t rank)
{
    int64_t value = 0;
    while (value < counts->size - 1 && rank >= counts->count[value])
        rank -= counts->count[value++];
    return value;
}

double orth_counts_quantile(const orth_counts *counts, double share)
{
    int64_t total = 0;
    for (int64_t i = 0; i < counts->size; i++)
        total += counts->count[i];
    double place = share * (double)(total - 1), below = floor(place);
    double low = (double)counts_nth(counts, (int64_t)below);
    double high = (double)counts_nth(counts, (int64_t)ceil(place));
    return low + (place - below) * (high - low);
}

void orth_counts_free(orth_counts *counts)
{
    orth_free(counts->count);
    memset(counts, 0, sizeof *counts);
}

/* ---- doubles ---- */

/* A bin is the exponent of a float and the first bits of its fraction. */
enum { FRACTION_BITS = 12, BIN_SHIFT = 23 - FRACTION_BITS, BINS = 1 << (8 + FRACTION_BITS) };

/* A digit of the radix search over the bits of doubles, which are in the order of the values. */
enum { DIGIT_BITS = 16, DIGIT_VALUES = 1 << DIGIT_BITS };

orth_status orth_values_create(int64_t capacity, bool keep, orth_values *out)
{
    orth_values values = {.capacity = capacity};
    if (keep)
        ORTH_TRY(ORTH_ALLOCATE(capacity, "values of tokens", &values.value));
    else
        ORTH_TRY(ORTH_ALLOCATE(BINS, "bins of values", &values.bin));
    *out = values;
    return ORTH_OK;
}

void orth_values_add(orth_values *values, double value)
{
    if (values->value) {
        values->value[values->count++] = value;
        return;
    }
    float narrow = (float)value;
    uint32_t bits;
    memcpy(&bits, &narrow, sizeof bits);
    values->bin[bits >> BIN_SHIFT]++;
    values->count++;
}

static double bin_edge(int64_t bin)
{
    uint32_t bits = (uint32_t)bin << BIN_SHIFT;
    float edge;
    memcpy(&edge, &bits, sizeof edge);
    return (double)edge;
}

/* Merged bins first, first + 1, ...: those between the lowest and the highest that any rank used, a
 * small part of all. */
typedef struct merged_bins {
    int64_t *count;
    int64_t first, size;
} merged_bins;

static orth_status merge_bins(const orth_values *values, MPI_Comm comm, merged_bins *out)
{
    int64_t ends[2] = {BINS, 0}; /* the highest, negated for one reduction */
    for (int64_t bin = 0; bin < BINS; bin++)
        if (values->bin[bin] > 0) {
            ends[0] = ends[0] == BINS ? bin : ends[0];
            ends[1] = -bin;
        }
    ORTH_TRY(orth_allreduce(ends, 2, MPI_INT64_T, MPI_MIN, comm));
    merged_bins merged = {.first = ends[0], .size = -ends[1] - ends[0] + 1};
    ORTH_TRY(ORTH_ALLOCATE(merged.size, "quantiles", &merged.count));
    *out = merged;
    memcpy(merged.count, values->bin + merged.first, (size_t)merged.size * sizeof *merged.count);
    return orth_allreduce(merged.count, merged.size, MPI_INT64_T, MPI_SUM, comm);
}

/* The value of rank `rank`, values spread evenly in their bin. */
static double binned_nth(const merged_bins *bins, int64_t rank)
{
    int64_t i = 0;
    while (i < bins->size - 1 && rank >= bins->count[i])
        rank -= bins->count[i++];
    double low = bin_edge(bins->first + i), high = bin_edge(bins->first + i + 1);
    return low + (high - low) * ((double)rank + 0.5) / (double)bins->count[i];
}

/* The value of rank `rank` over all ranks: digit after digit, how many values share the digits
 * found so far and have each next one. `digits` is scratch (DIGIT_VALUES). */
static orth_status kept_nth(const orth_values *values, int64_t rank, MPI_Comm comm, int64_t *digits,
                            double *out)
{
    uint64_t prefix = 0, fixed = 0, bits;
    for (int shift = 64 - DIGIT_BITS; shift >= 0; shift -= DIGIT_BITS) {
        memset(digits, 0, DIGIT_VALUES * sizeof *digits);
        for (int64_t i = 0; i < values->count; i++) {
            memcpy(&bits, values->value + i, sizeof bits);
            if ((bits & fixed) == prefix)
                digits[bits >> shift & (DIGIT_VALUES - 1)]++;
        }
        ORTH_TRY(orth_allreduce(digits, DIGIT_VALUES, MPI_INT64_T, MPI_SUM, comm));
        uint64_t digit = 0;
        while (digit < DIGIT_VALUES - 1 && rank >= digits[digit])
            rank -= digits[digit++];
        prefix |= digit << shift;
        fixed |= (uint64_t)(DIGIT_VALUES - 1) << shift;
    }
    memcpy(out, &prefix, sizeof *out);
    return ORTH_OK;
}

/* `bins` of binned values, `digits` of kept ones. */
static orth_status interpolate(const orth_values *values, int64_t total, double share,
                               MPI_Comm comm, const merged_bins *bins, int64_t *digits, double *out)
{
    double place = share * (double)(total - 1), ends[2];
    for (int i = 0; i < 2; i++) {
        int64_t rank = (int64_t)(i == 0 ? floor(place) : ceil(place));
        if (values->value)
            ORTH_TRY(kept_nth(values, rank, comm, digits, ends + i));
        else
            ends[i] = binned_nth(bins, rank);
    }
    *out = ends[0] + (place - floor(place)) * (ends[1] - ends[0]);
    return ORTH_OK;
}

orth_status orth_values_quantiles(const orth_values *values, const double *shares, int n_share,
                                  MPI_Comm comm, double *out)
{
    int64_t total = values->count, *digits = NULL;
    merged_bins bins = {0};
    ORTH_TRY(orth_allreduce(&total, 1, MPI_INT64_T, MPI_SUM, comm));
    for (int i = 0; i < n_share; i++)
        out[i] = NAN;
    if (total == 0)
        return ORTH_OK;
    orth_status status = values->bin ? merge_bins(values, comm, &bins)
                                     : ORTH_ALLOCATE(DIGIT_VALUES, "quantiles", &digits);
    for (int i = 0; status == ORTH_OK && i < n_share; i++)
        status = interpolate(values, total, shares[i], comm, &bins, digits, out + i);
    orth_free(digits);
    orth_free(bins.count);
    return status;
}

void orth_values_free(orth_values *values)
{
    orth_free(values->value);
    orth_free(values->bin);
    memset(values, 0, sizeof *values);
}
