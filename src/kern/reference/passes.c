/* What each pass of kern/passes.h means, element after element. */
#include "../sets.h"

enum { LANES = 8 };

static double fold(const double *lane)
{
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

static double dot(const float *a, const float *b, int64_t d)
{
    double lane[LANES] = {0.0};
    for (int64_t j = 0; j < d; j++)
        lane[j % LANES] += (double)a[j] * (double)b[j];
    return fold(lane);
}

static double sum(const float *a, int64_t d)
{
    double lane[LANES] = {0.0};
    for (int64_t j = 0; j < d; j++)
        lane[j % LANES] += (double)a[j];
    return fold(lane);
}

static double spread(const float *a, double mean, int64_t d)
{
    double lane[LANES] = {0.0};
    for (int64_t j = 0; j < d; j++) {
        double difference = (double)a[j] - mean;
        lane[j % LANES] += difference * difference;
    }
    return fold(lane);
}

static void standardise(double mean, double factor, float *row, int64_t d)
{
    for (int64_t j = 0; j < d; j++)
        row[j] = (float)(((double)row[j] - mean) * factor);
}

static double distance(const float *a, const double *centre, int64_t d)
{
    double lane[LANES] = {0.0};
    for (int64_t j = 0; j < d; j++) {
        double difference = (double)a[j] - centre[j];
        lane[j % LANES] += difference * difference;
    }
    return fold(lane);
}

static double scale_dot(double factor, float *w, const float *g, int64_t d)
{
    for (int64_t j = 0; j < d; j++)
        w[j] = (float)((double)w[j] * factor);
    return dot(g, w, d);
}

static double project(double along, const float *w, float *g, int64_t d)
{
    for (int64_t j = 0; j < d; j++)
        g[j] = (float)((double)g[j] - along * (double)w[j]);
    return dot(g, g, d);
}

static double subtract(const float *x, float *row, int64_t d)
{
    for (int64_t j = 0; j < d; j++)
        row[j] -= x[j];
    return dot(row, row, d);
}

static double add(const float *x, float *row, int64_t d)
{
    for (int64_t j = 0; j < d; j++)
        row[j] += x[j];
    return dot(row, row, d);
}

static void accumulate(double factor, const float *row, double *sums, int64_t d)
{
    for (int64_t j = 0; j < d; j++)
        sums[j] += factor * (double)row[j];
}

static void scale_accumulate(double factor, float *row, double *sums, int64_t d)
{
    for (int64_t j = 0; j < d; j++) {
        row[j] = (float)((double)row[j] * factor);
        sums[j] += (double)row[j];
    }
}

static void entries(int64_t n, const uint32_t *index, const float *value, const double *norm,
                    double sums[3])
{
    double squares[LANES] = {0.0}, scaled[LANES] = {0.0}, plain[LANES] = {0.0};
    for (int64_t e = 0; e < n; e++) {
        double f = (double)value[e], s = f * norm[index[e]];
        squares[e % LANES] += f * f;
        scaled[e % LANES] += s * s;
        plain[e % LANES] += s;
    }
    sums[0] = fold(squares);
    sums[1] = fold(scaled);
    sums[2] = fold(plain);
}

const orth_passes orth_passes_reference = {.dot = dot,
                                           .sum = sum,
                                           .spread = spread,
                                           .standardise = standardise,
                                           .distance = distance,
                                           .scale_dot = scale_dot,
                                           .project = project,
                                           .subtract = subtract,
                                           .add = add,
                                           .accumulate = accumulate,
                                           .scale_accumulate = scale_accumulate,
                                           .entries = entries};
