#include <orthant/app/verb.h>

#include <orthant/base/log.h>
#include <orthant/base/memory.h>
#include <orthant/base/number.h>
#include <orthant/eval/scaling_law.h>
#include <orthant/par/agree.h>
#include <orthant/run/json_file.h>
#include <orthant/run/json_value.h>
#include <orthant/run/run_figures.h>

#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <string.h>

static const orth_option options[] = {
    {"metric", ORTH_OPTION_TEXT, "NAME", "fvu",
     "the loss: fvu (the normalised MSE of the paper), mse or nmse of the newest evaluation of "
     "each "
     "run; where no run has one, fvu or mse of the last logged step; loss: of the last logged "
     "step"},
    {"irreducible", ORTH_OPTION_FLAG, NULL, NULL,
     "adds exp(zeta + eta log k), what no number of latents removes; asks for more runs"},
    {"predict", ORTH_OPTION_LIST, "N,K...", NULL,
     "prints the law's loss for so many latents and so many active ones, for example 65536,32"},
    {"json", ORTH_OPTION_OUTPUT, "FILE", NULL,
     "writes the runs, the coefficients with their covariance, residuals and predictions"},
    {0}};

typedef enum metric { METRIC_FVU, METRIC_MSE, METRIC_NMSE, METRIC_LOSS, METRICS } metric;
static const char *const metric_names[METRICS] = {"fvu", "mse", "nmse", "loss"};

/* A fit under way. */
typedef struct session {
    metric metric;
    bool held_out; ///< the losses are of evaluations
    orth_run_list runs;
    orth_scaling_point *points; ///< (runs) those that take part, packed
    int64_t *run_of;            ///< (runs) of each point
    const char **left_out;      ///< (runs) why; NULL: takes part
    int64_t count;              ///< points
    orth_scaling_law law;
    orth_scaling_point *predictions; ///< (n_prediction)
    double *prediction_errors;       ///< of log L
    int64_t n_prediction;
    const char *json_path;
    orth_json_file *json;
} session;

/* ---- the arguments ---- */

static orth_status parse_prediction(const char *text, orth_scaling_point *out)
{
    const char *comma = strchr(text, ',');
    char first[64];
    if (comma && (size_t)(comma - text) < sizeof first) {
        snprintf(first, sizeof first, "%.*s", (int)(comma - text), text);
        if (!orth_number_parse(first, &out->n) && !orth_number_parse(comma + 1, &out->k) &&
            out->n > 0.0 && out->k > 0.0)
            return ORTH_OK;
    }
    return orth_fail(ORTH_ERR_USAGE,
                     "scaling: --predict: '%.100s' is not N,K; give two positive numbers, for "
                     "example 2^16,32",
                     text);
}

static orth_status parse_arguments(const orth_call *call, session *s)
{
    const char *name = orth_call_text(call, "metric");
    const char *const *wanted = orth_call_list(call, "predict", &s->n_prediction);
    while (s->metric < METRICS && strcmp(name, metric_names[s->metric]) != 0)
        s->metric++;
    if (s->metric == METRICS)
        return orth_fail(ORTH_ERR_USAGE,
                         "scaling: --metric: '%.100s' is none of fvu, mse, nmse, loss; give one",
                         name);
    ORTH_TRY(ORTH_ALLOCATE(s->n_prediction, "predictions", &s->predictions));
    ORTH_TRY(ORTH_ALLOCATE(s->n_prediction, "predictions", &s->prediction_errors));
    for (int64_t i = 0; i < s->n_prediction; i++)
        ORTH_TRY(parse_prediction(wanted[i], &s->predictions[i]));
    s->json_path = orth_call_text(call, "json");
    return ORTH_OK;
}

static orth_status read_runs(const orth_call *call, MPI_Comm world, session *s)
{
    int64_t n_path = orth_call_arguments(call);
    const char **paths = NULL;
    orth_status status = orth_agree(world, ORTH_ALLOCATE(n_path, "runs", &paths));
    for (int64_t i = 0; status == ORTH_OK && i < n_path; i++)
        paths[i] = orth_call_argument(call, (int)i);
    if (status == ORTH_OK)
        status = orth_run_list_read(paths, n_path, world, &s->runs);
    orth_free(paths);
    return status;
}

/* ---- the points ---- */

static double loss_of(const session *s, const orth_run_figures *run)
{
    const double held_out[METRICS] = {run->fvu, run->mse, run->nmse, NAN};
    const double in_training[METRICS] = {run->train_fvu, run->train_mse, NAN, run->loss};
    return s->held_out ? held_out[s->metric] : in_training[s->metric];
}

static const char *why_not(const session *s, const orth_run_figures *run)
{
    if (run->state != ORTH_RUN_DONE)
        return run->why;
    if (s->held_out && !run->evaluated)
        return "has no evaluation, others have one";
    if (run->n_latent == 0)
        return "does not tell its number of latents";
    if (!(orth_run_sparsity(run) > 0.0))
        return "does not tell its L0";
    if (!(loss_of(s, run) > 0.0) || !isfinite(loss_of(s, run)))
        return "does not tell its loss";
    return NULL;
}

