/* An evaluation as JSON. */
#include <orthant/run/evaluate.h>

#include <orthant/par/agree.h>
#include <orthant/run/json_value.h>

#include <jansson.h>

static json_t *json_of_l0(const orth_quality *q, bool arrays)
{
    json_t *l0 = json_object();
    orth_json_set_number(l0, "mean", q->l0);
    orth_json_set_number(l0, "p5", q->l0_p5);
    orth_json_set_number(l0, "p50", q->l0_p50);
    orth_json_set_number(l0, "p95", q->l0_p95);
    orth_json_set_integer(l0, "max", q->l0_max);
    if (arrays)
        json_object_set_new(l0, "histogram", orth_json_histogram(&q->l0_histogram));
    return l0;
}

static json_t *json_of_elbo(const orth_quality *q, bool arrays)
{
    json_t *elbo = json_object();
    orth_json_set_number(elbo, "median", q->elbo_median);
    orth_json_set_number(elbo, "q25", q->elbo_q25);
    orth_json_set_number(elbo, "q75", q->elbo_q75);
    orth_json_set_number(elbo, "mean", q->elbo_mean);
    orth_json_set_integer(elbo, "undefined", q->elbo_undefined);
    if (arrays)
        json_object_set_new(elbo, "histogram", orth_json_histogram(&q->elbo_histogram));
    return elbo;
}

static json_t *json_of_eps(const orth_coherence *coherence)
{
    json_t *eps = json_object();
    orth_json_set_number(eps, "max", coherence->max);
    orth_json_set_number(eps, "mean", coherence->mean);
    orth_json_set_number(eps, "max_abs", coherence->max_abs);
    orth_json_set_number(eps, "mean_abs", coherence->mean_abs);
    orth_json_set_number(eps, "welch", coherence->welch);
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
        orth_json_set_number(bound, "eps", orth_zf_eps[i]);
        orth_json_set_number(bound, "lower", lower);
        orth_json_set_number(bound, "upper", upper);
        orth_json_set_number(bound, "within", within / (double)q->tokens);
        orth_json_set_integer(bound, "above", c->above[i]);
        orth_json_set_integer(bound, "below", c->below[i]);
        json_array_append_new(bounds, bound);
    }
    return bounds;
}

static json_t *json_of_zf(const orth_quality *q)
{
    json_t *zf = json_object();
    orth_json_set_integer(zf, "over", q->zf_counts.over);
    orth_json_set_integer(zf, "under", q->zf_counts.under);
    json_object_set_new(zf, "bounds", json_of_bounds(q));
    json_object_set_new(zf, "z", orth_json_numbers(q->zf.z, q->zf.count));
    json_object_set_new(zf, "f", orth_json_numbers(q->zf.f, q->zf.count));
    return zf;
}

static json_t *json_of_quasi(const orth_evaluation *evaluation)
{
    const orth_quasi *quasi = &evaluation->quality.quasi;
    json_t *object = json_object();
    double tokens = (double)evaluation->quality.tokens;
    orth_json_set_number(object, "largest_ratio", quasi->largest);
    if (evaluation->has_eps) {
        orth_json_set_number(object, "eps_max", evaluation->eps_unit);
        orth_json_set_number(object, "eps_bias", evaluation->eps_bias);
        orth_json_set_integer(object, "violations", quasi->violations);
        orth_json_set_number(object, "within", (double)quasi->within / tokens);
        orth_json_set_number(object, "within_wide", (double)quasi->within_wide / tokens);
    }
    return object;
}

orth_status orth_evaluation_json(const orth_evaluation *evaluation, bool arrays, json_t **out)
{
    const orth_quality *q = &evaluation->quality;
    json_t *object = json_object();
    if (!object)
        return orth_fail(ORTH_ERR_ENVIRONMENT, "evaluation: out of memory for its JSON");
    json_object_set_new(object, "step", orth_json_step(evaluation->step));
    orth_json_set_integer(object, "n_latent", q->n_latent);
    orth_json_set_integer(object, "d_model", q->d_model);
    orth_json_set_integer(object, "tokens", q->tokens);
    orth_json_set_integer(object, "skipped", evaluation->skipped);
    orth_json_set_number(object, "mse", q->mse);
    orth_json_set_number(object, "nmse", q->nmse);
    orth_json_set_number(object, "fvu", q->fvu);
    orth_json_set_number(object, "explained_variance", 1.0 - q->fvu);
    orth_json_set_number(object, "cosine", q->cosine);
    json_object_set_new(object, "l0", json_of_l0(q, arrays));
    orth_json_set_integer(object, "dead", q->dead);
    orth_json_set_integer(object, "rare", q->rare);
    orth_json_set_number(object, "afa", q->afa);
    json_object_set_new(object, "elbo", json_of_elbo(q, arrays));
    orth_json_set_number(object, "description_length", q->description_length);
    if (evaluation->has_eps)
        json_object_set_new(object, "eps", json_of_eps(&evaluation->eps));
    orth_json_set_number(object, "seconds", evaluation->seconds);
    if (arrays) {
        json_object_set_new(object, "frequency", orth_json_histogram(&q->frequency));
        json_object_set_new(object, "zf", json_of_zf(q));
        json_object_set_new(object, "quasi_orthogonality", json_of_quasi(evaluation));
    }
    *out = object;
    return ORTH_OK;
}

static orth_status describe(const orth_evaluation *evaluation, const char *model, json_t **out)
{
    ORTH_TRY(orth_evaluation_json(evaluation, true, out));
    orth_json_set_text(*out, "model", model);
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
