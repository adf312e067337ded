/* How a run trained: metrics.jsonl, line by line, in memory that does not grow with it. */
#include "report_parts.h"

#include <orthant/base/memory.h>
#include <orthant/par/alive.h>
#include <orthant/par/phase.h>
#include <orthant/run/run_dir.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A curve has at most MOST_POINTS: longer ones keep the smallest and the largest value of each of
 * BUCKETS parts of the file, and their two ends. */
enum { MOST_POINTS = 2000, BUCKETS = MOST_POINTS / 2 - 1, MOST_RECORDS = 1000, SERIES = 10 };

static const char *const series_names[SERIES] = {
    "loss", "mse", "aux", "afa", "l0", "fvu", "n_dead", "grad_norm", "lr", "tokens_per_s"};

typedef struct point {
    double step, value;
} point;

/* One curve under way. */
typedef struct curve {
    json_t *steps, *values;
    point low, high, last;
    bool any; ///< low and high are of the bucket
    bool last_is_in;
} curve;

typedef struct training {
    bool all; ///< few enough lines: every point is kept
    int64_t lines, taken, bad;
    int64_t bucket;
    double first_step, step, tokens, epoch, time;
    curve curves[SERIES];
    double phase[ORTH_PHASE_COUNT];  ///< of the start under way
    double before[ORTH_PHASE_COUNT]; ///< of the starts before it
    int64_t starts;
    json_t *evaluations, *rollbacks;
} training;

static void put(curve *c, point p)
{
    json_array_append_new(c->steps, json_integer((json_int_t)p.step));
    json_array_append_new(c->values, orth_json_number(p.value));
    c->last_is_in = p.step == c->last.step;
}

/* The extremes of the bucket that ends, in their order. */
static void flush(curve *c)
{
    if (!c->any)
        return;
    bool low_first = c->low.step <= c->high.step;
    put(c, low_first ? c->low : c->high);
    if (c->low.step != c->high.step)
        put(c, low_first ? c->high : c->low);
    c->any = false;
}

static void add_point(training *t, curve *c, point p, bool new_bucket)
{
    bool first = json_array_size(c->steps) == 0 && !c->any;
    if (new_bucket)
        flush(c);
    c->last = p;
    c->last_is_in = false;
    if (t->all || first) {
        put(c, p);
        return;
    }
    if (isnan(p.value))
        return;
    if (!c->any || p.value < c->low.value)
        c->low = p;
    if (!c->any || p.value > c->high.value)
        c->high = p;
    c->any = true;
}

/* Phases count from the start of a process: a resumed run begins again at 0. */
static void add_phases(training *t, const json_t *line)
{
    double time = orth_json_number_at(line, "time");
    const json_t *phase = json_object_get(line, "phase");
    if (time < t->time) {
        t->starts++;
        for (int i = 0; i < ORTH_PHASE_COUNT; i++)
            t->before[i] += t->phase[i];
    }
    t->time = time;
    for (int i = 0; i < ORTH_PHASE_COUNT; i++) {
        double seconds = orth_json_number_at(phase, orth_phase_name((orth_phase)i));
        t->phase[i] = isnan(seconds) ? 0.0 : seconds;
    }
}

static void add_record(json_t *records, const json_t *line, const char *name)
{
    json_t *record = json_copy(json_object_get(line, name));
    if (json_array_size(records) == MOST_RECORDS)
        json_array_remove(records, MOST_RECORDS / 2);
    json_object_set(record, "step", json_object_get(line, "step"));
    json_array_append_new(records, record);
}

/* Whether the line is one of ours. */
static bool add_line(training *t, const char *text, size_t length, int64_t number)
{
    json_t *line = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
    bool good = json_is_object(line) && json_is_integer(json_object_get(line, "step"));
    if (good && json_is_object(json_object_get(line, "eval"))) {
        add_record(t->evaluations, line, "eval");
    } else if (good && json_is_object(json_object_get(line, "rollback"))) {
        add_record(t->rollbacks, line, "rollback");
    } else if (good) {
        int64_t bucket = number * BUCKETS / t->lines;
        bool new_bucket = bucket != t->bucket;
        t->bucket = bucket;
        t->step = orth_json_number_at(line, "step");
        t->tokens = orth_json_number_at(line, "tokens");
        t->epoch = orth_json_number_at(line, "epoch");
        if (t->taken++ == 0)
            t->first_step = t->step;
        for (int i = 0; i < SERIES; i++)
            add_point(t, &t->curves[i],
                      (point){t->step, orth_json_number_at(line, series_names[i])}, new_bucket);
        add_phases(t, line);
    }
    json_decref(line);
    return good;
}

