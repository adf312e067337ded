#include "keys.h"

#include <orthant/base/memory.h>

#include <orthant/base/number.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Longest piece of a name or value that an error quotes. */
#define QUOTED "%.200s"

static orth_status no_memory(void)
{
    return orth_fail(ORTH_ERR_ENVIRONMENT, "configuration: out of memory; free some on this host");
}

char *orth_origin_text(orth_origin origin, char out[ORTH_PLACE_ROOM])
{
    if (!origin.source)
        snprintf(out, ORTH_PLACE_ROOM, "default");
    else if (origin.line > 0)
        snprintf(out, ORTH_PLACE_ROOM, "%.400s, line %lld", origin.source, (long long)origin.line);
    else
        snprintf(out, ORTH_PLACE_ROOM, "%.400s", origin.source);
    return out;
}

static void expected_range(const char *what, const orth_key_range *range, char *out)
{
    char low[ORTH_NUMBER_ROOM], high[ORTH_NUMBER_ROOM];
    int length = snprintf(out, ORTH_EXPECTED_ROOM, "%s %s %s", what,
                          range->above ? ">" : ">=", orth_number_write(range->low, low));
    if (isfinite(range->high) && range->high < 1e9)
        snprintf(out + length, (size_t)(ORTH_EXPECTED_ROOM - length), " and %s %s",
                 range->below ? "<" : "<=", orth_number_write(range->high, high));
    else if (isfinite(range->high))
        snprintf(out + length, (size_t)(ORTH_EXPECTED_ROOM - length), " and at most %.0f",
                 range->high);
}

char *orth_key_expected(const orth_key *key, char out[ORTH_EXPECTED_ROOM])
{
    size_t length = 0;
    switch (key->type) {
    case ORTH_KEY_STRING:
        snprintf(out, ORTH_EXPECTED_ROOM, "a text");
        break;
    case ORTH_KEY_STRINGS:
        snprintf(out, ORTH_EXPECTED_ROOM, "a text or a list of texts");
        break;
    case ORTH_KEY_INTEGER:
        expected_range("an integer", &key->range, out);
        break;
    case ORTH_KEY_NUMBER:
        expected_range("a number", &key->range, out);
        break;
    case ORTH_KEY_BOOLEAN:
        snprintf(out, ORTH_EXPECTED_ROOM, "true or false");
        break;
    case ORTH_KEY_CHOICE:
        out[0] = '\0';
        for (int i = 0; key->choices[i] && length < ORTH_EXPECTED_ROOM; i++)
            length += (size_t)snprintf(out + length, ORTH_EXPECTED_ROOM - length, "%s%s",
                                       i ? " | " : "", key->choices[i]);
        break;
    case ORTH_KEY_TIME:
        snprintf(out, ORTH_EXPECTED_ROOM, "a time HH:MM:SS > 0");
        break;
    case ORTH_KEY_INTERVAL:
        snprintf(out, ORTH_EXPECTED_ROOM, "a time HH:MM:SS > 0 or a number of steps >= 1");
        break;
    }
    length = strlen(out);
    if (key->absent)
        snprintf(out + length, ORTH_EXPECTED_ROOM - length, ", or %s", key->absent);
    return out;
}

void orth_raw_value_free(orth_raw_value *value)
{
    for (int64_t i = 0; i < value->count; i++)
        free(value->items[i]);
    free(value->items);
    *value = (orth_raw_value){0};
}

orth_status orth_raw_value_add(orth_raw_value *value, const char *text, size_t length,
                               orth_origin origin)
{
    char place[ORTH_PLACE_ROOM];
    if (memchr(text, '\0', length))
        return orth_fail(ORTH_ERR_USAGE, "%s: a value holds a zero byte; remove it",
                         orth_origin_text(origin, place));
    /* Room doubles whenever the count reaches a power of two. */
    if ((value->count & (value->count - 1)) == 0) {
        size_t room = value->count ? 2 * (size_t)value->count : 1;
        char **items = orth_realloc(value->items, room * sizeof *items);
        if (!items)
            return no_memory();
        value->items = items;
    }
    char *copy = orth_malloc(length + 1);
    if (!copy)
        return no_memory();
    memcpy(copy, text, length);
    copy[length] = '\0';
    value->items[value->count++] = copy;
    return ORTH_OK;
}

