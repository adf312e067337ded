#include "keys.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { PATH_ROOM = 128 };

/* A YAML document being read as events; no tree is ever built, so a nesting bomb ends at its second
 * bracket. */
typedef struct reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the current one; deleted when the next is read */
    const char *text;
    int64_t length;
    const char *name;
} reader;

static int64_t event_line(const reader *r)
{
    return (int64_t)r->event.start_mark.line + 1;
}

static orth_origin here(const reader *r, int64_t line)
{
    return (orth_origin){.source = r->name, .line = line};
}

static orth_status malformed(const reader *r)
{
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_MEMORY_ERROR)
        return orth_fail(ORTH_ERR_ENVIRONMENT, "%.400s: out of memory; free some on this host",
                         r->name);
    int64_t line = (int64_t)p->problem_mark.line + 1, column = (int64_t)p->problem_mark.column + 1;
    if (p->error == YAML_READER_ERROR) {
        /* The reader knows a byte offset only. */
        line = column = 1;
        for (int64_t i = 0; i < r->length && i < (int64_t)p->problem_offset; i++) {
            column = r->text[i] == '\n' ? 1 : column + 1;
            line += r->text[i] == '\n';
        }
    }
    return orth_fail(ORTH_ERR_USAGE,
                     "%.400s, line %lld, column %lld: malformed YAML: %s%s%s; correct the text",
                     r->name, (long long)line, (long long)column, p->context ? p->context : "",
                     p->context ? ", " : "", p->problem ? p->problem : "unknown problem");
}

static orth_status next(reader *r)
{
    yaml_event_delete(&r->event);
    if (!yaml_parser_parse(&r->parser, &r->event))
        return malformed(r);
    const yaml_event_t *e = &r->event;
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (e->type == YAML_SCALAR_EVENT) {
        anchor = e->data.scalar.anchor;
        tag = e->data.scalar.tag;
    } else if (e->type == YAML_SEQUENCE_START_EVENT) {
        anchor = e->data.sequence_start.anchor;
        tag = e->data.sequence_start.tag;
    } else if (e->type == YAML_MAPPING_START_EVENT) {
        anchor = e->data.mapping_start.anchor;
        tag = e->data.mapping_start.tag;
    }
    if (e->type == YAML_ALIAS_EVENT || anchor || tag)
        return orth_fail(ORTH_ERR_USAGE,
                         "%.400s, line %lld: anchors, aliases and tags (&, *, !) are not "
                         "supported; write the value out, in quotes when it starts with one",
                         r->name, (long long)event_line(r));
    return ORTH_OK;
}

static orth_status wrong_shape(const reader *r, const char *what, const char *instead)
{
    return orth_fail(ORTH_ERR_USAGE, "%.400s, line %lld: %s; %s", r->name, (long long)event_line(r),
                     what, instead);
}

/* Start reading and go to the first node of the document; STREAM_END when there is none. */
static orth_status reader_start(reader *r, const char *text, int64_t length, const char *name)
{
    *r = (reader){.text = text, .length = length, .name = name};
    if (!yaml_parser_initialize(&r->parser))
        return orth_fail(ORTH_ERR_ENVIRONMENT, "%.400s: out of memory; free some on this host",
                         name);
    yaml_parser_set_input_string(&r->parser, (const unsigned char *)text, (size_t)length);
    ORTH_TRY(next(r)); /* stream start */
    ORTH_TRY(next(r));
    if (r->event.type == YAML_DOCUMENT_START_EVENT)
        ORTH_TRY(next(r));
    return ORTH_OK;
}

static void reader_end(reader *r)
{
    yaml_event_delete(&r->event);
    yaml_parser_delete(&r->parser);
}

/* From the end of the first node to the end of the stream: nothing may follow. */
static orth_status expect_end(reader *r)
{
    ORTH_TRY(next(r)); /* document end */
    ORTH_TRY(next(r));
    if (r->event.type != YAML_STREAM_END_EVENT)
        return wrong_shape(r, "a second document starts here", "give one document only");
    return ORTH_OK;
}

/* The items of a list whose start is the current event, up to its end. */
static orth_status read_items(reader *r, orth_raw_value *value)
{
    value->is_list = true;
    for (;;) {
        ORTH_TRY(next(r));
        if (r->event.type == YAML_SEQUENCE_END_EVENT)
            return ORTH_OK;
        if (r->event.type != YAML_SCALAR_EVENT)
            return wrong_shape(r, "a list holds a list or a map", "give texts only");
        ORTH_TRY(orth_raw_value_add(value, (const char *)r->event.data.scalar.value,
                                    r->event.data.scalar.length, here(r, event_line(r))));
    }
}

