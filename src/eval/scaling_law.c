#include <orthant/eval/scaling_law.h>

#include <orthant/base/memory.h>
#include <orthant/par/alive.h>

#include <gsl/gsl_errno.h>
#include <gsl/gsl_linalg.h>
#include <gsl/gsl_multifit.h>
#include <gsl/gsl_multifit_nlinear.h>
#include <math.h>
#include <string.h>

/* Coefficients of the first term; of the search; of what passes for determined. */
enum { N_LINEAR = ORTH_SCALING_ZETA, MOST_ITERATIONS = 1000 };
static const double TOLERANCE = 1e-12, SINGULAR = 1e10, LOOSE_CONDITION = 1e6, LOOSE_FLOOR = 0.5;

/* How much of the lowest losses the irreducible term takes, at the starts of the search. */
static const double shares[] = {0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98};

const char *const orth_scaling_names[] = {"alpha", "beta_k", "beta_n", "gamma",
                                          "zeta",  "eta",    NULL};

/* A fit under way. */
typedef struct problem {
    const orth_scaling_point *points;
    size_t count;
    int place[ORTH_SCALING_COUNT]; ///< of a coefficient among those fitted, -1: it is not
    size_t fitted;
    bool irreducible;
    gsl_multifit_linear_workspace *linear;
    gsl_multifit_nlinear_workspace *search;
    gsl_matrix *design;   ///< (count, linear coefficients that are fitted)
    gsl_matrix *jacobian; ///< (count, fitted) scratch of the condition number
    gsl_matrix *square;   ///< (fitted, fitted) scratch
    gsl_vector *scratch;  ///< (fitted)
    gsl_vector *target;   ///< (count) log of what the first term is to explain
    gsl_vector *x;        ///< (fitted)
} problem;

/* log L(n, k) and its derivatives by the coefficients. */
static double log_loss(const double value[], bool irreducible, double n, double k,
                       double gradient[ORTH_SCALING_COUNT])
{
    double log_k = log(k), log_n = log(n);
    const double basis[] = {1.0, log_k, log_n, log_k * log_n, 1.0, log_k};
    double first = 0.0, sum, weight[] = {1.0, 0.0};
    for (int c = 0; c < N_LINEAR; c++)
        first += value[c] * basis[c];
    sum = first;
    if (irreducible) {
        double second = value[ORTH_SCALING_ZETA] + value[ORTH_SCALING_ETA] * log_k;
        double larger = fmax(first, second);
        sum = larger + log(exp(first - larger) + exp(second - larger));
        weight[0] = exp(first - sum);
        weight[1] = exp(second - sum);
    }
    for (int c = 0; c < ORTH_SCALING_COUNT; c++)
        gradient[c] = basis[c] * weight[c >= N_LINEAR];
    return sum;
}

/* ---- what can be fitted ---- */

static orth_status check_points(const orth_scaling_point *points, int64_t count, bool *one_n,
                                bool *one_k)
{
    *one_n = *one_k = true;
    for (int64_t i = 0; i < count; i++) {
        const orth_scaling_point *p = &points[i];
        if (!(p->n > 0.0 && p->k > 0.0 && p->loss > 0.0) || !isfinite(p->n + p->k + p->loss))
            return orth_fail(
                ORTH_ERR_DATA,
                "scaling law: n = %g, k = %g, loss = %g: a logarithm is taken of each; "
                "leave this run out",
                p->n, p->k, p->loss);
        *one_n = *one_n && p->n == points[0].n;
        *one_k = *one_k && p->k == points[0].k;
    }
    return ORTH_OK;
}

static orth_status choose_coefficients(const orth_scaling_point *points, int64_t count,
                                       bool irreducible, orth_scaling_law *law)
{
    bool one_n, one_k;
    ORTH_TRY(check_points(points, count, &one_n, &one_k));
    law->irreducible = irreducible;
    law->points = count;
    const bool used[] = {
        true, !one_k, !one_n, !one_k && !one_n, irreducible, irreducible && !one_k};
    for (int c = 0; c < ORTH_SCALING_COUNT; c++)
        law->parameters += law->used[c] = used[c];
    if (count < law->parameters)
        return orth_fail(ORTH_ERR_DATA,
                         "scaling law: %lld runs cannot determine %d coefficients; train more "
                         "models%s",
                         (long long)count, law->parameters,
                         irreducible ? " or leave the irreducible term out" : "");
    if (one_n && one_k)
        return orth_fail(ORTH_ERR_DATA,
                         "scaling law: all runs have n = %.10g and k = %.10g; train models of "
                         "other sizes",
                         points[0].n, points[0].k);
    if (one_n && irreducible)
        return orth_fail(
            ORTH_ERR_DATA,
            "scaling law: all runs have n = %.10g, where two powers of k cannot be "
            "told apart; train models of other sizes or leave the irreducible term out",
            points[0].n);
    return ORTH_OK;
}

