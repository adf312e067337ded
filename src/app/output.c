#include "output.h"

#include <orthant/base/path.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/run/run_dir.h>

#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A file to be written that is there already. */
typedef struct target {
    const char *option, *path;
    char *real; ///< without symbolic links
} target;

static orth_status refuse(const char *option, const char *path, const char *what)
{
    return orth_fail(ORTH_ERR_USAGE, "--%s %s: is a file %s and would be lost; name another file",
                     option, path, what);
}

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* The folder that holds `path`, to be freed; NULL when memory is short. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = strdup(slash ? path : ".");
    if (folder && slash)
        folder[slash == path ? 1 : slash - path] = '\0';
    return folder;
}

static bool has(const char *folder, const char *name)
{
    char *path = NULL;
    struct stat info;
    bool found =
        orth_path_format(&path, "%s/%s", folder, name) == ORTH_OK && stat(path, &info) == 0;
    free(path);
    return found;
}

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* ---- run directories ---- */

/* Whether `path` is what a run cannot go on without, or tells of it. */
static bool belongs_to_run(const char *path)
{
    static const char *const names[] = {"config.yaml", "metrics.jsonl", "orthant.log", "lock",
                                        "restarts.json"};
    char *folder = folder_of(path), *above = folder ? folder_of(folder) : NULL;
    bool run = folder && (orth_run_dir_recognise(folder) || has(folder, "metrics.jsonl")),
         found = false;
    for (size_t i = 0; run && i < sizeof names / sizeof *names; i++)
        found = found || strcmp(name_of(path), names[i]) == 0;
    if (above && strcmp(name_of(folder), "checkpoints") == 0)
        found = found || has(above, "config.yaml") || has(above, "metrics.jsonl");
    free(above);
    free(folder);
    return found;
}

/* ---- what the command line names ---- */

/* Whether a folder that is named, or that a file is named of, is one for another tool. */
static bool is_exported(const char *folder, bool named)
{
    static const char *const marks[] = {"cfg.json", "ae.pt", "autoencoder.pt", "params.npz"};
    bool found = has(folder, "orthant.json");
    for (size_t i = 0; named && i < sizeof marks / sizeof *marks; i++)
        found = found || has(folder, marks[i]);
    return found;
}

/* Whether the target lies in `folder`, at any depth. */
static bool holds(const char *folder, const target *t)
{
    char *real = realpath(folder, NULL);
    size_t length = real ? strlen(real) : 0;
    bool found = real && strncmp(t->real, real, length) == 0 && t->real[length] == '/';
    free(real);
    return found;
}

static orth_status compare_path(const target *t, const char *path)
{
    if (orth_same_file(t->path, path))
        return refuse(t->option, t->path, "that this command reads");
    bool named = is_folder(path);
    char *folder = named ? strdup(path) : folder_of(path);
    bool lost = folder && holds(folder, t) && is_exported(folder, named);
    free(folder);
    return lost ? refuse(t->option, t->path, "of the folder that this command reads") : ORTH_OK;
}

/* A name as it is, then as a pattern of names. */
static orth_status compare_name(const target *t, const char *name)
{
    glob_t found;
    ORTH_TRY(compare_path(t, name));
    if (!strpbrk(name, "*?[") || glob(name, 0, NULL, &found) != 0)
        return ORTH_OK;
    orth_status status = ORTH_OK;
    for (size_t i = 0; status == ORTH_OK && i < found.gl_pathc; i++)
        status = compare_path(t, found.gl_pathv[i]);
    globfree(&found);
    return status;
}

static orth_status compare_option(const target *t, const orth_option *o, const orth_call *call)
{
    int64_t count;
    const char *const *names = orth_call_list(call, o->name, &count);
    if (o->kind != ORTH_OPTION_LIST && o->kind != ORTH_OPTION_TEXT)
        return ORTH_OK;
    for (int64_t i = 0; i < count; i++)
        ORTH_TRY(compare_name(t, names[i]));
    return ORTH_OK;
}

static orth_status compare_all(const target *t, const orth_verb *verb, const orth_call *call)
{
    for (int i = 0; i < orth_call_arguments(call); i++)
        ORTH_TRY(compare_name(t, orth_call_argument(call, i)));
    for (const orth_option *o = verb->options; o->name; o++)
        ORTH_TRY(compare_option(t, o, call));
    if (belongs_to_run(t->path) || belongs_to_run(t->real))
        return refuse(t->option, t->path, "of a run directory");
    return ORTH_OK;
}

orth_status orth_output_guard_file(const char *option, const char *path, const orth_verb *verb,
                                   const orth_call *call)
{
    target t = {.option = option, .path = path, .real = realpath(path, NULL)};
    orth_status status = ORTH_OK;
    if (t.real && !is_folder(t.real))
        status = compare_all(&t, verb, call);
    free(t.real);
    return status;
}

orth_status orth_output_guard(const orth_verb *verb, const orth_call *call, MPI_Comm world)
{
    int rank = 0;
    orth_status status = ORTH_OK;
    ORTH_MPI(MPI_Comm_rank(world, &rank));
    for (const orth_option *o = verb->options; rank == 0 && o && o->name; o++) {
        const char *path = orth_call_text(call, o->name);
        if (o->kind == ORTH_OPTION_OUTPUT && path && status == ORTH_OK)
            status = orth_output_guard_file(o->name, path, verb, call);
    }
    return orth_agree(world, status);
}

orth_status orth_output_check(const char *option, const char *path, const char *model,
                              const orth_dataset *dataset, MPI_Comm world)
{
    orth_status status = ORTH_OK;
    bool read = orth_same_file(path, model);
    for (int64_t i = 0; i < orth_dataset_files(dataset); i++)
        read = read || orth_same_file(path, orth_dataset_file(dataset, i));
    if (read)
        status = refuse(option, path, "that this command reads");
    return orth_agree(world, status);
}

orth_status orth_output_check_names(const char *option, const char *path, const char *const *names,
                                    int64_t count, MPI_Comm world)
{
    int rank = 0;
    orth_status status = ORTH_OK;
    ORTH_MPI(MPI_Comm_rank(world, &rank));
    target t = {.option = option, .path = path, .real = rank == 0 ? realpath(path, NULL) : NULL};
    for (int64_t i = 0; t.real && status == ORTH_OK && i < count; i++)
        status = compare_name(&t, names[i]);
    free(t.real);
    return orth_agree(world, status);
}
