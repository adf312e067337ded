#include "info.h"

#include <orthant/app/verb.h>
#include <orthant/foreign/sae_folder.h>
#include <orthant/foreign/tensor_file.h>
#include <orthant/par/collective.h>
#include <orthant/run/checkpoint.h>
#include <orthant/run/json_file.h>
#include <orthant/run/run_dir.h>

#include <jansson.h>
#include <string.h>
#include <sys/stat.h>

/* What a path is, found out before it is opened. */
typedef enum path_kind { PATH_OTHER, PATH_FILE, PATH_RUN_FOLDER, PATH_FOLDER } path_kind;

/* Rank 0 looks, so that all go the same way. */
static orth_status look(const char *path, MPI_Comm world, bool looks, path_kind *out)
{
    int kind = PATH_OTHER;
    struct stat info;
    bool there = looks && stat(path, &info) == 0;
    if (there && S_ISREG(info.st_mode))
        kind = PATH_FILE;
    else if (there && S_ISDIR(info.st_mode))
        kind = orth_run_dir_recognise(path) ? PATH_RUN_FOLDER : PATH_FOLDER;
    ORTH_TRY(orth_broadcast(&kind, 1, MPI_INT, 0, world));
    *out = (path_kind)kind;
    return ORTH_OK;
}

/* Whether the name says checkpoint: decides what a file that cannot be opened is called. */
static bool named_as_checkpoint(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    return strncmp(name, "step-", 5) == 0;
}

/* What the path is decides who tells of it. */
static orth_status show_kind(const orth_call *call, MPI_Comm world, bool speaks, json_t *json,
                             bool *activations)
{
    const char *path = orth_call_argument(call, 0);
    bool verify = orth_call_flag(call, "verify"), stats = orth_call_flag(call, "stats");
    path_kind kind;
    ORTH_TRY(look(path, world, speaks, &kind));
    if (kind == PATH_RUN_FOLDER)
        return orth_info_run(path, verify, world, speaks, json);
    bool foreign = false;
    if (kind == PATH_FOLDER)
        ORTH_TRY(orth_sae_folder_recognise(path, world, &foreign));
    if (foreign)
        return orth_info_folder(path, verify, world, speaks, json);
    if (kind == PATH_FOLDER)
        return orth_fail(ORTH_ERR_DATA,
                         "%s: is a folder, with neither checkpoints nor an autoencoder of a known "
                         "tool; name a run directory, such a tool's folder or a file",
                         path);
    bool checkpoint = kind == PATH_FILE && named_as_checkpoint(path), tensors = false;
    if (!checkpoint && kind == PATH_FILE)
        ORTH_TRY(orth_tensor_file_recognise(path, world, &tensors));
    if (tensors)
        return orth_info_tensors(path, verify, world, speaks, json);
    if (!checkpoint)
        ORTH_TRY(orth_checkpoint_recognise(path, world, &checkpoint));
    if (checkpoint)
        return orth_info_checkpoint(path, verify, world, speaks, json);
    *activations = true;
    return orth_info_activations(path, orth_call_text(call, "dataset"), stats, verify, world,
                                 speaks, json);
}

/* Everything but what is done with `json`. */
static orth_status show(const orth_call *call, MPI_Comm world, bool speaks, json_t *json)
{
    bool activations = false;
    ORTH_TRY(show_kind(call, world, speaks, json, &activations));
    if (orth_call_flag(call, "stats") && !activations)
        orth_info_line(speaks, "stats", "of HDF5 activations alone: orthant convert makes them");
    return ORTH_OK;
}

static orth_status info(const orth_call *call, MPI_Comm world)
{
    const char *path = orth_call_text(call, "json");
    orth_json_file *file = NULL;
    int rank;
    ORTH_MPI(MPI_Comm_rank(world, &rank));
    if (path)
        ORTH_TRY(orth_json_file_open(path, world, &file));
    json_t *json = path && rank == 0 ? json_object() : NULL;
    orth_status status = show(call, world, rank == 0, json);
    if (path && status == ORTH_OK)
        status = orth_json_file_write(file, json, world);
    orth_json_file_close(file);
    json_decref(json);
    return status;
}

static const orth_option options[] = {
    {"stats", ORTH_OPTION_FLAG, NULL, NULL,
     "Read all activations: norms, mean, std, rows with NaN or Inf, outlier dimensions."},
    {"verify", ORTH_OPTION_FLAG, NULL, NULL, "Read all checksums; exit 5 when one fails."},
    {"json", ORTH_OPTION_OUTPUT, "FILE", NULL,
     "Also write what is shown, with 17 digits, and with --stats mean and rms of each dimension."},
    {"dataset", ORTH_OPTION_TEXT, "NAME", "activations", "Dataset of an activation file."},
    {NULL, ORTH_OPTION_FLAG, NULL, NULL, NULL},
};

const orth_verb orth_verb_info = {
    .name = "info",
    .usage = "FILE [--stats] [--verify] [--json FILE]",
    .summary = "show what a checkpoint, a run directory, a file of activations or tensors, or "
               "another tool's folder holds",
    .min_argument = 1,
    .max_argument = 1,
    .options = options,
    .run = info,
};
