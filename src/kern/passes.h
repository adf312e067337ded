#ifndef ORTHANT_SRC_KERN_PASSES_H
#define ORTHANT_SRC_KERN_PASSES_H

/**
 * The passes of kern/passes.h on vectors of eight doubles, which the compiler maps to whatever the
 * instruction set of the including file has. The lanes are those of the reference.
 */

#include <orthant/kern/passes.h>

#include <string.h>

enum { PASS_LANES = 8 };

typedef double pass_doubles __attribute__((vector_size(64)));
typedef float pass_floats __attribute__((vector_size(32)));

/* Macros, because a function that passes such vectors has no fixed calling convention. */
#define PASS_LOAD(to, from)                                                                        \
    do {                                                                                           \
        pass_floats loaded_;                                                                       \
        memcpy(&loaded_, (from), sizeof loaded_);                                                  \
        (to) = __builtin_convertvector(loaded_, pass_doubles);                                     \
    } while (0)
#define PASS_STORE(to, from)                                                                       \
    do {                                                                                           \
        pass_floats stored_ = __builtin_convertvector((from), pass_floats);                        \
        memcpy((to), &stored_, sizeof stored_);                                                    \
    } while (0)

static inline double pass_fold(const double *lane)
{
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

static double pass_dot(const float *a, const float *b, int64_t d)
{
    pass_doubles sum = {0.0}, x, y;
    double lane[PASS_LANES];
    int64_t j = 0;
    for (; j + PASS_LANES <= d; j += PASS_LANES) {
        PASS_LOAD(x, a + j);
        PASS_LOAD(y, b + j);
        sum += x * y;
    }
    memcpy(lane, &sum, sizeof lane);
    for (int l = 0; j < d; j++, l++)
        lane[l] += (double)a[j] * (double)b[j];
    return pass_fold(lane);
}

static double pass_sum(const float *a, int64_t d)
{
    pass_doubles sum = {0.0}, x;
    double lane[PASS_LANES];
    int64_t j = 0;
    for (; j + PASS_LANES <= d; j += PASS_LANES) {
        PASS_LOAD(x, a + j);
        sum += x;
    }
    memcpy(lane, &sum, sizeof lane);
    for (int l = 0; j < d; j++, l++)
        lane[l] += (double)a[j];
    return pass_fold(lane);
}

static double pass_spread(const float *a, double mean, int64_t d)
{
    pass_doubles sum = {0.0}, x;
    double lane[PASS_LANES];
    int64_t j = 0;
    for (; j + PASS_LANES <= d; j += PASS_LANES) {
        PASS_LOAD(x, a + j);
        x -= mean;
        sum += x * x;
    }
    memcpy(lane, &sum, sizeof lane);
    for (int l = 0; j < d; j++, l++) {
        double difference = (double)a[j] - mean;
        lane[l] += difference * difference;
    }
    return pass_fold(lane);
}

static void pass_standardise(double mean, double factor, float *row, int64_t d)
{
    pass_doubles x;
    int64_t j = 0;
    for (; j + PASS_LANES <= d; j += PASS_LANES) {
        PASS_LOAD(x, row + j);
        x = (x - mean) * factor;
        PASS_STORE(row + j, x);
    }
    for (; j < d; j++)
        row[j] = (float)(((double)row[j] - mean) * factor);
}

static double pass_distance(const float *a, const double *centre, int64_t d)
{
    pass_doubles sum = {0.0}, x, c;
    double lane[PASS_LANES];
    int64_t j = 0;
    for (; j + PASS_LANES <= d; j += PASS_LANES) {
        PASS_LOAD(x, a + j);
        memcpy(&c, centre + j, sizeof c);
        x -= c;
        sum += x * x;
    }
    memcpy(lane, &sum, sizeof lane);
    for (int l = 0; j < d; j++, l++) {
        double difference = (double)a[j] - centre[j];
        lane[l] += difference * difference;
    }
    return pass_fold(lane);
}

static double pass_scale_dot(double factor, float *w, const float *g, int64_t d)
{
    pass_doubles sum = {0.0}, x, y;
    double lane[PASS_LANES];
    int64_t j = 0;
    for (; j + PASS_LANES <= d; j += PASS_LANES) {
        PASS_LOAD(x, w + j);
        x *= factor;
        PASS_STORE(w + j, x);
        PASS_LOAD(x, w + j);
        PASS_LOAD(y, g + j);
        sum += y * x;
    }
    memcpy(lane, &sum, sizeof lane);
    for (int l = 0; j < d; j++, l++) {
        w[j] = (float)((double)w[j] * factor);
        lane[l] += (double)g[j] * (double)w[j];
    }
    return pass_fold(lane);
}

static double pass_project(double along, const float *w, float *g, int64_t d)
{
    pass_doubles sum = {0.0}, x, y;
    double lane[PASS_LANES];
    int64_t j = 0;
    for (; j + PASS_LANES <= d; j += PASS_LANES) {
        PASS_LOAD(x, w + j);
        PASS_LOAD(y, g + j);
        y -= along * x;
        PASS_STORE(g + j, y);
        PASS_LOAD(y, g + j);
        sum += y * y;
    }
    memcpy(lane, &sum, sizeof lane);
    for (int l = 0; j < d; j++, l++) {
        g[j] = (float)((double)g[j] - along * (double)w[j]);
        lane[l] += (double)g[j] * (double)g[j];
    }
    return pass_fold(lane);
}

static double pass_subtract(const float *x, float *row, int64_t d)
{
    pass_doubles sum = {0.0}, y;
    pass_floats a, b;
    double lane[PASS_LANES];
    int64_t j = 0;
    for (; j + PASS_LANES <= d; j += PASS_LANES) {
        memcpy(&a, x + j, sizeof a);
        memcpy(&b, row + j, sizeof b);
        b -= a;
        memcpy(row + j, &b, sizeof b);
        y = __builtin_convertvector(b, pass_doubles);
        sum += y * y;
    }
    memcpy(lane, &sum, sizeof lane);
    for (int l = 0; j < d; j++, l++) {
        row[j] -= x[j];
        lane[l] += (double)row[j] * (double)row[j];
    }
    return pass_fold(lane);
}

static double pass_add(const float *x, float *row, int64_t d)
{
    pass_doubles sum = {0.0}, y;
    pass_floats a, b;
    double lane[PASS_LANES];
    int64_t j = 0;
    for (; j + PASS_LANES <= d; j += PASS_LANES) {
        memcpy(&a, x + j, sizeof a);
        memcpy(&b, row + j, sizeof b);
        b += a;
        memcpy(row + j, &b, sizeof b);
        y = __builtin_convertvector(b, pass_doubles);
        sum += y * y;
    }
    memcpy(lane, &sum, sizeof lane);
    for (int l = 0; j < d; j++, l++) {
        row[j] += x[j];
        lane[l] += (double)row[j] * (double)row[j];
    }
    return pass_fold(lane);
}

static void pass_accumulate(double factor, const float *row, double *sum, int64_t d)
{
    pass_doubles x, s;
    int64_t j = 0;
    for (; j + PASS_LANES <= d; j += PASS_LANES) {
        PASS_LOAD(x, row + j);
        memcpy(&s, sum + j, sizeof s);
        s += factor * x;
        memcpy(sum + j, &s, sizeof s);
    }
    for (; j < d; j++)
        sum[j] += factor * (double)row[j];
}

static void pass_scale_accumulate(double factor, float *row, double *sum, int64_t d)
{
    pass_doubles x, s;
    int64_t j = 0;
    for (; j + PASS_LANES <= d; j += PASS_LANES) {
        PASS_LOAD(x, row + j);
        x *= factor;
        PASS_STORE(row + j, x);
        PASS_LOAD(x, row + j);
        memcpy(&s, sum + j, sizeof s);
        s += x;
        memcpy(sum + j, &s, sizeof s);
    }
    for (; j < d; j++) {
        row[j] = (float)((double)row[j] * factor);
        sum[j] += (double)row[j];
    }
}

static void pass_entries(int64_t n, const uint32_t *index, const float *value, const double *norm,
                         double sums[3])
{
    pass_doubles squares = {0.0}, scaled = {0.0}, plain = {0.0}, f;
    double lane[3][PASS_LANES];
    int64_t e = 0;
    for (; e + PASS_LANES <= n; e += PASS_LANES) {
        const uint32_t *i = index + e;
        pass_doubles s = {norm[i[0]], norm[i[1]], norm[i[2]], norm[i[3]],
                          norm[i[4]], norm[i[5]], norm[i[6]], norm[i[7]]};
        PASS_LOAD(f, value + e);
        s *= f;
        squares += f * f;
        scaled += s * s;
        plain += s;
    }
    memcpy(lane[0], &squares, sizeof lane[0]);
    memcpy(lane[1], &scaled, sizeof lane[1]);
    memcpy(lane[2], &plain, sizeof lane[2]);
    for (int l = 0; e < n; e++, l++) {
        double last = (double)value[e], s = last * norm[index[e]];
        lane[0][l] += last * last;
        lane[1][l] += s * s;
        lane[2][l] += s;
    }
    for (int k = 0; k < 3; k++)
        sums[k] = pass_fold(lane[k]);
}

#define PASS_TABLE                                                                                 \
    {                                                                                              \
        .dot = pass_dot, .sum = pass_sum, .spread = pass_spread, .standardise = pass_standardise,  \
        .distance = pass_distance, .scale_dot = pass_scale_dot, .project = pass_project,           \
        .subtract = pass_subtract, .add = pass_add, .accumulate = pass_accumulate,                 \
        .scale_accumulate = pass_scale_accumulate, .entries = pass_entries                         \
    }

#endif
