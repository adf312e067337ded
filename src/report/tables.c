/* The tables that models were evaluated on, and the text around the tokens that the page shows. */
#include "report_parts.h"

#include <orthant/base/memory.h>
#include <orthant/base/path.h>
#include <orthant/io/h5.h>
#include <orthant/io/text.h>
#include <orthant/par/agree.h>
#include <orthant/par/alive.h>
#include <orthant/par/collective.h>

#include <stdlib.h>
#include <string.h>

typedef struct table {
    char *name; ///< dataset and files as they were given: what tells tables apart
    orth_dataset *dataset;
    orth_text *text;    ///< rank 0
    json_t *attributes; ///< rank 0
    int64_t *rows;      ///< (count) of (capacity), wanted
    int64_t count, capacity;
} table;

struct orth_report_tables {
    table *table;
    int64_t count;
};

orth_status orth_report_tables_create(orth_report_tables **out)
{
    return ORTH_ALLOCATE(1, "tables of a report", out);
}

static void close_table(table *t)
{
    orth_text_close(t->text);
    orth_dataset_close(t->dataset);
    json_decref(t->attributes);
    free(t->rows);
    free(t->name);
}

void orth_report_tables_free(orth_report_tables *tables)
{
    if (!tables)
        return;
    for (int64_t i = 0; i < tables->count; i++)
        close_table(&tables->table[i]);
    free(tables->table);
    orth_free(tables);
}

static orth_status name_of(const orth_strings *files, const char *dataset, char **out)
{
    size_t size = strlen(dataset) + 2;
    for (int64_t i = 0; i < files->count; i++)
        size += strlen(files->items[i]) + 1;
    char *name = orth_malloc(size), *end = name;
    if (!name)
        return orth_fail(ORTH_ERR_ENVIRONMENT, "report: out of memory; free memory");
    end = stpcpy(end, dataset);
    for (int64_t i = 0; i < files->count; i++) {
        *end++ = '\n';
        end = stpcpy(end, files->items[i]);
    }
    *out = name;
    return ORTH_OK;
}

/* Text or a whole number; what is neither, or not there, is left out. */
static void read_attribute(orth_h5_file *file, const char *name, json_t *attributes)
{
    bool there = false;
    char text[256];
    int64_t number;
    if (orth_h5_attribute_exists(file, "/", name, &there) == ORTH_OK && there) {
        if (orth_h5_attribute_read_text(file, "/", name, text, sizeof text) == ORTH_OK)
            orth_json_set_text(attributes, name, text);
        else if (orth_h5_attribute_read_int64(file, "/", name, &number) == ORTH_OK)
            orth_json_set_integer(attributes, name, number);
    }
    orth_error_clear();
}

/* What the first file says about where the activations come from. */
static orth_status read_attributes(table *t, MPI_Comm world)
{
    static const char *const names[] = {"model", "hook", "layer", "tokenizer", "context"};
    orth_h5_file *file = NULL;
    ORTH_TRY(
        orth_h5_open(orth_dataset_file(t->dataset, 0), ORTH_H5_READ, ORTH_ERR_DATA, world, &file));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        read_attribute(file, names[i], t->attributes);
    return orth_h5_close(file);
}

static orth_status open_table(const orth_strings *files, const char *dataset, MPI_Comm world,
                              table *t)
{
    int rank;
    ORTH_MPI(MPI_Comm_rank(world, &rank));
    ORTH_TRY(orth_dataset_open((const char *const *)files->items, files->count, dataset, world,
                               &t->dataset));
    orth_status status = ORTH_OK;
    if (rank == 0) {
        t->attributes = json_object();
        status = orth_text_open(t->dataset, &t->text);
    }
    ORTH_TRY(orth_agree(world, status));
    return read_attributes(t, world);
}

static orth_status add_table(orth_report_tables *tables, char *name, table **out)
{
    size_t count = (size_t)tables->count + 1;
    table *more = orth_realloc(tables->table, count * sizeof *more);
    if (!more) {
        free(name);
        return orth_fail(ORTH_ERR_ENVIRONMENT, "report: out of memory; free memory");
    }
    tables->table = more;
    more[tables->count] = (table){.name = name};
    *out = &more[tables->count++];
    return ORTH_OK;
}

orth_status orth_report_tables_open(orth_report_tables *tables, const orth_strings *files,
                                    const char *dataset, MPI_Comm world, int64_t *index)
{
    char *name = NULL;
    table *t = NULL;
    orth_status status = orth_agree(world, name_of(files, dataset, &name));
    for (int64_t i = 0; status == ORTH_OK && i < tables->count; i++)
        if (strcmp(tables->table[i].name, name) == 0) {
            free(name);
            *index = i;
            return ORTH_OK;
        }
    if (status != ORTH_OK) {
        free(name);
        return status;
    }
    ORTH_TRY(orth_agree(world, add_table(tables, name, &t)));
    status = open_table(files, dataset, world, t);
    *index = tables->count - 1;
    if (status != ORTH_OK) {
        close_table(t);
        tables->count--;
    }
    return status;
}

