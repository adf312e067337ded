#include <orthant/run/run_figures.h>

#include <orthant/base/memory.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/run/run_dir.h>

#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- on rank 0 ---- */

static bool is_run(const char *path)
{
    static const char *const files[] = {"config.yaml", "metrics.jsonl"};
    bool found = false;
    for (size_t i = 0; i < sizeof files / sizeof *files && !found; i++) {
        char *file = NULL;
        struct stat info;
        found = orth_path_format(&file, "%s/%s", path, files[i]) == ORTH_OK &&
                stat(file, &info) == 0 && S_ISREG(info.st_mode);
        free(file);
    }
    return found;
}

static bool is_listed(const orth_run_list *list, const char *path)
{
    struct stat one, other;
    for (int64_t i = 0; i < list->count; i++)
        if (stat(path, &one) == 0 && stat(list->items[i].path, &other) == 0 &&
            one.st_dev == other.st_dev && one.st_ino == other.st_ino)
            return true;
    return false;
}

static orth_status add_run(orth_run_list *list, const char *path)
{
    if (is_listed(list, path))
        return ORTH_OK;
    orth_run_figures *items = orth_realloc(list->items, ((size_t)list->count + 1) * sizeof *items);
    if (!items)
        return orth_fail(ORTH_ERR_ENVIRONMENT, "%s: out of memory for its figures; free memory",
                         path);
    list->items = items;
    ORTH_TRY(orth_run_figures_read(path, &items[list->count]));
    list->count++;
    return ORTH_OK;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* Whether run directories lie two levels down. */
static bool has_runs_below(const char *path)
{
    glob_t found;
    char *pattern = NULL;
    bool run = false;
    if (orth_path_format(&pattern, "%s/*/*", path) != ORTH_OK)
        return false;
    if (glob(pattern, GLOB_ONLYDIR, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc && !run; i++)
            run = is_run(found.gl_pathv[i]);
        globfree(&found);
    }
    free(pattern);
    return run;
}

static orth_status add_folder(orth_run_list *list, const char *path)
{
    struct dirent **entries = NULL;
    orth_status status = ORTH_OK;
    int64_t found = 0;
    int count = scandir(path, &entries, NULL, by_name);
    if (count < 0)
        return orth_fail(ORTH_ERR_USAGE, "%s: %s; give run directories or a folder of them", path,
                         errno == ENOENT ? "there is no such run" : strerror(errno));
    for (int i = 0; i < count; i++) {
        char *inner = NULL;
        if (status == ORTH_OK && entries[i]->d_name[0] != '.')
            status = orth_path_format(&inner, "%s/%s", path, entries[i]->d_name);
        if (status == ORTH_OK && inner && is_run(inner)) {
            status = add_run(list, inner);
            found++;
        }
        free(inner);
        free(entries[i]);
    }
    free(entries);
    if (status == ORTH_OK && found == 0 && has_runs_below(path))
        return orth_fail(ORTH_ERR_USAGE,
                         "%s: holds no run directory but folders of them; name %s/*", path, path);
    if (status == ORTH_OK && found == 0)
        return orth_fail(
            ORTH_ERR_USAGE,
            "%s: neither a run directory nor a folder of them; give what orthant train "
            "has written",
            path);
    return status;
}

/* ---- to all ranks ---- */

static orth_status share_text(char **text, int root, int rank, MPI_Comm comm)
{
    int64_t length = rank == root && *text ? (int64_t)strlen(*text) + 1 : 0;
    ORTH_TRY(orth_broadcast(&length, 1, MPI_INT64_T, root, comm));
    if (rank != root)
        *text = NULL;
    if (length == 0)
        return ORTH_OK;
    if (rank != root)
        *text = orth_malloc((size_t)length);
    ORTH_TRY(orth_agree(
        comm, *text ? ORTH_OK
                    : orth_fail(ORTH_ERR_ENVIRONMENT, "run figures: out of memory; free some")));
    return orth_broadcast(*text, length, MPI_CHAR, root, comm);
}

static orth_status share(orth_run_list *list, int rank, MPI_Comm comm)
{
    orth_status status = ORTH_OK;
    int64_t count = list->count;
    ORTH_TRY(orth_broadcast(&count, 1, MPI_INT64_T, 0, comm));
    if (rank != 0 && !(list->items = orth_calloc((size_t)count, sizeof *list->items)))
        status = orth_fail(ORTH_ERR_ENVIRONMENT, "run figures: out of memory; free some");
    ORTH_TRY(orth_agree(comm, status));
    for (int64_t i = 0; i < count; i++) {
        orth_run_figures *run = &list->items[i];
        char *path = run->path, *why = run->why;
        ORTH_TRY(orth_broadcast(run, (int64_t)sizeof *run, MPI_BYTE, 0, comm));
        run->path = path; /* rank 0's pointers mean nothing elsewhere */
        run->why = why;
        list->count = i + 1;
        ORTH_TRY(share_text(&run->path, 0, rank, comm));
        ORTH_TRY(share_text(&run->why, 0, rank, comm));
    }
    return ORTH_OK;
}

orth_status orth_run_list_read(const char *const *paths, int64_t n_path, MPI_Comm comm,
                               orth_run_list *out)
{
    orth_run_list list = {0};
    orth_status status = ORTH_OK;
    int rank;
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    for (int64_t i = 0; rank == 0 && status == ORTH_OK && i < n_path; i++)
        status = is_run(paths[i]) ? add_run(&list, paths[i]) : add_folder(&list, paths[i]);
    status = orth_agree(comm, status);
    if (status == ORTH_OK)
        status = share(&list, rank, comm);
    if (status == ORTH_OK)
        *out = list;
    else
        orth_run_list_free(&list);
    return status;
}

void orth_run_list_free(orth_run_list *list)
{
    for (int64_t i = 0; i < list->count; i++)
        orth_run_figures_free(&list->items[i]);
    free(list->items);
    memset(list, 0, sizeof *list);
}