/* Insertion sort by n, then k: a table that can be read. */
static void add_point(session *s, const orth_scaling_point *point, int64_t run)
{
    int64_t at = s->count++;
    for (; at > 0; at--) {
        const orth_scaling_point *before = &s->points[at - 1];
        if (before->n < point->n || (before->n == point->n && before->k <= point->k))
            break;
        s->points[at] = *before;
        s->run_of[at] = s->run_of[at - 1];
    }
    s->points[at] = *point;
    s->run_of[at] = run;
}

/* Losses of evaluations, unless no run that is done has one. */
static orth_status choose_points(session *s)
{
    int64_t n_run = s->runs.count;
    ORTH_TRY(ORTH_ALLOCATE(n_run, "points", &s->points));
    ORTH_TRY(ORTH_ALLOCATE(n_run, "points", &s->run_of));
    ORTH_TRY(ORTH_ALLOCATE(n_run, "reasons", &s->left_out));
    for (int64_t i = 0; i < n_run && s->metric != METRIC_LOSS; i++)
        s->held_out |= s->runs.items[i].state == ORTH_RUN_DONE && s->runs.items[i].evaluated;
    for (int64_t i = 0; i < n_run; i++) {
        const orth_run_figures *run = &s->runs.items[i];
        s->left_out[i] = why_not(s, run);
        if (s->left_out[i])
            continue;
        const orth_scaling_point point = {
            .n = (double)run->n_latent, .k = orth_run_sparsity(run), .loss = loss_of(s, run)};
        add_point(s, &point, i);
    }
    return ORTH_OK;
}

static void warn(const session *s)
{
    int64_t differing = 0;
    for (int64_t i = 0; i < s->runs.count; i++)
        if (s->left_out[i])
            orth_log_warning("%s is left out: %s", s->runs.items[i].path, s->left_out[i]);
    for (int64_t i = 0; i < s->count; i++) {
        const orth_run_figures *run = &s->runs.items[s->run_of[i]];
        const orth_run_figures *first = &s->runs.items[s->run_of[0]];
        differing += run->tokens != first->tokens;
        if (s->held_out && run->eval_step != run->step)
            orth_log_warning("%s: the newest evaluation is of step %" PRId64
                             ", the run made %" PRId64,
                             run->path, run->eval_step, run->step);
    }
    if (differing > 0)
        orth_log_warning("the runs were trained on different numbers of tokens; the law takes them "
                         "as equal");
}

/* ---- the results ---- */

static double residual_of(const session *s, int64_t point)
{
    const orth_scaling_point *p = &s->points[point];
    return log(p->loss) - log(orth_scaling_predict(&s->law, p->n, p->k, NULL));
}

static void print_runs(const session *s)
{
    printf("%10s %10s %12s %12s %10s  %s\n", "n", "k", metric_names[s->metric], "fit", "residual",
           "run");
    for (int64_t i = 0; i < s->count; i++) {
        const orth_scaling_point *p = &s->points[i];
        printf("%10.0f %10.6g %12.6g %12.6g %10.2e  %s\n", p->n, p->k, p->loss,
               orth_scaling_predict(&s->law, p->n, p->k, NULL), residual_of(s, i),
               s->runs.items[s->run_of[i]].path);
    }
}

/* Where there are as many runs as coefficients nothing is left to tell errors from. */
static const char *error_text(double error, char room[32])
{
    if (isfinite(error))
        snprintf(room, 32, "%.2g", error);
    else
        snprintf(room, 32, "unknown");
    return room;
}

static void print_law(const session *s)
{
    char room[32];
    const orth_scaling_law *law = &s->law;
    printf("\nL(n, k) = exp(alpha + beta_k log k + beta_n log n + gamma log k log n)%s\n",
           law->irreducible ? " + exp(zeta + eta log k)" : "");
    for (int c = 0; c < ORTH_SCALING_COUNT; c++) {
        if (law->used[c])
            printf("%-8s %12.6g +- %s\n", orth_scaling_names[c], law->value[c],
                   error_text(law->error[c], room));
        else if (c < ORTH_SCALING_ZETA || law->irreducible)
            printf("%-8s %12s\n", orth_scaling_names[c], "left out: the runs do not vary it");
    }
    printf("runs     %12" PRId64 "\nR^2      %12.6g of log L\nsigma    %12s of log L\n",
           law->points, law->r_square, error_text(law->sigma, room));
    for (int64_t i = 0; i < s->n_prediction; i++)
        printf("L(%.10g, %.10g) = %.6g, +- %s of its logarithm\n", s->predictions[i].n,
               s->predictions[i].k, s->predictions[i].loss,
               error_text(s->prediction_errors[i], room));
}