/* Whether a text is UTF-8 without control characters but tab: what the resolved YAML can hold. */
static bool is_text(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c;) {
        int more = *c < 0x80 ? 0 : *c >= 0xC2 && *c < 0xE0 ? 1 : *c >> 4 == 0xE ? 2 : 3;
        if ((*c < 0x20 && *c != '\t') || *c == 0x7F || (*c >= 0x80 && *c < 0xC2) || *c > 0xF4)
            return false;
        /* Overlong forms, surrogates and code points beyond U+10FFFF. */
        if ((*c == 0xE0 && c[1] < 0xA0) || (*c == 0xED && c[1] > 0x9F) ||
            (*c == 0xF0 && c[1] < 0x90) || (*c == 0xF4 && c[1] > 0x8F))
            return false;
        for (c++; more > 0; more--, c++)
            if (*c >> 6 != 2)
                return false;
    }
    return true;
}

static bool in_range(const orth_key_range *range, double value)
{
    return (range->above ? value > range->low : value >= range->low) &&
           (range->below ? value < range->high : value <= range->high);
}

static const char OUT_OF_RANGE[] = "is out of range";

static const char *store_integer(const orth_key *key, const char *text, int64_t *field)
{
    int64_t value;
    const char *why = orth_number_integer(text, &value);
    if (!why && !in_range(&key->range, (double)value))
        why = OUT_OF_RANGE;
    if (!why)
        *field = value;
    return why;
}

static const char *store_number(const orth_key *key, const char *text, double *field)
{
    double value;
    const char *why = orth_number_parse(text, &value);
    if (!why && !in_range(&key->range, value))
        why = OUT_OF_RANGE;
    if (!why)
        *field = value;
    return why;
}

static const char *store_time(const char *text, double *field)
{
    double value;
    const char *why = orth_number_time(text, &value);
    if (!why && value <= 0)
        why = OUT_OF_RANGE;
    if (!why)
        *field = value;
    return why;
}

static const char *store_interval(const orth_key *key, const char *text, orth_interval *field)
{
    orth_interval value = {0};
    const char *why = strchr(text, ':') ? store_time(text, &value.seconds)
                                        : store_integer(key, text, &value.steps);
    if (!why)
        *field = value;
    return why;
}

static const char *store_boolean(const char *text, bool *field)
{
    bool yes = strcmp(text, "true") == 0 || strcmp(text, "True") == 0;
    if (!yes && strcmp(text, "false") != 0 && strcmp(text, "False") != 0)
        return "is not a truth value";
    *field = yes;
    return NULL;
}

static const char *store_choice(const orth_key *key, const char *text, int *field)
{
    for (int i = 0; key->choices[i]; i++)
        if (strcmp(key->choices[i], text) == 0) {
            *field = i;
            return NULL;
        }
    return "is not one of the choices";
}

static void free_strings(orth_strings *strings)
{
    for (int64_t i = 0; i < strings->count; i++)
        free(strings->items[i]);
    free(strings->items);
    *strings = (orth_strings){0};
}

/* Empty the field: 0, NULL, no items. */
static void store_absent(const orth_key *key, void *field)
{
    switch (key->type) {
    case ORTH_KEY_STRING:
        free(*(char **)field);
        *(char **)field = NULL;
        break;
    case ORTH_KEY_STRINGS:
        free_strings(field);
        break;
    case ORTH_KEY_INTEGER:
        *(int64_t *)field = 0;
        break;
    case ORTH_KEY_NUMBER:
    case ORTH_KEY_TIME:
        *(double *)field = 0;
        break;
    case ORTH_KEY_INTERVAL:
        *(orth_interval *)field = (orth_interval){0};
        break;
    case ORTH_KEY_BOOLEAN:
    case ORTH_KEY_CHOICE:
        break;
    }
}

/* Copies of all items, into a zeroed list. */
static orth_status copy_strings(char *const *items, int64_t count, orth_strings *out)
{
    out->items = orth_calloc((size_t)count, sizeof *out->items);
    if (!out->items)
        return no_memory();
    for (; out->count < count; out->count++) {
        out->items[out->count] = orth_strdup(items[out->count]);
        if (!out->items[out->count])
            return no_memory();
    }
    return ORTH_OK;
}

