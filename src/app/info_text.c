/* What `orthant info` found, as text and as JSON. */
#include "info.h"

#include <orthant/base/memory.h>
#include <orthant/run/json_value.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { OUTLIERS_SHOWN = 8 };

/* ---- activations ---- */

static orth_status print_outliers(const orth_activation_stats *stats)
{
    orth_outlier *outliers = NULL;
    int64_t found = 0;
    char list[512] = "";
    ORTH_TRY(orth_activation_outliers(stats, &outliers, &found));
    for (int64_t i = 0; i < found && i < OUTLIERS_SHOWN; i++) {
        size_t length = strlen(list);
        snprintf(list + length, sizeof list - length, "%s%lld (%.1fx)", i ? ", " : ": ",
                 (long long)outliers[i].dimension, outliers[i].times);
    }
    orth_info_line(true, "outlier dimensions", "%lld with an rms above 6 times the median%s%s",
                   (long long)found, list, found > OUTLIERS_SHOWN ? ", ..." : "");
    orth_free(outliers);
    return ORTH_OK;
}

orth_status orth_activation_stats_print(const orth_activation_stats *stats)
{
    orth_info_line(true, "mean norm", "%.9g", stats->mean_norm);
    orth_info_line(true, "norms", "p5 %.9g, p50 %.9g, p95 %.9g, max %.9g", stats->norm[0],
                   stats->norm[1], stats->norm[2], stats->max_norm);
    orth_info_line(true, "norm of the mean", "%.9g", stats->norm_of_mean);
    orth_info_line(true, "mean", "%.9g", stats->mean);
    orth_info_line(true, "std", "%.9g", stats->std);
    orth_info_line(true, "max |value|", "%.9g", stats->max_abs);
    orth_info_line(true, "zero rows", "%lld", (long long)stats->zero_rows);
    if (stats->nonfinite) {
        orth_info_line(true, "rows with NaN or Inf", "%lld, the first is row %lld",
                       (long long)stats->nonfinite, (long long)stats->first_row);
        orth_info_line(true, "values", "%lld NaN, %lld Inf", (long long)stats->nan,
                       (long long)stats->inf);
    } else {
        orth_info_line(true, "rows with NaN or Inf", "0");
    }
    return print_outliers(stats);
}

static json_t *numbers(const double *values, int64_t count, bool roots)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < count; i++)
        json_array_append_new(list, orth_json_number(roots ? sqrt(values[i]) : values[i]));
    return list;
}

static json_t *outliers_json(const orth_activation_stats *stats)
{
    orth_outlier *outliers = NULL;
    int64_t found = 0;
    json_t *list = json_array();
    if (orth_activation_outliers(stats, &outliers, &found) != ORTH_OK) {
        orth_error_clear();
        return list;
    }
    for (int64_t i = 0; i < found; i++) {
        json_int_t dimension = outliers[i].dimension;
        json_array_append_new(
            list, json_pack("{s:I, s:f}", "dimension", dimension, "times", outliers[i].times));
    }
    orth_free(outliers);
    return list;
}

json_t *orth_activation_stats_json(const orth_activation_stats *stats)
{
    const struct {
        const char *name;
        int64_t value;
    } counts[] = {{"rows", stats->rows},
                  {"nonfinite_rows", stats->nonfinite},
                  {"first_nonfinite_row", stats->first_row},
                  {"nan", stats->nan},
                  {"inf", stats->inf},
                  {"zero_rows", stats->zero_rows}};
    const struct {
        const char *name;
        double value;
    } figures[] = {{"mean", stats->mean},
                   {"std", stats->std},
                   {"max_abs", stats->max_abs},
                   {"norm_of_mean", stats->norm_of_mean}};
    json_t *object = json_object(), *dimensions = json_object();
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        json_object_set_new(object, counts[i].name, json_integer(counts[i].value));
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        json_object_set_new(object, figures[i].name, orth_json_number(figures[i].value));
    json_object_set_new(
        object, "norm",
        json_pack("{s:o, s:o, s:o, s:o, s:o}", "mean", orth_json_number(stats->mean_norm), "p5",
                  orth_json_number(stats->norm[0]), "p50", orth_json_number(stats->norm[1]), "p95",
                  orth_json_number(stats->norm[2]), "max", orth_json_number(stats->max_norm)));
    json_object_set_new(object, "outliers", outliers_json(stats));
    json_object_set_new(dimensions, "mean", numbers(stats->mean_of, stats->d_model, false));
    json_object_set_new(dimensions, "rms", numbers(stats->square_mean, stats->d_model, true));
    json_object_set_new(object, "dimensions", dimensions);
    return object;
}