/* ---- GSL's side ---- */

static void free_problem(problem *p)
{
    gsl_multifit_linear_free(p->linear);
    gsl_multifit_nlinear_free(p->search);
    gsl_matrix_free(p->design);
    gsl_matrix_free(p->jacobian);
    gsl_matrix_free(p->square);
    gsl_vector_free(p->scratch);
    gsl_vector_free(p->target);
    gsl_vector_free(p->x);
}

static orth_status create_problem(const orth_scaling_point *points, const orth_scaling_law *law,
                                  problem *p)
{
    size_t linear = 0;
    *p = (problem){.points = points, .count = (size_t)law->points, .irreducible = law->irreducible};
    for (int c = 0; c < ORTH_SCALING_COUNT; c++) {
        p->place[c] = law->used[c] ? (int)p->fitted++ : -1;
        if (c < N_LINEAR)
            linear = p->fitted;
    }
    gsl_multifit_nlinear_parameters how = gsl_multifit_nlinear_default_parameters();
    p->search = gsl_multifit_nlinear_alloc(gsl_multifit_nlinear_trust, &how, p->count, p->fitted);
    p->linear = gsl_multifit_linear_alloc(p->count, linear);
    p->design = gsl_matrix_calloc(p->count, linear);
    p->jacobian = gsl_matrix_calloc(p->count, p->fitted);
    p->square = gsl_matrix_calloc(p->fitted, p->fitted);
    p->scratch = gsl_vector_calloc(p->fitted);
    p->target = gsl_vector_calloc(p->count);
    p->x = gsl_vector_calloc(p->fitted);
    if (!p->search || !p->linear || !p->design || !p->jacobian || !p->square || !p->scratch ||
        !p->target || !p->x)
        return orth_fail(ORTH_ERR_ENVIRONMENT,
                         "scaling law: out of memory; free some on this host");
    return ORTH_OK;
}

static void expand(const problem *p, const gsl_vector *x, double value[ORTH_SCALING_COUNT])
{
    for (int c = 0; c < ORTH_SCALING_COUNT; c++)
        value[c] = p->place[c] < 0 ? 0.0 : gsl_vector_get(x, (size_t)p->place[c]);
}

/* Residuals in log L, and the Jacobian; either may be NULL. */
static void evaluate(const problem *p, const gsl_vector *x, gsl_vector *residual,
                     gsl_matrix *jacobian)
{
    double value[ORTH_SCALING_COUNT], gradient[ORTH_SCALING_COUNT];
    expand(p, x, value);
    for (size_t i = 0; i < p->count; i++) {
        const orth_scaling_point *at = &p->points[i];
        double fit = log_loss(value, p->irreducible, at->n, at->k, gradient);
        if (residual)
            gsl_vector_set(residual, i, fit - log(at->loss));
        for (int c = 0; jacobian && c < ORTH_SCALING_COUNT; c++)
            if (p->place[c] >= 0)
                gsl_matrix_set(jacobian, i, (size_t)p->place[c], gradient[c]);
    }
}

static int residual_of(const gsl_vector *x, void *data, gsl_vector *out)
{
    evaluate(data, x, out, NULL);
    return GSL_SUCCESS;
}

static int jacobian_of(const gsl_vector *x, void *data, gsl_matrix *out)
{
    evaluate(data, x, NULL, out);
    return GSL_SUCCESS;
}

/* Largest over smallest singular value of a matrix whose columns are brought to unit length. */
static double condition_of(const gsl_matrix *matrix, problem *p)
{
    size_t columns = matrix->size2;
    gsl_matrix_view a = gsl_matrix_submatrix(p->jacobian, 0, 0, p->count, columns);
    gsl_matrix_view v = gsl_matrix_submatrix(p->square, 0, 0, columns, columns);
    gsl_vector_view s = gsl_vector_subvector(p->scratch, 0, columns);
    gsl_matrix_memcpy(&a.matrix, matrix);
    for (size_t j = 0; j < columns; j++) {
        gsl_vector_view column = gsl_matrix_column(&a.matrix, j);
        double length = 0.0;
        for (size_t i = 0; i < p->count; i++)
            length = hypot(length, gsl_vector_get(&column.vector, i));
        if (!(length > 0.0))
            return INFINITY;
        gsl_vector_scale(&column.vector, 1.0 / length);
    }
    if (gsl_linalg_SV_decomp_jacobi(&a.matrix, &v.matrix, &s.vector) != GSL_SUCCESS)
        return INFINITY;
    double least = gsl_vector_get(&s.vector, columns - 1);
    return least > 0.0 ? gsl_vector_get(&s.vector, 0) / least : INFINITY;
}