orth_dataset *orth_report_table(const orth_report_tables *tables, int64_t index)
{
    return tables->table[index].dataset;
}

bool orth_report_table_has_text(const orth_report_tables *tables, int64_t index)
{
    return orth_text_has_tokens(tables->table[index].text);
}

orth_status orth_report_table_want(orth_report_tables *tables, int64_t index, int64_t row)
{
    table *t = &tables->table[index];
    if (t->count == t->capacity) {
        int64_t capacity = t->capacity > 0 ? 2 * t->capacity : 4096;
        int64_t *more = orth_realloc(t->rows, (size_t)capacity * sizeof *more);
        if (!more)
            return orth_fail(ORTH_ERR_ENVIRONMENT,
                             "report: out of memory for the examples; lower --latents");
        t->rows = more;
        t->capacity = capacity;
    }
    t->rows[t->count++] = row;
    return ORTH_OK;
}

bool orth_report_tables_hold(const orth_report_tables *tables, const char *path)
{
    for (int64_t i = 0; i < tables->count; i++) {
        const orth_dataset *dataset = tables->table[i].dataset;
        for (int64_t k = 0; k < orth_dataset_files(dataset); k++)
            if (orth_same_file(orth_dataset_file(dataset, k), path))
                return true;
    }
    return false;
}

/* ---- as JSON ---- */

/* The strings of all tables, each once: tokens are their places in the list. */
typedef struct strings {
    json_t *list;
    json_t *places; ///< string: place
} strings;

static json_t *place_of(strings *s, const orth_context *context, int64_t i)
{
    char number[32];
    const char *string = context->string[i];
    if (!string) {
        snprintf(number, sizeof number, "[%lld]", (long long)context->token[i]);
        string = number;
    }
    json_t *place = json_object_get(s->places, string);
    if (!place) {
        place = json_integer((json_int_t)json_array_size(s->list));
        json_array_append_new(s->list, json_string(string));
        json_object_set_new(s->places, string, place);
    }
    return place;
}

/* Consecutive tokens of one document: those before `begin` + their number are in it. */
typedef struct segment {
    json_t *tokens;
    int64_t begin, end;
} segment;

static void start_segment(json_t *segments, const orth_context *context, int64_t begin,
                          segment *out)
{
    json_t *object = json_object();
    *out = (segment){.tokens = json_array(), .begin = begin, .end = begin};
    orth_json_set_integer(object, "row", begin);
    orth_json_set_text(object, "file", context->file);
    orth_json_set_integer(object, "row_in_file", context->row_in_file - context->place);
    orth_json_set_integer(object, "document", context->document);
    json_object_set_new(object, "tokens", out->tokens);
    json_array_append_new(segments, object);
}

static int ascending(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* The windows around the wanted rows, those that overlap as one. */
static orth_status write_segments(table *t, int64_t context, strings *s, json_t *segments)
{
    segment current = {.end = -1};
    int64_t document = -1;
    const char *file = NULL;
    if (t->count > 0)
        qsort(t->rows, (size_t)t->count, sizeof *t->rows, ascending);
    for (int64_t i = 0; i < t->count; i++) {
        orth_context window;
        if (i > 0 && t->rows[i] == t->rows[i - 1])
            continue;
        ORTH_TRY(orth_text_context(t->text, t->rows[i], context, context, &window));
        orth_alive();
        if (window.count == 0)
            continue;
        int64_t begin = t->rows[i] - window.place;
        if (begin > current.end || window.document != document || window.file != file)
            start_segment(segments, &window, begin, &current);
        document = window.document;
        file = window.file;
        for (; current.end < begin + window.count; current.end++)
            json_array_append(current.tokens, place_of(s, &window, current.end - begin));
    }
    return ORTH_OK;
}

static orth_status write_table(table *t, int64_t context, strings *s, json_t *list)
{
    json_t *object = json_object(), *files = json_array(), *segments = json_array();
    for (int64_t i = 0; i < orth_dataset_files(t->dataset); i++)
        json_array_append_new(files, orth_json_text(orth_dataset_file(t->dataset, i)));
    json_object_set_new(object, "files", files);
    orth_json_set_integer(object, "rows", orth_dataset_rows(t->dataset));
    json_object_set_new(object, "attributes", json_incref(t->attributes));
    json_object_set_new(object, "segments", segments);
    json_array_append_new(list, object);
    return write_segments(t, context, s, segments);
}

orth_status orth_report_tables_write(const orth_report_tables *tables, int64_t context,
                                     json_t *document)
{
    strings s = {.list = json_array(), .places = json_object()};
    json_t *list = json_array();
    orth_status status = ORTH_OK;
    for (int64_t i = 0; status == ORTH_OK && i < tables->count; i++)
        status = write_table(&tables->table[i], context, &s, list);
    json_object_set_new(document, "tables", list);
    json_object_set_new(document, "strings", s.list);
    json_decref(s.places);
    return status;
}
