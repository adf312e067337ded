#include <orthant/run/json_value.h>

#include <jansson.h>
#include <math.h>

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

json_t *orth_json_histogram(const orth_histogram *histogram)
{
    json_t *counts = json_array(), *both = json_object();
    for (int64_t i = 0; i < histogram->bins; i++)
        json_array_append_new(counts, json_integer((json_int_t)histogram->counts[i]));
    json_object_set_new(both, "edges", orth_json_numbers(histogram->edges, histogram->bins + 1));
    json_object_set_new(both, "counts", counts);
    return both;
}

void orth_json_set_number(json_t *object, const char *name, double value)
{
    json_object_set_new(object, name, orth_json_number(value));
}

void orth_json_set_integer(json_t *object, const char *name, int64_t value)
{
    json_object_set_new(object, name, json_integer((json_int_t)value));
}
