/* Which tool a folder is of, and what it says. */
#include "sae_folder_parts.h"

#include <orthant/base/memory.h>
#include <orthant/base/path.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A new tool: its operations in a file of its own, a declaration in sae_format.h, a line here. */
const sae_format *const sae_formats[] = {
    &sae_format_saelens, &sae_format_sparsify,    &sae_format_dictionary_learning,
    &sae_format_openai,  &sae_format_gemma_scope, NULL};

enum { CONFIG_BYTES_MOST = 16 << 20 };

/* What rank 0 has found, for all. */
typedef struct finding {
    int64_t format; ///< index in sae_formats, -1: none
    int64_t single; ///< 1: the path is the tensor file itself
} finding;

const sae_format *sae_format_named(const char *name)
{
    for (int i = 0; sae_formats[i]; i++)
        if (strcmp(sae_formats[i]->name, name) == 0)
            return sae_formats[i];
    return NULL;
}

const char *orth_sae_folder_tools(void)
{
    return "saelens, sparsify, dictionary_learning, openai";
}

static bool holds(const char *folder, const char *name)
{
    char *path = NULL;
    struct stat info;
    bool found = orth_path_format(&path, "%s/%s", folder, name) == ORTH_OK &&
                 stat(path, &info) == 0 && S_ISREG(info.st_mode);
    free(path);
    return found;
}

static int64_t format_of_folder(const char *folder)
{
    for (int64_t i = 0; sae_formats[i]; i++)
        if (holds(folder, sae_formats[i]->tensors_name))
            return i;
    return -1;
}

static int64_t format_of_file(const char *path)
{
    size_t length = strlen(path);
    for (int64_t i = 0; sae_formats[i]; i++) {
        const char *suffix = sae_formats[i]->suffix;
        size_t size = suffix ? strlen(suffix) : 0;
        if (size > 0 && length > size && strcmp(path + length - size, suffix) == 0)
            return i;
    }
    return -1;
}

/* A folder of a repository holds one such folder for each layer: name the first. */
static bool find_below(const char *path, char **out)
{
    DIR *folder = opendir(path);
    bool found = false;
    for (struct dirent *entry; folder && !found && (entry = readdir(folder)) != NULL;) {
        char *below = NULL;
        if (entry->d_name[0] != '.' &&
            orth_path_format(&below, "%s/%s", path, entry->d_name) == ORTH_OK &&
            format_of_folder(below) >= 0) {
            *out = below;
            found = true;
        } else {
            free(below);
        }
    }
    if (folder)
        closedir(folder);
    return found;
}

static bool has_config_alone(const char *path)
{
    return holds(path, "cfg.json") || holds(path, "config.json");
}

/* Rank 0 looks; *likely: the user means such a folder. */
static finding look(const char *path, bool *likely)
{
    struct stat info;
    char *below = NULL;
    finding found = {-1, 0};
    *likely = false;
    if (stat(path, &info) != 0)
        return found;
    if (S_ISDIR(info.st_mode)) {
        found.format = format_of_folder(path);
        *likely = found.format >= 0 || has_config_alone(path) || find_below(path, &below);
        free(below);
    } else {
        found.format = format_of_file(path);
        found.single = 1;
        *likely = found.format >= 0;
    }
    return found;
}

orth_status orth_sae_folder_recognise(const char *path, MPI_Comm comm, bool *out)
{
    int rank, likely = 0;
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    if (rank == 0) {
        bool found;
        look(path, &found);
        likely = found;
    }
    ORTH_TRY(orth_broadcast(&likely, 1, MPI_INT, 0, comm));
    *out = likely != 0;
    return ORTH_OK;
}

/* Why a path is no folder of a known tool. */
static orth_status explain(const char *path)
{
    struct stat info;
    char *below = NULL;
    orth_status status;
    if (stat(path, &info) != 0)
        return orth_fail(ORTH_ERR_USAGE, "%s: %s; give a folder that a tool wrote", path,
                         strerror(errno));
    if (has_config_alone(path))
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%s: its tensors are missing: none of sae_weights.safetensors, "
                         "sae.safetensors, ae.pt, autoencoder.pt, params.npz; get the whole folder",
                         path);
    if (find_below(path, &below))
        status =
            orth_fail(ORTH_ERR_USAGE,
                      "%s: holds several autoencoders; give one of them, such as %s", path, below);
    else
        status = orth_fail(ORTH_ERR_USAGE,
                           "%s: holds no autoencoder of a known tool; give a folder with "
                           "sae_weights.safetensors, sae.safetensors, ae.pt, autoencoder.pt or "
                           "params.npz",
                           path);
    free(below);
    return status;
}