static json_t *json_of_law(const orth_scaling_law *law)
{
    json_t *values = json_object(), *errors = json_object(), *covariance = json_array();
    for (int a = 0; a < ORTH_SCALING_COUNT; a++) {
        json_t *row = json_array();
        const char *name = orth_scaling_names[a];
        json_object_set_new(values, name,
                            law->used[a] ? orth_json_number(law->value[a]) : json_null());
        json_object_set_new(errors, name,
                            law->used[a] ? orth_json_number(law->error[a]) : json_null());
        for (int b = 0; b < ORTH_SCALING_COUNT; b++)
            json_array_append_new(row, law->used[a] && law->used[b]
                                           ? orth_json_number(law->covariance[a][b])
                                           : json_null());
        json_array_append_new(covariance, row);
    }
    return json_pack("{s:b, s:o, s:o, s:o, s:I, s:i, s:o, s:o, s:o, s:i, s:i, s:b}", "irreducible",
                     law->irreducible, "coefficients", values, "standard_errors", errors,
                     "covariance", covariance, "points", (json_int_t)law->points, "parameters",
                     law->parameters, "r_square", orth_json_number(law->r_square), "sigma",
                     orth_json_number(law->sigma), "condition", orth_json_number(law->condition),
                     "starts", law->starts, "converged", law->converged, "loose", law->loose);
}

static json_t *json_of_session(const session *s)
{
    json_t *runs = json_array(), *left_out = json_array(), *predictions = json_array();
    for (int64_t i = 0; i < s->count; i++) {
        const orth_scaling_point *p = &s->points[i];
        const orth_run_figures *run = &s->runs.items[s->run_of[i]];
        json_array_append_new(
            runs, json_pack("{s:o, s:f, s:f, s:f, s:f, s:I, s:I}", "run", orth_json_text(run->path),
                            "n", p->n, "k", p->k, "loss", p->loss, "residual", residual_of(s, i),
                            "step", (json_int_t)(s->held_out ? run->eval_step : run->step),
                            "tokens", (json_int_t)run->tokens));
    }
    for (int64_t i = 0; i < s->runs.count; i++)
        if (s->left_out[i])
            json_array_append_new(left_out, json_pack("{s:o, s:o}", "run",
                                                      orth_json_text(s->runs.items[i].path), "why",
                                                      orth_json_text(s->left_out[i])));
    for (int64_t i = 0; i < s->n_prediction; i++)
        json_array_append_new(predictions,
                              json_pack("{s:f, s:f, s:f, s:o}", "n", s->predictions[i].n, "k",
                                        s->predictions[i].k, "loss", s->predictions[i].loss,
                                        "log_error", orth_json_number(s->prediction_errors[i])));
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "metric", metric_names[s->metric], "source",
                     s->held_out ? "evaluation" : "training", "law", json_of_law(&s->law), "runs",
                     runs, "left_out", left_out, "predictions", predictions);
}

static orth_status tell(session *s, int rank, MPI_Comm world)
{
    for (int64_t i = 0; i < s->n_prediction; i++)
        s->predictions[i].loss = orth_scaling_predict(
            &s->law, s->predictions[i].n, s->predictions[i].k, &s->prediction_errors[i]);
    if (rank == 0) {
        print_runs(s);
        print_law(s);
        if (s->law.loose)
            orth_log_warning("these runs hardly determine the coefficients one by one: use the law "
                             "between them, and add runs of other n and k");
    }
    if (!s->json_path)
        return ORTH_OK;
    json_t *object = s->json ? json_of_session(s) : NULL;
    orth_status status = ORTH_OK;
    if (s->json && !object)
        status = orth_fail(ORTH_ERR_ENVIRONMENT, "scaling: out of memory for its JSON; free some");
    status = orth_agree(world, status);
    if (status == ORTH_OK)
        status = orth_json_file_write(s->json, object, world);
    json_decref(object);
    return status;
}

static orth_status fit(const orth_call *call, MPI_Comm world, session *s)
{
    int rank;
    MPI_Comm_rank(world, &rank);
    ORTH_TRY(orth_agree(world, parse_arguments(call, s)));
    if (s->json_path)
        ORTH_TRY(orth_json_file_open(s->json_path, world, &s->json));
    ORTH_TRY(read_runs(call, world, s));
    orth_status status = choose_points(s);
    if (status == ORTH_OK) {
        warn(s);
        status =
            orth_scaling_fit(s->points, s->count, orth_call_flag(call, "irreducible"), &s->law);
    }
    ORTH_TRY(orth_agree(world, status));
    return tell(s, rank, world);
}

static orth_status scaling(const orth_call *call, MPI_Comm world)
{
    session s = {0};
    orth_status status = fit(call, world, &s);
    orth_json_file_close(s.json);
    orth_free(s.points);
    orth_free(s.run_of);
    orth_free(s.left_out);
    orth_free(s.predictions);
    orth_free(s.prediction_errors);
    orth_run_list_free(&s.runs);
    return status;
}

const orth_verb orth_verb_scaling = {
    .name = "scaling",
    .usage = "RUN...",
    .summary =
        "fit how the loss falls with the number of latents and k over runs or folders of them",
    .min_argument = 1,
    .max_argument = INT_MAX,
    .options = options,
    .run = scaling};