/* The first term's design, and whether the points span it. */
static orth_status prepare_design(problem *p)
{
    const double zero[ORTH_SCALING_COUNT] = {0};
    double gradient[ORTH_SCALING_COUNT];
    for (size_t i = 0; i < p->count; i++) {
        log_loss(zero, false, p->points[i].n, p->points[i].k, gradient);
        for (int c = 0; c < N_LINEAR; c++)
            if (p->place[c] >= 0)
                gsl_matrix_set(p->design, i, (size_t)p->place[c], gradient[c]);
    }
    if (!(condition_of(p->design, p) < SINGULAR))
        return orth_fail(ORTH_ERR_DATA,
                         "scaling law: n and k of the runs move together, their effects cannot be "
                         "told apart; train models of several k for each n");
    return ORTH_OK;
}

/* ---- the search ---- */

/* The line c0 + c1 log k through log L, lowered until it touches the lowest of them. */
static void floor_line(const problem *p, double line[2])
{
    double count = (double)p->count, x = 0.0, y = 0.0, xx = 0.0, xy = 0.0, lowest = INFINITY;
    for (size_t i = 0; i < p->count; i++) {
        x += log(p->points[i].k) / count;
        y += log(p->points[i].loss) / count;
    }
    for (size_t i = 0; i < p->count; i++) {
        double dx = log(p->points[i].k) - x;
        xx += dx * dx;
        xy += dx * (log(p->points[i].loss) - y);
    }
    line[1] = p->place[ORTH_SCALING_ETA] >= 0 ? xy / xx : 0.0;
    for (size_t i = 0; i < p->count; i++)
        lowest = fmin(lowest, log(p->points[i].loss) - line[1] * log(p->points[i].k));
    line[0] = lowest;
}

/* A start: the irreducible term takes `share` of the floor (0: there is none), the first term is
 * the linear model of what is left. */
static int set_start(problem *p, double share)
{
    double line[2] = {0.0, 0.0}, cost;
    if (share > 0.0)
        floor_line(p, line);
    for (size_t i = 0; i < p->count; i++) {
        const orth_scaling_point *at = &p->points[i];
        double taken = share > 0.0 ? share * exp(line[0] + line[1] * log(at->k)) : 0.0;
        gsl_vector_set(p->target, i, log(at->loss - taken));
    }
    size_t linear = p->design->size2;
    gsl_vector_view first = gsl_vector_subvector(p->x, 0, linear);
    gsl_matrix_view square = gsl_matrix_submatrix(p->square, 0, 0, linear, linear);
    int code =
        gsl_multifit_linear(p->design, p->target, &first.vector, &square.matrix, &cost, p->linear);
    if (p->place[ORTH_SCALING_ZETA] >= 0)
        gsl_vector_set(p->x, (size_t)p->place[ORTH_SCALING_ZETA], line[0] + log(share));
    if (p->place[ORTH_SCALING_ETA] >= 0)
        gsl_vector_set(p->x, (size_t)p->place[ORTH_SCALING_ETA], line[1]);
    return code;
}

/* No progress: rounding leaves no better point nearby, as where the start is the solution. */
static bool search_from(problem *p, gsl_multifit_nlinear_fdf *fdf, double *cost)
{
    int reason = 0;
    if (gsl_multifit_nlinear_init(p->x, fdf, p->search) != GSL_SUCCESS)
        return false;
    int code = gsl_multifit_nlinear_driver(MOST_ITERATIONS, TOLERANCE, TOLERANCE, 0.0, NULL, NULL,
                                           &reason, p->search);
    const gsl_vector *residual = gsl_multifit_nlinear_residual(p->search);
    *cost = 0.0;
    for (size_t i = 0; i < p->count; i++)
        *cost += pow(gsl_vector_get(residual, i), 2);
    return (code == GSL_SUCCESS || reason == GSL_ENOPROG) && isfinite(*cost);
}

