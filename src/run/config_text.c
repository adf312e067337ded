#include "keys.h"

#include <orthant/base/memory.h>

#include <orthant/base/number.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

static orth_status no_memory(void)
{
    return orth_fail(ORTH_ERR_ENVIRONMENT, "configuration: out of memory; free some on this host");
}

static void write_time(double seconds, FILE *out)
{
    long long whole = (long long)ceil(seconds);
    fprintf(out, "%02lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
}

static void write_strings(const orth_strings *strings, FILE *out)
{
    for (int64_t i = 0; i < strings->count; i++)
        fprintf(out, "%s%s", i ? ", " : "", strings->items[i]);
}

/* Whether the field is empty: written as the key's word for that. */
static bool is_absent(const orth_key *key, const void *field)
{
    switch (key->type) {
    case ORTH_KEY_STRING:
        return !*(char *const *)field;
    case ORTH_KEY_STRINGS:
        return ((const orth_strings *)field)->count == 0;
    case ORTH_KEY_INTEGER:
        return key->absent && *(const int64_t *)field == 0;
    case ORTH_KEY_NUMBER:
    case ORTH_KEY_TIME:
        return key->absent && *(const double *)field == 0;
    case ORTH_KEY_INTERVAL:
        return ((const orth_interval *)field)->steps == 0 &&
               ((const orth_interval *)field)->seconds == 0;
    case ORTH_KEY_BOOLEAN:
    case ORTH_KEY_CHOICE:
        break;
    }
    return false;
}

static void write_field(const orth_key *key, const void *field, FILE *out)
{
    char number[ORTH_NUMBER_ROOM];
    const orth_interval *interval = field;
    switch (key->type) {
    case ORTH_KEY_STRING:
        fputs(*(char *const *)field, out);
        break;
    case ORTH_KEY_STRINGS:
        write_strings(field, out);
        break;
    case ORTH_KEY_INTEGER:
        fprintf(out, "%lld", (long long)*(const int64_t *)field);
        break;
    case ORTH_KEY_NUMBER:
        fputs(orth_number_write(*(const double *)field, number), out);
        break;
    case ORTH_KEY_BOOLEAN:
        fputs(*(const bool *)field ? "true" : "false", out);
        break;
    case ORTH_KEY_CHOICE:
        fputs(key->choices[*(const int *)field], out);
        break;
    case ORTH_KEY_TIME:
        write_time(*(const double *)field, out);
        break;
    case ORTH_KEY_INTERVAL:
        if (interval->steps)
            fprintf(out, "%lld", (long long)interval->steps);
        else
            write_time(interval->seconds, out);
        break;
    }
}

orth_status orth_key_text(const orth_key *key, const orth_config *config, char **out)
{
    const void *field = (const char *)config + key->offset;
    char *text = NULL;
    if (is_absent(key, field)) {
        text = key->absent ? orth_strdup(key->absent) : NULL;
        if (key->absent && !text)
            return no_memory();
        *out = text;
        return ORTH_OK;
    }
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    if (!stream)
        return no_memory();
    write_field(key, field, stream);
    bool failed = ferror(stream) != 0;
    if (fclose(stream) != 0 || failed) {
        free(text);
        return no_memory();
    }
    *out = text;
    return ORTH_OK;
}

orth_status orth_config_each(const orth_config *config,
                             void (*take)(void *context, const char *key, const char *value),
                             void *context)
{
    for (const orth_key *key = orth_keys; key->path; key++) {
        char *text = NULL;
        ORTH_TRY(orth_key_text(key, config, &text));
        if (text)
            take(context, key->path, text);
        free(text);
    }
    return ORTH_OK;
}

/* The emitter takes over an event whether it succeeds or not. */
static bool emit(yaml_emitter_t *emitter, yaml_event_t *event, int made)
{
    return made && yaml_emitter_emit(emitter, event);
}

static bool emit_scalar(yaml_emitter_t *emitter, const char *text)
{
    yaml_event_t event;
    return emit(emitter, &event,
                yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text, -1, 1,
                                             1, YAML_ANY_SCALAR_STYLE));
}