static orth_status store_texts(const orth_key *key, const orth_raw_value *value, void *field)
{
    orth_strings copies = {0};
    orth_status status = copy_strings(value->items, value->count, &copies);
    if (status != ORTH_OK) {
        free_strings(&copies);
        return status;
    }
    store_absent(key, field);
    if (key->type == ORTH_KEY_STRINGS) {
        *(orth_strings *)field = copies;
    } else {
        *(char **)field = copies.items[0];
        free(copies.items);
    }
    return ORTH_OK;
}

/* Why the one value of a key that is no text cannot be stored; NULL when it was. */
static const char *store_scalar(const orth_key *key, const char *text, void *field)
{
    switch (key->type) {
    case ORTH_KEY_INTEGER:
        return store_integer(key, text, field);
    case ORTH_KEY_NUMBER:
        return store_number(key, text, field);
    case ORTH_KEY_TIME:
        return store_time(text, field);
    case ORTH_KEY_INTERVAL:
        return store_interval(key, text, field);
    case ORTH_KEY_BOOLEAN:
        return store_boolean(text, field);
    case ORTH_KEY_CHOICE:
        return store_choice(key, text, field);
    case ORTH_KEY_STRING:
    case ORTH_KEY_STRINGS:
        break;
    }
    return "cannot be stored";
}

orth_status orth_key_store(const orth_key *key, const orth_raw_value *value, orth_origin origin,
                           orth_config *config)
{
    void *field = (char *)config + key->offset;
    char place[ORTH_PLACE_ROOM], expected[ORTH_EXPECTED_ROOM];
    orth_origin_text(origin, place);
    orth_key_expected(key, expected);
    bool texts = key->type == ORTH_KEY_STRING || key->type == ORTH_KEY_STRINGS;
    if (value->is_list && key->type != ORTH_KEY_STRINGS)
        return orth_fail(ORTH_ERR_USAGE, "%s: %s: a list is not allowed here; give %s", place,
                         key->path, expected);
    if (value->is_list && value->count == 0 && !key->absent)
        return orth_fail(ORTH_ERR_USAGE, "%s: %s: the list is empty; give %s", place, key->path,
                         expected);
    for (int64_t i = 0; i < value->count; i++) {
        if (!value->items[i][0])
            return orth_fail(ORTH_ERR_USAGE, "%s: %s: the value is empty; give %s", place,
                             key->path, expected);
        if (texts && !is_text(value->items[i]))
            return orth_fail(ORTH_ERR_USAGE,
                             "%s: %s: '" QUOTED "' is not UTF-8 or holds control characters; "
                             "rename it or use a link",
                             place, key->path, value->items[i]);
    }
    if (value->count <= 0 ||
        (!value->is_list && key->absent && strcmp(value->items[0], key->absent) == 0)) {
        store_absent(key, field);
        return ORTH_OK;
    }
    if (texts)
        return store_texts(key, value, field);
    const char *why = store_scalar(key, value->items[0], field);
    if (why)
        return orth_fail(ORTH_ERR_USAGE, "%s: %s: '" QUOTED "' %s; give %s", place, key->path,
                         value->items[0], why, expected);
    return ORTH_OK;
}

orth_status orth_config_give(orth_config_loader *loader, const char *path,
                             const orth_raw_value *value, orth_origin origin)
{
    char place[ORTH_PLACE_ROOM], nearest[ORTH_PATH_ROOM];
    int index = orth_key_find(path);
    if (index < 0)
        return orth_fail(ORTH_ERR_USAGE, "%s: unknown key '%.120s'; did you mean %s?",
                         orth_origin_text(origin, place), path, orth_key_nearest(path, nearest));
    orth_origin *given = &loader->origins[index];
    if (origin.line > 0 && given->line > 0)
        return orth_fail(ORTH_ERR_USAGE, "%s: %s is given twice, first on line %lld; remove one",
                         orth_origin_text(origin, place), path, (long long)given->line);
    ORTH_TRY(orth_key_store(&orth_keys[index], value, origin, loader->config));
    *given = origin;
    return ORTH_OK;
}
