/* An evaluation as JSON. */
#include <orthant/run/evaluate.h>

#include <orthant/par/agree.h>

#include <jansson.h>
#include <math.h>

static void set_number(json_t *object, const char *name, double value)
{
    json_object_set_new(object, name, isfinite(value) ? json_real(value) : json_null());
}

static void set_integer(json_t *object, const char *name, int64_t value)
{
    json_object_set_new(object, name, json_integer((json_int_t)value));
}

static json_t *numbers(const double *values, int64_t count)
{
    json_t *array = json_array();
    for (int64_t i = 0; i < count; i++)
        json_array_append_new(array, isfinite(values[i]) ? json_real(values[i]) : json_null());
    return array;
}

static void set_histogram(json_t *object, const char *name, const orth_histogram *histogram)
{
    json_t *counts = json_array(), *both = json_object();
    for (int64_t i = 0; i < histogram->bins; i++)
        json_array_append_new(counts, json_integer((json_int_t)histogram->counts[i]));
    json_object_set_new(both, "edges", numbers(histogram->edges, histogram->bins + 1));
    json_object_set_new(both, "counts", counts);
    json_object_set_new(object, name, both);
}

static json_t *json_of_l0(const orth_quality *q, bool arrays)
{
    json_t *l0 = json_object();
    set_number(l0, "mean", q->l0);
    set_number(l0, "p5", q->l0_p5);
    set_number(l0, "p50", q->l0_p50);
    set_number(l0, "p95", q->l0_p95);
    set_integer(l0, "max", q->l0_max);
    if (arrays)
        set_histogram(l0, "histogram", &q->l0_histogram);
    return l0;
}

static json_t *json_of_elbo(const orth_quality *q, bool arrays)
{
    json_t *elbo = json_object();
    set_number(elbo, "median", q->elbo_median);
    set_number(elbo, "q25", q->elbo_q25);
    set_number(elbo, "q75", q->elbo_q75);
    set_number(elbo, "mean", q->elbo_mean);
    set_integer(elbo, "undefined", q->elbo_undefined);
    if (arrays)
        set_histogram(elbo, "histogram", &q->elbo_histogram);
    return elbo;
}

static json_t *json_of_eps(const orth_coherence *coherence)
{
    json_t *eps = json_object();
    set_number(eps, "max", coherence->max);
    set_number(eps, "mean", coherence->mean);
    set_number(eps, "max_abs", coherence->max_abs);
    set_number(eps, "mean_abs", coherence->mean_abs);
    set_number(eps, "welch", coherence->welch);
    return eps;
}

static json_t *json_of_bounds(const orth_quality *q)
{
    const orth_zf_counts *c = &q->zf_counts;
    json_t *bounds = json_array();
    for (int i = 0; i < ORTH_ZF_BOUNDS; i++) {
        json_t *bound = json_object();
        double lower, upper, within = (double)(q->tokens - c->above[i] - c->below[i]);
        orth_zf_bounds(orth_zf_eps[i], &lower, &upper);
        set_number(bound, "eps", orth_zf_eps[i]);
        set_number(bound, "lower", lower);
        set_number(bound, "upper", upper);
        set_number(bound, "within", within / (double)q->tokens);
        set_integer(bound, "above", c->above[i]);
        set_integer(bound, "below", c->below[i]);
        json_array_append_new(bounds, bound);
    }
    return bounds;
}

static json_t *json_of_zf(const orth_quality *q)
{
    json_t *zf = json_object();
    set_integer(zf, "over", q->zf_counts.over);
    set_integer(zf, "under", q->zf_counts.under);
    json_object_set_new(zf, "bounds", json_of_bounds(q));
    json_object_set_new(zf, "z", numbers(q->zf.z, q->zf.count));
    json_object_set_new(zf, "f", numbers(q->zf.f, q->zf.count));
    return zf;
}

static json_t *json_of_quasi(const orth_evaluation *evaluation)
{
    const orth_quasi *quasi = &evaluation->quality.quasi;
    json_t *object = json_object();
    double tokens = (double)evaluation->quality.tokens;
    set_number(object, "largest_ratio", quasi->largest);
    if (evaluation->has_eps) {
        set_number(object, "eps_max", evaluation->eps_unit);
        set_number(object, "eps_bias", evaluation->eps_bias);
        set_integer(object, "violations", quasi->violations);
        set_number(object, "within", (double)quasi->within / tokens);
        set_number(object, "within_wide", (double)quasi->within_wide / tokens);
    }
    return object;
}

orth_status orth_evaluation_json(const orth_evaluation *evaluation, bool arrays, json_t **out)
{
    const orth_quality *q = &evaluation->quality;
    json_t *object = json_object();
    if (!object)
        return orth_fail(ORTH_ERR_ENVIRONMENT, "evaluation: out of memory for its JSON");
    set_integer(object, "step", evaluation->step);
    set_integer(object, "n_latent", q->n_latent);
    set_integer(object, "d_model", q->d_model);
    set_integer(object, "tokens", q->tokens);
    set_integer(object, "skipped", evaluation->skipped);
    set_number(object, "mse", q->mse);
    set_number(object, "nmse", q->nmse);
    set_number(object, "fvu", q->fvu);
    set_number(object, "explained_variance", 1.0 - q->fvu);
    set_number(object, "cosine", q->cosine);
    json_object_set_new(object, "l0", json_of_l0(q, arrays));
    set_integer(object, "dead", q->dead);
    set_integer(object, "rare", q->rare);
    set_number(object, "afa", q->afa);
    json_object_set_new(object, "elbo", json_of_elbo(q, arrays));
    set_number(object, "description_length", q->description_length);
    if (evaluation->has_eps)
        json_object_set_new(object, "eps", json_of_eps(&evaluation->eps));
    set_number(object, "seconds", evaluation->seconds);
    if (arrays) {
        set_histogram(object, "frequency", &q->frequency);
        json_object_set_new(object, "zf", json_of_zf(q));
        json_object_set_new(object, "quasi_orthogonality", json_of_quasi(evaluation));
    }
    *out = object;
    return ORTH_OK;
}

static orth_status describe(const orth_evaluation *evaluation, const char *model, json_t **out)
{
    ORTH_TRY(orth_evaluation_json(evaluation, true, out));
    /* A path that is not UTF-8 cannot be told in JSON. */
    json_object_set_new(*out, "model", json_string(model));
    json_object_set_new(*out, "selection",
                        json_string(orth_selection_names[evaluation->selection]));
    return ORTH_OK;
}

static orth_status describe_all(const orth_evaluation *evaluations, const char *const *models,
                                int64_t count, json_t **out)
{
    json_t *array = json_array();
    if (count == 1) {
        json_decref(array);
        return describe(evaluations, models[0], out);
    }
    orth_status status = ORTH_OK;
    for (int64_t i = 0; status == ORTH_OK && i < count; i++) {
        json_t *object = NULL;
        status = describe(evaluations + i, models[i], &object);
        json_array_append_new(array, object);
    }
    *out = json_object();
    json_object_set_new(*out, "models", array);
    return status;
}

orth_status orth_evaluation_write(const orth_evaluation *evaluations, const char *const *models,
                                  int64_t count, orth_json_file *file, MPI_Comm comm)
{
    json_t *object = NULL;
    orth_status status = ORTH_OK;
    if (file)
        status = describe_all(evaluations, models, count, &object);
    status = orth_agree(comm, status);
    if (status == ORTH_OK)
        status = orth_json_file_write(file, object, comm);
    json_decref(object);
    return status;
}
