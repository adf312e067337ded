/* What `orthant info` says of a folder that another tool wrote. */
#include "info.h"

#include <orthant/foreign/sae_folder.h>
#include <orthant/par/agree.h>
#include <orthant/run/json_value.h>

#include <jansson.h>
#include <stdio.h>

static void print_folder(const char *path, const orth_sae_folder *folder)
{
    const orth_sae_description *d = orth_sae_folder_description(folder);
    const orth_tensor_file *tensors = orth_sae_folder_tensors(folder);
    orth_info_line(true, "folder", "%s", path);
    orth_info_line(true, "kind", "autoencoder of %s, %s", d->tool, d->architecture);
    orth_info_line(true, "selection", "%s", orth_selection_names[d->selection]);
    if (orth_selection_uses_k(d->selection))
        orth_info_line(true, "k", "%lld", (long long)d->k);
    orth_info_line(true, "n_latent", "%lld", (long long)d->n_latent);
    orth_info_line(true, "d_model", "%lld", (long long)d->d_model);
    orth_info_line(true, "input.norm", "%s", orth_input_names[d->input]);
    if (d->input == ORTH_INPUT_SCALE)
        orth_info_line(true, "input_scale", "%.9g", d->input_scale);
    orth_info_line(true, "optimizer state", "no");
    for (int64_t i = 0; i < orth_tensor_file_count(tensors); i++) {
        char shape[192];
        const orth_tensor_entry *entry = orth_tensor_file_entry(tensors, i);
        if (entry->kind == ORTH_ENTRY_TENSOR)
            orth_info_line(true, "tensor", "%s %s of %s", entry->name,
                           orth_tensor_shape_text(entry, shape),
                           orth_tensor_type_name(entry->type));
    }
}

static void describe(const char *path, const orth_sae_description *d, json_t *json)
{
    orth_json_set_text(json, "file", path);
    json_object_set_new(json, "kind", json_string("folder"));
    json_object_set_new(json, "tool", json_string(d->tool));
    json_object_set_new(json, "selection", json_string(orth_selection_names[d->selection]));
    json_object_set_new(json, "k", json_integer(d->k));
    json_object_set_new(json, "n_latent", json_integer(d->n_latent));
    json_object_set_new(json, "d_model", json_integer(d->d_model));
    json_object_set_new(json, "input_norm", json_string(orth_input_names[d->input]));
}

orth_status orth_info_folder(const char *path, bool verify, MPI_Comm world, bool speaks,
                             json_t *json)
{
    orth_sae_folder *folder = NULL;
    orth_status status = orth_sae_folder_open(path, world, &folder);
    if (status == ORTH_ERR_USAGE)
        return ORTH_ERR_DATA; /* as of any other thing that cannot be shown */
    ORTH_TRY(status);
    if (speaks)
        print_folder(path, folder);
    if (speaks && json)
        describe(path, orth_sae_folder_description(folder), json);
    orth_sae_folder_close(folder);
    if (verify)
        orth_info_line(speaks, "checksums", "none in this folder");
    return ORTH_OK;
}
