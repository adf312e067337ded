#include "report_parts.h"

#include <orthant/base/memory.h>
#include <orthant/base/utf8.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

json_t *orth_report_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *orth_report_numbers(const double *values, int64_t count)
{
    json_t *array = json_array();
    for (int64_t i = 0; i < count; i++)
        json_array_append_new(array, orth_report_number(values[i]));
    return array;
}

json_t *orth_report_string(const char *text)
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

void orth_report_set(json_t *object, const char *name, json_t *value)
{
    if (object)
        json_object_set_new(object, name, value);
    else
        json_decref(value);
}

void orth_report_set_number(json_t *object, const char *name, double value)
{
    if (object)
        json_object_set_new(object, name, orth_report_number(value));
}

void orth_report_set_integer(json_t *object, const char *name, int64_t value)
{
    if (object)
        json_object_set_new(object, name, json_integer((json_int_t)value));
}

void orth_report_set_text(json_t *object, const char *name, const char *text)
{
    if (object)
        json_object_set_new(object, name, orth_report_string(text));
}
