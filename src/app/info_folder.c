/* What `orthant info` says of a folder that another tool wrote. */
#include "info.h"

#include <orthant/foreign/sae_folder.h>
#include <orthant/par/agree.h>

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

orth_status orth_info_folder(const char *path, bool verify, MPI_Comm world, bool speaks)
{
    orth_sae_folder *folder = NULL;
    ORTH_TRY(orth_sae_folder_open(path, world, &folder));
    if (speaks)
        print_folder(path, folder);
    orth_sae_folder_close(folder);
    if (verify)
        orth_info_line(speaks, "checksums", "none in this folder");
    return ORTH_OK;
}
