/* What `orthant info` says of a file of tensors that another tool wrote. */
#include "info.h"

#include <orthant/foreign/tensor_file.h>
#include <orthant/run/json_value.h>

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

/* The value of an entry that is no tensor. */
static void print_value(const orth_tensor_entry *entry, const char *name)
{
    switch (entry->kind) {
    case ORTH_ENTRY_INTEGER:
        orth_info_line(true, "value", "%s: %" PRId64, name, entry->integer);
        break;
    case ORTH_ENTRY_REAL:
        orth_info_line(true, "value", "%s: %.17g", name, entry->real);
        break;
    case ORTH_ENTRY_BOOL:
        orth_info_line(true, "value", "%s: %s", name, entry->integer ? "true" : "false");
        break;
    case ORTH_ENTRY_TEXT:
        orth_info_line(true, "value", "%s: '%.200s'", name, entry->text);
        break;
    default:
        orth_info_line(true, "value", "%s: none", name);
    }
}

static void print_entry(const orth_tensor_entry *entry)
{
    char shape[192], name[256];
    snprintf(name, sizeof name, "%.200s", entry->name[0] ? entry->name : "(the only one)");
    if (entry->kind == ORTH_ENTRY_TENSOR)
        orth_info_line(true, "tensor", "%s %s of %s", name, orth_tensor_shape_text(entry, shape),
                       orth_tensor_type_name(entry->type));
    else
        print_value(entry, name);
}

static json_t *value_json(const orth_tensor_entry *entry)
{
    switch (entry->kind) {
    case ORTH_ENTRY_INTEGER:
        return json_integer(entry->integer);
    case ORTH_ENTRY_REAL:
        return json_real(entry->real);
    case ORTH_ENTRY_BOOL:
        return json_boolean(entry->integer);
    case ORTH_ENTRY_TEXT:
        return orth_json_text(entry->text);
    default:
        return NULL;
    }
}

/* A number that is not finite becomes null. */
static json_t *entry_json(const orth_tensor_entry *entry)
{
    json_t *object = json_object();
    orth_json_set_text(object, "name", entry->name);
    if (entry->kind != ORTH_ENTRY_TENSOR) {
        json_t *value = value_json(entry);
        json_object_set_new(object, "value", value ? value : json_null());
        return object;
    }
    json_t *shape = json_array();
    for (int i = 0; i < entry->rank; i++)
        json_array_append_new(shape, json_integer(entry->shape[i]));
    json_object_set_new(object, "type", json_string(orth_tensor_type_name(entry->type)));
    json_object_set_new(object, "shape", shape);
    return object;
}

orth_status orth_info_tensors(const char *path, bool verify, MPI_Comm world, bool speaks,
                              json_t *json)
{
    orth_tensor_file *file = NULL;
    ORTH_TRY(orth_tensor_file_open(path, ORTH_ERR_DATA, world, &file));
    const char *format = orth_tensor_format_name(orth_tensor_file_format(file));
    json_t *entries = json ? json_array() : NULL;
    orth_info_line(speaks, "file", "%s", path);
    orth_info_line(speaks, "kind", "tensors, %s", format);
    for (int64_t i = 0; speaks && i < orth_tensor_file_count(file); i++) {
        print_entry(orth_tensor_file_entry(file, i));
        json_array_append_new(entries, entry_json(orth_tensor_file_entry(file, i)));
    }
    orth_json_set_text(json, "file", path);
    json_object_set_new(json, "kind", json_string("tensors"));
    json_object_set_new(json, "format", json_string(format));
    json_object_set_new(json, "entries", entries);
    orth_tensor_file_close(file);
    if (verify)
        orth_info_line(speaks, "checksums", "none are read of files of this kind");
    return ORTH_OK;
}