/* Leave the best solution in `search`. */
static orth_status search_all(problem *p, orth_scaling_law *law)
{
    gsl_multifit_nlinear_fdf fdf = {
        .f = residual_of, .df = jacobian_of, .n = p->count, .p = p->fitted, .params = p};
    double best = INFINITY, cost = 0.0, best_share = 0.0;
    law->starts = p->irreducible ? (int)(sizeof shares / sizeof *shares) : 1;
    for (int s = 0; s < law->starts; s++) {
        double share = p->irreducible ? shares[s] : 0.0;
        if (set_start(p, share) != GSL_SUCCESS || !search_from(p, &fdf, &cost))
            continue;
        orth_alive();
        law->converged++;
        if (cost < best) {
            best = cost;
            best_share = share;
        }
    }
    if (law->converged == 0)
        return orth_fail(ORTH_ERR_DATA,
                         "scaling law: the search did not converge from any of %d starts; train "
                         "more models%s",
                         law->starts, p->irreducible ? " or leave the irreducible term out" : "");
    set_start(p, best_share);
    search_from(p, &fdf, &cost);
    return ORTH_OK;
}

/* ---- what was found ---- */

static double variance_of(const problem *p)
{
    double mean = 0.0, sum = 0.0;
    for (size_t i = 0; i < p->count; i++)
        mean += log(p->points[i].loss) / (double)p->count;
    for (size_t i = 0; i < p->count; i++)
        sum += pow(log(p->points[i].loss) - mean, 2);
    return sum;
}

/* Standard error of a combination of the coefficients. */
static double error_of(const orth_scaling_law *law, const double weight[ORTH_SCALING_COUNT])
{
    double sum = 0.0;
    for (int a = 0; a < ORTH_SCALING_COUNT; a++)
        for (int b = 0; b < ORTH_SCALING_COUNT; b++)
            sum += weight[a] * weight[b] * law->covariance[a][b];
    return sqrt(fmax(sum, 0.0));
}

/* Whether single coefficients say little: they trade places, or the floor could be many others. */
static bool is_loose(const problem *p, const orth_scaling_law *law)
{
    double log_k = 0.0;
    for (size_t i = 0; i < p->count; i++)
        log_k += log(p->points[i].k) / (double)p->count;
    const double floor[ORTH_SCALING_COUNT] = {
        [ORTH_SCALING_ZETA] = 1.0, [ORTH_SCALING_ETA] = log_k};
    return !(law->condition < LOOSE_CONDITION) ||
           (law->irreducible && isfinite(law->sigma) && error_of(law, floor) > LOOSE_FLOOR);
}

static void describe(problem *p, orth_scaling_law *law)
{
    const gsl_vector *residual = gsl_multifit_nlinear_residual(p->search);
    const gsl_matrix *jacobian = gsl_multifit_nlinear_jac(p->search);
    double cost = 0.0, total = variance_of(p), freedom = (double)p->count - (double)p->fitted;
    for (size_t i = 0; i < p->count; i++)
        cost += pow(gsl_vector_get(residual, i), 2);
    law->sigma = freedom > 0.0 ? sqrt(cost / freedom) : NAN;
    law->r_square = total > 0.0 ? 1.0 - cost / total : NAN;
    law->condition = condition_of(jacobian, p);
    gsl_multifit_nlinear_covar(jacobian, 0.0, p->square);
    expand(p, gsl_multifit_nlinear_position(p->search), law->value);
    for (int a = 0; a < ORTH_SCALING_COUNT; a++) {
        for (int b = 0; b < ORTH_SCALING_COUNT; b++)
            if (p->place[a] >= 0 && p->place[b] >= 0)
                law->covariance[a][b] =
                    law->sigma * law->sigma *
                    gsl_matrix_get(p->square, (size_t)p->place[a], (size_t)p->place[b]);
        law->error[a] = law->used[a] ? sqrt(law->covariance[a][a]) : 0.0;
    }
    law->loose = is_loose(p, law);
}

orth_status orth_scaling_fit(const orth_scaling_point *points, int64_t count, bool irreducible,
                             orth_scaling_law *out)
{
    orth_scaling_law law = {0};
    problem p;
    ORTH_TRY(choose_coefficients(points, count, irreducible, &law));
    gsl_error_handler_t *handler = gsl_set_error_handler_off();
    orth_status status = create_problem(points, &law, &p);
    if (status == ORTH_OK)
        status = prepare_design(&p);
    if (status == ORTH_OK)
        status = search_all(&p, &law);
    if (status == ORTH_OK) {
        describe(&p, &law);
        *out = law;
    }
    free_problem(&p);
    gsl_set_error_handler(handler);
    return status;
}

double orth_scaling_predict(const orth_scaling_law *law, double n, double k, double *log_error)
{
    double gradient[ORTH_SCALING_COUNT];
    double log_l = log_loss(law->value, law->irreducible, n, k, gradient);
    for (int c = 0; c < ORTH_SCALING_COUNT; c++)
        gradient[c] = law->used[c] ? gradient[c] : 0.0;
    if (log_error)
        *log_error = isfinite(law->sigma) ? error_of(law, gradient) : NAN;
    return exp(log_l);
}