static bool emit_start(yaml_emitter_t *emitter)
{
    yaml_event_t event;
    return emit(
        emitter, &event,
        yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE));
}

static bool emit_end(yaml_emitter_t *emitter)
{
    yaml_event_t event;
    return emit(emitter, &event, yaml_mapping_end_event_initialize(&event));
}

static bool emit_strings(yaml_emitter_t *emitter, const orth_strings *strings)
{
    yaml_event_t event;
    if (!emit(
            emitter, &event,
            yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_SEQUENCE_STYLE)))
        return false;
    for (int64_t i = 0; i < strings->count; i++)
        if (!emit_scalar(emitter, strings->items[i]))
            return false;
    return emit(emitter, &event, yaml_sequence_end_event_initialize(&event));
}

/* "name: value", nothing for an empty field that has no word. */
static bool emit_key(yaml_emitter_t *emitter, const orth_key *key, const orth_config *config)
{
    const void *field = (const char *)config + key->offset;
    char *text;
    if (orth_key_text(key, config, &text) != ORTH_OK)
        return false;
    bool done = true;
    if (text) {
        done = emit_scalar(emitter, strchr(key->path, '.') + 1);
        if (key->type == ORTH_KEY_STRINGS && !is_absent(key, field))
            done = done && emit_strings(emitter, field);
        else
            done = done && emit_scalar(emitter, text);
    }
    free(text);
    return done;
}

static bool emit_sections(yaml_emitter_t *emitter, const orth_config *config)
{
    for (const orth_key *key = orth_keys; key->path;) {
        char section[32];
        size_t length = orth_key_section(key);
        snprintf(section, sizeof section, "%.*s", (int)length, key->path);
        if (!emit_scalar(emitter, section) || !emit_start(emitter))
            return false;
        for (; key->path && orth_key_section(key) == length &&
               strncmp(key->path, section, length) == 0;
             key++)
            if (!emit_key(emitter, key, config))
                return false;
        if (!emit_end(emitter))
            return false;
    }
    return true;
}

static bool emit_document(yaml_emitter_t *emitter, const orth_config *config)
{
    yaml_event_t event;
    return emit(emitter, &event, yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING)) &&
           emit(emitter, &event,
                yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1)) &&
           emit_start(emitter) && emit_sections(emitter, config) && emit_end(emitter) &&
           emit(emitter, &event, yaml_document_end_event_initialize(&event, 1)) &&
           emit(emitter, &event, yaml_stream_end_event_initialize(&event));
}

orth_status orth_config_text(const orth_config *config, char **out)
{
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    if (!stream)
        return no_memory();
    yaml_emitter_t emitter;
    bool done = yaml_emitter_initialize(&emitter) != 0;
    if (done) {
        yaml_emitter_set_output_file(&emitter, stream);
        yaml_emitter_set_unicode(&emitter, 1);
        yaml_emitter_set_width(&emitter, -1);
        done = emit_document(&emitter, config);
        yaml_emitter_delete(&emitter);
    }
    if (fclose(stream) != 0 || !done) {
        free(text);
        return no_memory();
    }
    *out = text;
    return ORTH_OK;
}

void orth_config_help(FILE *out)
{
    char expected[ORTH_EXPECTED_ROOM];
    fprintf(out, "Configuration keys (YAML: `section:` and below it `key: value`, or --set "
                 "section.key=value).\nNumbers may be written 1e-3, 1/32, 2^14, 65_536.\n");
    const orth_key *last = NULL;
    for (const orth_key *key = orth_keys; key->path; last = key++) {
        if (!last || orth_key_section(last) != orth_key_section(key) ||
            strncmp(last->path, key->path, orth_key_section(key)) != 0)
            fprintf(out, "\n");
        fprintf(out, "  %s: %s", key->path, orth_key_expected(key, expected));
        if (key->fallback)
            fprintf(out, " [default: %s]", key->fallback);
        fprintf(out, "\n      %s\n", key->help);
    }
}
