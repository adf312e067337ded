#include <orthant/run/json_value.h>

#include <orthant/base/memory.h>
#include <orthant/base/utf8.h>
#include <orthant/sae/model.h>

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

json_t *orth_json_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *orth_json_numbers(const double *values, int64_t count)
{
    json_t *array = json_array();
    for (int64_t i = 0; i < count; i++)
        json_array_append_new(array, orth_json_number(values[i]));
    return array;
}

json_t *orth_json_text(const char *text)
{
    json_t *whole = text ? json_string(text) : json_null();
    if (whole)
        return whole;
    int64_t length = (int64_t)strlen(text);
    char *clean = orth_malloc(3 * (size_t)length);
    if (!clean)
        return NULL;
    whole = json_stringn(clean, (size_t)orth_utf8_repair(text, length, clean));
    free(clean);
    return whole;
}

json_t *orth_json_step(int64_t step)
{
    return step == ORTH_STEP_UNKNOWN ? json_null() : json_integer((json_int_t)step);
}

json_t *orth_json_histogram(const orth_histogram *histogram)
{
    json_t *counts = json_array(), *both = json_object();
    for (int64_t i = 0; i < histogram->bins; i++)
        json_array_append_new(counts, json_integer((json_int_t)histogram->counts[i]));
    json_object_set_new(both, "edges", orth_json_numbers(histogram->edges, histogram->bins + 1));
    json_object_set_new(both, "counts", counts);
    return both;
}

double orth_json_number_at(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

void orth_json_set_number(json_t *object, const char *name, double value)
{
    json_object_set_new(object, name, orth_json_number(value));
}

void orth_json_set_integer(json_t *object, const char *name, int64_t value)
{
    json_object_set_new(object, name, json_integer((json_int_t)value));
}

void orth_json_set_text(json_t *object, const char *name, const char *text)
{
    json_object_set_new(object, name, orth_json_text(text));
}
