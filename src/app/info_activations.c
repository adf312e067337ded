/* What `orthant info` says of a file of activations. */
#include "info.h"

#include <orthant/io/h5.h>
#include <orthant/par/agree.h>
#include <orthant/run/json_value.h>

#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* Print a root attribute if it is there, whether text or number. */
static orth_status show_attribute(orth_h5_file *file, const char *name, bool speaks, json_t *json)
{
    bool there = false;
    ORTH_TRY(orth_h5_attribute_exists(file, "/", name, &there));
    if (!there)
        return ORTH_OK;
    char text[256];
    int64_t number;
    if (orth_h5_attribute_read_text(file, "/", name, text, sizeof text) == ORTH_OK) {
        orth_info_line(speaks, name, "%s", text);
        orth_json_set_text(json, name, text);
        return ORTH_OK;
    }
    orth_error_clear();
    if (orth_h5_attribute_read_int64(file, "/", name, &number) == ORTH_OK) {
        orth_info_line(speaks, name, "%lld", (long long)number);
        json_object_set_new(json, name, json_integer(number));
    } else {
        orth_info_line(speaks, name, "of another type");
    }
    orth_error_clear();
    return ORTH_OK;
}

static orth_status show_layout(orth_h5_file *file, const char *dataset, bool speaks, json_t *json)
{
    orth_h5_dataset *data = NULL;
    ORTH_TRY(orth_h5_dataset_open(file, dataset, &data));
    const orth_h5_layout *layout = orth_h5_dataset_layout(data);
    orth_info_line(speaks, "dataset", "%s", dataset);
    orth_info_line(speaks, "rows", "%lld", (long long)layout->extent[0]);
    orth_info_line(speaks, "width", "%lld", (long long)layout->extent[1]);
    orth_info_line(speaks, "type", "%s", layout->type_name);
    if (layout->chunk_rows)
        orth_info_line(speaks, "layout", "chunks of %lld rows", (long long)layout->chunk_rows);
    else
        orth_info_line(speaks, "layout", "contiguous");
    json_object_set_new(json, "dataset", json_string(dataset));
    json_object_set_new(json, "rows", json_integer(layout->extent[0]));
    json_object_set_new(json, "width", json_integer(layout->extent[1]));
    json_object_set_new(json, "type", json_string(layout->type_name));
    json_object_set_new(json, "chunk_rows", json_integer(layout->chunk_rows));
    orth_h5_dataset_close(data);
    return ORTH_OK;
}

static orth_status show_activations(orth_h5_file *file, const char *dataset, bool speaks,
                                    json_t *json)
{
    static const char *const attributes[] = {"model", "hook", "layer", "tokenizer", "context"};
    char names[1024];
    orth_info_line(speaks, "file", "%s", orth_h5_path(file));
    orth_info_line(speaks, "kind", "activations");
    orth_json_set_text(json, "file", orth_h5_path(file));
    json_object_set_new(json, "kind", json_string("activations"));
    ORTH_TRY(show_layout(file, dataset, speaks, json));
    for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++)
        ORTH_TRY(show_attribute(file, attributes[i], speaks, json));
    ORTH_TRY(orth_h5_names(file, "/", names, sizeof names));
    orth_info_line(speaks, "datasets", "%s", names);
    return ORTH_OK;
}

/* Reading every row checks whatever checksums the file's own filters keep. */
static orth_status read_activations(const char *path, const char *dataset, bool stats, bool verify,
                                    MPI_Comm world, bool speaks, json_t *json)
{
    orth_activation_stats figures = {0};
    orth_status status = orth_activation_stats_read(path, dataset, world, &figures);
    if (status == ORTH_ERR_DATA && verify) {
        char text[2048];
        snprintf(text, sizeof text, "%s", orth_error_text());
        orth_error_clear();
        return text[0] ? orth_fail(ORTH_ERR_CORRUPT, "%s", text) : ORTH_ERR_CORRUPT;
    }
    ORTH_TRY(status);
    if (stats && speaks)
        status = orth_activation_stats_print(&figures);
    if (stats && speaks && json)
        json_object_set_new(json, "stats", orth_activation_stats_json(&figures));
    orth_activation_stats_free(&figures);
    if (verify)
        orth_info_line(speaks, "checksums", "none in this file; every row was read");
    return orth_agree(world, status);
}

orth_status orth_info_activations(const char *path, const char *dataset, bool stats, bool verify,
                                  MPI_Comm world, bool speaks, json_t *json)
{
    orth_h5_file *file = NULL;
    ORTH_TRY(orth_h5_open(path, ORTH_H5_READ_INDEPENDENT, ORTH_ERR_DATA, world, &file));
    orth_status status = show_activations(file, dataset, speaks, json);
    orth_h5_close(file);
    ORTH_TRY(orth_agree(world, status));
    if (stats || verify)
        return read_activations(path, dataset, stats, verify, world, speaks, json);
    return ORTH_OK;
}