/* Whether some key starts with "path.". */
static bool is_section(const char *path)
{
    size_t length = strlen(path);
    for (const orth_key *key = orth_keys; key->path; key++)
        if (strncmp(key->path, path, length) == 0 && key->path[length] == '.')
            return true;
    return false;
}

static orth_status read_value(reader *r, const char *path, int64_t line, orth_config_loader *loader)
{
    orth_raw_value value = {0};
    orth_status status;
    if (r->event.type == YAML_SEQUENCE_START_EVENT)
        status = read_items(r, &value);
    else
        status = orth_raw_value_add(&value, (const char *)r->event.data.scalar.value,
                                    r->event.data.scalar.length, here(r, line));
    if (status == ORTH_OK)
        status = orth_config_give(loader, path, &value, here(r, line));
    orth_raw_value_free(&value);
    return status;
}

static orth_status read_section(reader *r, const char *prefix, orth_config_loader *loader);

/* The node that belongs to the key `path`; it is the current event. */
static orth_status read_node(reader *r, const char *path, int64_t line, orth_config_loader *loader)
{
    bool section = is_section(path);
    if (r->event.type == YAML_MAPPING_START_EVENT && section)
        return read_section(r, path, loader);
    if (section) {
        /* "model:" with nothing below it is an empty section. */
        if (r->event.type == YAML_SCALAR_EVENT && r->event.data.scalar.length == 0)
            return ORTH_OK;
        return orth_fail(ORTH_ERR_USAGE,
                         "%.400s, line %lld: %s is a section; write its keys below it, indented",
                         r->name, (long long)line, path);
    }
    if (r->event.type == YAML_MAPPING_START_EVENT && orth_key_find(path) >= 0)
        return orth_fail(ORTH_ERR_USAGE, "%.400s, line %lld: %s: a map is not allowed here; %s",
                         r->name, (long long)line, path, "give a value");
    if (r->event.type == YAML_MAPPING_START_EVENT || orth_key_find(path) < 0)
        return orth_config_give(loader, path, &(orth_raw_value){0}, here(r, line));
    return read_value(r, path, line, loader);
}

/* A map of keys whose start is the current event, up to its end. Sections do not nest in the table,
 * so neither does this. */
static orth_status read_section(reader *r, const char *prefix, orth_config_loader *loader)
{
    for (;;) {
        ORTH_TRY(next(r));
        if (r->event.type == YAML_MAPPING_END_EVENT)
            return ORTH_OK;
        if (r->event.type != YAML_SCALAR_EVENT)
            return wrong_shape(r, "a key is a list or a map", "write `key: value`");
        if (memchr(r->event.data.scalar.value, '\0', r->event.data.scalar.length))
            return wrong_shape(r, "a key holds a zero byte", "remove it");
        char path[PATH_ROOM];
        int64_t line = event_line(r);
        /* A cut key is longer than any in the table, so it stays unknown. */
        snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "." : "",
                 (const char *)r->event.data.scalar.value);
        ORTH_TRY(next(r));
        ORTH_TRY(read_node(r, path, line, loader));
    }
}

static orth_status read_root(reader *r, orth_config_loader *loader)
{
    if (r->event.type == YAML_STREAM_END_EVENT)
        return ORTH_OK;
    if (r->event.type == YAML_SCALAR_EVENT && r->event.data.scalar.length == 0)
        return expect_end(r);
    if (r->event.type != YAML_MAPPING_START_EVENT)
        return wrong_shape(r, "the document is not a map of keys",
                           "write `section:` and below it "
                           "`key: value`, indented");
    ORTH_TRY(read_section(r, "", loader));
    return expect_end(r);
}

orth_status orth_yaml_read(const char *text, int64_t length, const char *name,
                           orth_config_loader *loader)
{
    reader r;
    orth_status status = reader_start(&r, text, length, name);
    if (status == ORTH_OK)
        status = read_root(&r, loader);
    reader_end(&r);
    return status;
}

orth_status orth_yaml_list(const char *text, const char *name, orth_raw_value *out)
{
    reader r;
    orth_status status = reader_start(&r, text, (int64_t)strlen(text), name);
    if (status == ORTH_OK && r.event.type != YAML_SEQUENCE_START_EVENT)
        status = wrong_shape(&r, "is no list", "write [a, b]");
    if (status == ORTH_OK)
        status = read_items(&r, out);
    if (status == ORTH_OK)
        status = expect_end(&r);
    reader_end(&r);
    return status;
}