static orth_status read_text(const char *path, char **text, int64_t *size)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return orth_fail(ORTH_ERR_CORRUPT, "%s: cannot be opened: %s; get the whole folder", path,
                         strerror(errno));
    char *all = orth_calloc(1, CONFIG_BYTES_MOST + 1);
    orth_status status = ORTH_OK;
    if (!all)
        status = orth_fail(ORTH_ERR_ENVIRONMENT, "%s: out of memory; free some", path);
    else
        *size = (int64_t)fread(all, 1, CONFIG_BYTES_MOST + 1, file);
    if (all && (ferror(file) || *size > CONFIG_BYTES_MOST))
        status = orth_fail(ORTH_ERR_CORRUPT,
                           "%s: cannot be read, or is no configuration; get the "
                           "folder again",
                           path);
    fclose(file);
    if (status == ORTH_OK)
        *text = all;
    else
        free(all);
    return status;
}

/* Rank 0 reads, all parse. */
static orth_status read_config(const char *path, MPI_Comm comm, json_t **out)
{
    int rank;
    char *text = NULL;
    int64_t size = 0;
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    orth_status status = rank == 0 ? read_text(path, &text, &size) : ORTH_OK;
    ORTH_TRY(orth_agree(comm, status));
    ORTH_TRY(orth_broadcast(&size, 1, MPI_INT64_T, 0, comm));
    if (rank != 0 && !(text = orth_calloc(1, (size_t)size + 1)))
        status = orth_fail(ORTH_ERR_ENVIRONMENT, "%s: out of memory; free some", path);
    status = orth_agree(comm, status);
    if (status == ORTH_OK)
        status = orth_broadcast(text, size, MPI_CHAR, 0, comm);
    if (status == ORTH_OK) {
        json_error_t error;
        *out = json_loadb(text, (size_t)size, JSON_REJECT_DUPLICATES, &error);
        if (!json_is_object(*out))
            status =
                orth_fail(ORTH_ERR_CORRUPT, "%s: is no JSON object (line %d: %s); get it again",
                          path, error.line, error.text);
    }
    free(text);
    return orth_agree(comm, status);
}

static orth_status name_files(orth_sae_folder *folder, const char *path, bool single)
{
    const sae_format *format = folder->format;
    ORTH_TRY(orth_path_format(&folder->path, "%s", path));
    if (format->config_name)
        ORTH_TRY(orth_path_format(&folder->config_path, "%s/%s", path, format->config_name));
    if (single)
        return orth_path_format(&folder->tensors_path, "%s", path);
    return orth_path_format(&folder->tensors_path, "%s/%s", path, format->tensors_name);
}

static orth_status open_parts(orth_sae_folder *folder, MPI_Comm comm)
{
    sae_source *source = &folder->source;
    source->path = folder->path;
    source->config_path = folder->config_path;
    source->description = (orth_sae_description){
        .tool = folder->format->name, .input = ORTH_INPUT_NONE, .input_scale = 1.0};
    if (folder->config_path)
        ORTH_TRY(read_config(folder->config_path, comm, &source->config));
    ORTH_TRY(orth_tensor_file_open(folder->tensors_path, ORTH_ERR_CORRUPT, comm, &source->tensors));
    return orth_agree(comm, folder->format->describe(source));
}

orth_status orth_sae_folder_open(const char *path, MPI_Comm comm, orth_sae_folder **out)
{
    int rank;
    finding found = {-1, 0};
    orth_sae_folder *folder = NULL;
    orth_status status = ORTH_OK;
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    if (rank == 0) {
        bool likely;
        found = look(path, &likely);
        if (found.format < 0)
            status = explain(path);
    }
    ORTH_TRY(orth_agree(comm, status));
    ORTH_TRY(orth_broadcast(&found, 2, MPI_INT64_T, 0, comm));
    status = ORTH_ALLOCATE(1, "folder of a tool", &folder);
    if (status == ORTH_OK) {
        folder->format = sae_formats[found.format];
        status = name_files(folder, path, found.single != 0);
    }
    status = orth_agree(comm, status);
    if (status == ORTH_OK)
        status = open_parts(folder, comm);
    if (status == ORTH_OK)
        *out = folder;
    else
        orth_sae_folder_close(folder);
    return status;
}

const orth_sae_description *orth_sae_folder_description(const orth_sae_folder *folder)
{
    return &folder->source.description;
}

const orth_tensor_file *orth_sae_folder_tensors(const orth_sae_folder *folder)
{
    return folder->source.tensors;
}

void orth_sae_folder_close(orth_sae_folder *folder)
{
    if (!folder)
        return;
    orth_tensor_file_close(folder->source.tensors);
    json_decref(folder->source.config);
    free(folder->path);
    free(folder->config_path);
    free(folder->tensors_path);
    orth_free(folder);
}