static orth_status read_lines(FILE *file, const char *path, training *t)
{
    char *text = NULL;
    size_t room = 0;
    ssize_t length;
    for (int64_t number = 0; (length = getline(&text, &room, file)) >= 0; number++) {
        /* A line without an end is being written. */
        bool whole = text[length - 1] == '\n';
        if (!add_line(t, text, (size_t)length, number < t->lines ? number : t->lines - 1) && whole)
            t->bad++;
        orth_alive();
    }
    free(text);
    if (ferror(file))
        return orth_fail(ORTH_ERR_DATA, "%s: cannot be read: %s; see to its storage", path,
                         strerror(errno));
    if (t->bad > 0 && t->taken == 0)
        return orth_fail(ORTH_ERR_DATA,
                         "%s: none of its %lld lines are metrics of a run; leave this run out, or "
                         "restore the file",
                         path, (long long)t->bad);
    return ORTH_OK;
}

static int64_t count_lines(FILE *file)
{
    char block[1 << 14];
    int64_t lines = 0;
    for (size_t n; (n = fread(block, 1, sizeof block, file)) > 0;)
        for (size_t i = 0; i < n; i++)
            lines += block[i] == '\n';
    rewind(file);
    return lines + 1;
}

static json_t *curves_json(training *t)
{
    json_t *curves = json_object();
    for (int i = 0; i < SERIES; i++) {
        curve *c = &t->curves[i];
        flush(c);
        if (t->taken > 0 && !c->last_is_in)
            put(c, c->last);
        json_t *both = json_object();
        json_object_set_new(both, "step", json_incref(c->steps));
        json_object_set_new(both, "value", json_incref(c->values));
        json_object_set_new(curves, series_names[i], both);
    }
    return curves;
}

static json_t *training_json(training *t)
{
    json_t *object = json_object(), *phases = json_object();
    orth_json_set_integer(object, "logged_steps", t->taken);
    orth_json_set_integer(object, "damaged_lines", t->bad);
    orth_json_set_integer(object, "starts", t->starts);
    orth_json_set_number(object, "first_step", t->first_step);
    orth_json_set_number(object, "last_step", t->step);
    orth_json_set_number(object, "tokens", t->tokens);
    orth_json_set_number(object, "epoch", t->epoch);
    for (int i = 0; i < ORTH_PHASE_COUNT; i++)
        orth_json_set_number(phases, orth_phase_name((orth_phase)i), t->before[i] + t->phase[i]);
    json_object_set_new(object, "phases", phases);
    json_object_set_new(object, "curves", curves_json(t));
    json_object_set_new(object, "evaluations", json_incref(t->evaluations));
    json_object_set_new(object, "rollbacks", json_incref(t->rollbacks));
    return object;
}

static orth_status read_training(FILE *file, const char *path, json_t *model)
{
    training t = {.bucket = -1, .time = -1.0, .starts = 1};
    t.lines = count_lines(file);
    t.all = t.lines <= MOST_POINTS;
    t.evaluations = json_array();
    t.rollbacks = json_array();
    for (int i = 0; i < SERIES; i++)
        t.curves[i] = (curve){.steps = json_array(), .values = json_array()};
    orth_status status = read_lines(file, path, &t);
    if (status == ORTH_OK && t.taken > 0)
        json_object_set_new(model, "training", training_json(&t));
    for (int i = 0; i < SERIES; i++) {
        json_decref(t.curves[i].steps);
        json_decref(t.curves[i].values);
    }
    json_decref(t.evaluations);
    json_decref(t.rollbacks);
    return status;
}

orth_status orth_report_training(const char *run_dir, json_t *model)
{
    char *path = NULL;
    orth_status status = ORTH_OK;
    ORTH_TRY(orth_path_format(&path, "%s/metrics.jsonl", run_dir));
    FILE *file = fopen(path, "re");
    if (file) {
        status = read_training(file, path, model);
        fclose(file);
    } else if (errno != ENOENT) {
        status = orth_fail(ORTH_ERR_DATA, "%s: cannot be read: %s; give yourself the right to",
                           path, strerror(errno));
    }
    free(path);
    return status;
}
