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

/* What another HDF5 file of Orthant is, by its datasets: codes of `encode` or labels of `probe`. */
typedef enum file_kind { FILE_ACTIVATIONS, FILE_CODES, FILE_LABELS } file_kind;

static orth_status find_kind(orth_h5_file *file, const char *dataset, file_kind *out)
{
    bool there = false, start = false, latent = false, labels = false;
    *out = FILE_ACTIVATIONS;
    ORTH_TRY(orth_h5_exists(file, dataset, &there));
    ORTH_TRY(orth_h5_exists(file, "indptr", &start));
    ORTH_TRY(orth_h5_exists(file, "latent", &latent));
    ORTH_TRY(orth_h5_exists(file, "labels", &labels));
    if (!there && start && latent)
        *out = FILE_CODES;
    else if (!there && labels)
        *out = FILE_LABELS;
    return ORTH_OK;
}

/* A count of `name`'s rows or columns, less `less`. */
static orth_status show_extent(orth_h5_file *file, const char *name, int axis, int64_t less,
                               const char *label, bool speaks, json_t *json)
{
    orth_h5_dataset *data = NULL;
    ORTH_TRY(orth_h5_dataset_open(file, name, &data));
    const orth_h5_layout *layout = orth_h5_dataset_layout(data);
    int64_t count = axis < layout->rank ? layout->extent[axis] - less : 1;
    orth_info_line(speaks, label, "%lld", (long long)count);
    json_object_set_new(json, label, json_integer(count));
    orth_h5_dataset_close(data);
    return ORTH_OK;
}

static orth_status show_other(orth_h5_file *file, file_kind kind, bool speaks, json_t *json)
{
    static const char *const attributes[] = {"n_latent", "d_model", "model"};
    bool codes = kind == FILE_CODES;
    orth_info_line(speaks, "file", "%s", orth_h5_path(file));
    orth_info_line(speaks, "kind",
                   codes ? "codes, as orthant encode writes them (CSR)"
                         : "labels, as orthant probe reads them");
    orth_json_set_text(json, "file", orth_h5_path(file));
    json_object_set_new(json, "kind", json_string(codes ? "codes" : "labels"));
    ORTH_TRY(show_extent(file, codes ? "indptr" : "labels", 0, codes, "rows", speaks, json));
    if (codes)
        ORTH_TRY(show_extent(file, "latent", 0, 0, "entries", speaks, json));
    else
        ORTH_TRY(show_extent(file, "labels", 1, 0, "tasks", speaks, json));
    for (size_t i = 0; codes && i < sizeof attributes / sizeof *attributes; i++)
        ORTH_TRY(show_attribute(file, attributes[i], speaks, json));
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
    file_kind kind = FILE_ACTIVATIONS;
    ORTH_TRY(orth_h5_open(path, ORTH_H5_READ_INDEPENDENT, ORTH_ERR_DATA, world, &file));
    orth_status status = find_kind(file, dataset, &kind);
    if (status == ORTH_OK)
        status = kind == FILE_ACTIVATIONS ? show_activations(file, dataset, speaks, json)
                                          : show_other(file, kind, speaks, json);
    orth_h5_close(file);
    ORTH_TRY(orth_agree(world, status));
    if ((stats || verify) && kind != FILE_ACTIVATIONS)
        return orth_fail(ORTH_ERR_USAGE,
                         "%s: --stats and --verify are of activations and models; leave them out",
                         path);
    if (stats || verify)
        return read_activations(path, dataset, stats, verify, world, speaks, json);
    return ORTH_OK;
}
