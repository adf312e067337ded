#include "report_parts.h"

#include <orthant/base/memory.h>

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

/* Length of the UTF-8 sequence that starts here, 0 where none does (RFC 3629). */
static size_t sequence(const unsigned char *text)
{
    unsigned first = text[0];
    if (first < 0x80)
        return 1;
    size_t length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    unsigned low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (first < 0xc2 || first > 0xf4 || text[1] < low || text[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

json_t *orth_report_string(const char *text)
{
    static const char replacement[] = "\xef\xbf\xbd";
    json_t *whole = text ? json_string(text) : json_null();
    if (whole)
        return whole;
    char *clean = orth_malloc(3 * strlen(text) + 1), *end = clean;
    if (!clean)
        return NULL;
    for (const unsigned char *from = (const unsigned char *)text; *from;) {
        size_t length = sequence(from);
        memcpy(end, length ? (const char *)from : replacement, length ? length : 3);
        end += length ? length : 3;
        from += length ? length : 1;
    }
    whole = json_stringn(clean, (size_t)(end - clean));
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
