/* Which checkpoints a run directory has, and the newest that can be trusted. */
#include "checkpoint_parts.h"

#include <orthant/base/fault.h>
#include <orthant/base/log.h>
#include <orthant/base/memory.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/run/run_dir.h>

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int newest_first(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

/* The step in "step-000001000.h5", -1 for any other name. */
static int64_t step_of(const char *name)
{
    long long step;
    int end = 0;
    if (sscanf(name, "step-%lld.h5%n", &step, &end) != 1 || end == 0 || name[end] != '\0')
        return -1;
    return step;
}

static orth_status collect_steps(DIR *folder, const char *path, int64_t **steps, int64_t *count)
{
    int64_t room = 16, n = 0, *list = NULL;
    ORTH_TRY(ORTH_ALLOCATE(room, "list of checkpoints", &list));
    for (struct dirent *entry; (errno = 0, entry = readdir(folder)) != NULL;) {
        int64_t step = step_of(entry->d_name);
        if (step < 0)
            continue;
        if (n == room) {
            int64_t *larger = NULL;
            orth_status status = ORTH_ALLOCATE(2 * room, "list of checkpoints", &larger);
            if (status == ORTH_OK)
                memcpy(larger, list, (size_t)room * sizeof *list);
            orth_free(list);
            ORTH_TRY(status);
            list = larger;
            room *= 2;
        }
        list[n++] = step;
    }
    if (errno != 0) {
        orth_free(list);
        return orth_fail(ORTH_ERR_STORAGE, "%s: cannot be listed: %s; check the storage", path,
                         strerror(errno));
    }
    qsort(list, (size_t)n, sizeof *list, newest_first);
    *steps = list;
    *count = n;
    return ORTH_OK;
}

orth_status orth_checkpoint_list_steps(const char *run_dir, int64_t **steps, int64_t *count)
{
    char *path = NULL;
    *steps = NULL;
    *count = 0;
    ORTH_TRY(orth_path_format(&path, "%s/checkpoints", run_dir));
    DIR *folder = opendir(path);
    orth_status status = ORTH_OK;
    if (folder)
        status = collect_steps(folder, path, steps, count);
    else if (errno != ENOENT)
        status = orth_fail(ORTH_ERR_STORAGE, "%s: cannot be listed: %s; check its permissions",
                           path, strerror(errno));
    if (folder)
        closedir(folder);
    free(path);
    return status;
}

/* Remove what a killed run left half written. */
static void remove_partial(const char *run_dir)
{
    char *path = NULL;
    if (orth_path_format(&path, "%s/checkpoints", run_dir) != ORTH_OK) {
        orth_error_clear();
        return;
    }
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder && (entry = readdir(folder)) != NULL;) {
        const char *tail = strstr(entry->d_name, ".h5.partial");
        if (strncmp(entry->d_name, ".step-", 6) != 0 || !tail || strlen(tail) != 11)
            continue;
        orth_fault("checkpoint.clean");
        if (unlinkat(dirfd(folder), entry->d_name, 0) == 0)
            orth_log_info("%s/%s: removed (left by a run that was stopped while writing it)", path,
                          entry->d_name);
    }
    if (folder)
        closedir(folder);
    free(path);
}

orth_status orth_checkpoint_error_text(MPI_Comm comm, orth_status failed, char **out)
{
    int rank;
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    int first;
    ORTH_TRY(orth_agree_speaker(comm, failed, &first));
    if (first < 0)
        return orth_path_format(out, "failed without a reason");
    int64_t length = (int64_t)strlen(orth_error_text()) + 1;
    ORTH_TRY(orth_broadcast(&length, 1, MPI_INT64_T, first, comm));
    char *text = orth_calloc(1, (size_t)length);
    if (text && rank == first)
        memcpy(text, orth_error_text(), (size_t)length);
    orth_status status = orth_agree(
        comm,
        text ? ORTH_OK : orth_fail(ORTH_ERR_ENVIRONMENT, "error text: out of memory; free memory"));
    if (status == ORTH_OK)
        status = orth_broadcast(text, length, MPI_CHAR, first, comm);
    if (status == ORTH_OK)
        *out = text;
    else
        free(text);
    return status;
}

/** The search: the same on every rank. */
typedef struct search {
    const char *run_dir;
    MPI_Comm comm;
    int64_t *steps;
    int64_t count;
    char *newest_error; ///< why the newest was passed over
} search;

/* Rank 0 lists, because nodes may see a shared folder at different times. */
static orth_status list_for_all(search *s)
{
    int rank;
    ORTH_MPI(MPI_Comm_rank(s->comm, &rank));
    orth_status status =
        rank == 0 ? orth_checkpoint_list_steps(s->run_dir, &s->steps, &s->count) : ORTH_OK;
    ORTH_TRY(orth_agree(s->comm, status));
    ORTH_TRY(orth_broadcast(&s->count, 1, MPI_INT64_T, 0, s->comm));
    if (rank != 0)
        status = ORTH_ALLOCATE(s->count, "list of checkpoints", &s->steps);
    ORTH_TRY(orth_agree(s->comm, status));
    return orth_broadcast(s->steps, s->count, MPI_INT64_T, 0, s->comm);
}

static void leave_out_later(search *s, int64_t most)
{
    int64_t later = 0;
    while (later < s->count && s->steps[later] > most)
        later++;
    s->count -= later;
    if (later > 0)
        memmove(s->steps, s->steps + later, (size_t)s->count * sizeof *s->steps);
}

/* Whether this checkpoint can be used. Only damage is passed over: a newer format, a lack of memory
 * and the like end the search. */
static orth_status try_one(search *s, const char *path, bool *usable)
{
    orth_checkpoint_info info = {0};
    bool newer = false;
    *usable = false;
    orth_status status = orth_checkpoint_probe(path, s->comm, &info, &newer);
    orth_checkpoint_info_free(&info);
    if (status == ORTH_OK)
        status = orth_checkpoint_verify(path, s->comm);
    *usable = status == ORTH_OK;
    if (status != ORTH_ERR_CORRUPT || newer)
        return status;
    char *text = NULL;
    ORTH_TRY(orth_checkpoint_error_text(s->comm, status, &text));
    orth_error_clear();
    orth_log_warning("passed over a checkpoint: %s", text);
    if (s->newest_error)
        free(text);
    else
        s->newest_error = text;
    return ORTH_OK;
}

/* A damaged checkpoint must not count among those that are kept, or a good one would go for it. */
static void set_aside(const search *s, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        char *path = NULL, *aside = NULL;
        if (orth_checkpoint_path(s->run_dir, s->steps[i], false, &path) == ORTH_OK &&
            orth_path_format(&aside, "%s.damaged", path) == ORTH_OK) {
            if (!orth_fault_fails("checkpoint.aside") && rename(path, aside) == 0)
                orth_log_warning("the damaged checkpoint is kept as %s", aside);
            else
                orth_log_warning("%s: this damaged checkpoint cannot be set aside: %s; remove it "
                                 "by hand",
                                 path, strerror(errno));
        } else {
            orth_error_clear();
        }
        free(aside);
        free(path);
    }
}

static orth_status search_newest_first(search *s, int64_t *passed_over, char **out)
{
    for (int64_t i = 0; i < s->count; i++) {
        char *path = NULL;
        bool usable = false;
        orth_status status =
            orth_agree(s->comm, orth_checkpoint_path(s->run_dir, s->steps[i], false, &path));
        if (status == ORTH_OK)
            status = try_one(s, path, &usable);
        if (status == ORTH_OK && usable) {
            if (i > 0)
                orth_log_warning("%s: using this earlier checkpoint, of step %lld", path,
                                 (long long)s->steps[i]);
            *out = path;
            *passed_over = i;
            return ORTH_OK;
        }
        free(path);
        ORTH_TRY(status);
    }
    if (s->count == 0)
        return ORTH_OK;
    return orth_fail(ORTH_ERR_CORRUPT,
                     "%s/checkpoints: none of its %lld checkpoints can be used (the newest: %s); "
                     "restore one, or start afresh in another run.dir",
                     s->run_dir, (long long)s->count, s->newest_error);
}

orth_status orth_checkpoint_find(const char *run_dir, MPI_Comm comm, bool clean, char **out)
{
    return orth_checkpoint_find_up_to(run_dir, INT64_MAX, comm, clean, out);
}

orth_status orth_checkpoint_find_up_to(const char *run_dir, int64_t step, MPI_Comm comm, bool clean,
                                       char **out)
{
    int rank;
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    int64_t passed_over = 0;
    search s = {.run_dir = run_dir, .comm = comm};
    *out = NULL;
    orth_status status = list_for_all(&s);
    if (status == ORTH_OK) {
        leave_out_later(&s, step);
        status = search_newest_first(&s, &passed_over, out);
    }
    if (status == ORTH_OK && clean && rank == 0) {
        remove_partial(run_dir);
        set_aside(&s, passed_over);
    }
    free(s.newest_error);
    orth_free(s.steps);
    return status;
}

static orth_status verify_each(search *s)
{
    for (int64_t i = 0; i < s->count; i++) {
        char *path = NULL;
        orth_status status =
            orth_agree(s->comm, orth_checkpoint_path(s->run_dir, s->steps[i], false, &path));
        if (status == ORTH_OK)
            status = orth_checkpoint_verify(path, s->comm);
        free(path);
        ORTH_TRY(status);
    }
    return ORTH_OK;
}

orth_status orth_checkpoint_verify_all(const char *run_dir, MPI_Comm comm)
{
    search s = {.run_dir = run_dir, .comm = comm};
    orth_status status = list_for_all(&s);
    if (status == ORTH_OK)
        status = verify_each(&s);
    orth_free(s.steps);
    return status;
}
