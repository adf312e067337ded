#include <orthant/run/run_dir.h>

#include <orthant/base/fault.h>
#include <orthant/io/h5.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool orth_run_dir_recognise(const char *path)
{
    char *inner = NULL;
    struct stat info;
    bool found = orth_path_format(&inner, "%s/checkpoints", path) == ORTH_OK &&
                 stat(inner, &info) == 0 && S_ISDIR(info.st_mode);
    free(inner);
    return found;
}

static orth_status refuse(const char *path, const char *doing)
{
    bool full = errno == ENOSPC || errno == EDQUOT;
    return orth_fail(ORTH_ERR_STORAGE, "%s: cannot %s: %s; %s", path, doing, strerror(errno),
                     full ? "free space there, or give run.dir another place"
                          : "give run.dir a place in an existing folder that can be written");
}

static orth_status make_folder(const char *path)
{
    if (!orth_fault_fails("run_dir.make") && mkdir(path, 0777) == 0)
        return ORTH_OK;
    struct stat info;
    if (errno == EEXIST && stat(path, &info) == 0) {
        if (S_ISDIR(info.st_mode))
            return ORTH_OK;
        errno = ENOTDIR;
    }
    return refuse(path, "make the folder");
}

/* Permissions alone do not tell (root, read-only mounts, quotas): write a file. */
static orth_status try_writing(const char *folder)
{
    char *path = NULL;
    ORTH_TRY(orth_path_format(&path, "%s/.writable-XXXXXX", folder));
    orth_status status = ORTH_OK;
    int file = mkstemp(path);
    if (file < 0) {
        status = refuse(folder, "write there");
    } else {
        if (orth_fault_fails("run_dir.try") || write(file, "\n", 1) != 1)
            status = refuse(folder, "write there");
        close(file);
        unlink(path);
    }
    free(path);
    return status;
}

/* Another name beside a folder that is not there, so that jobs that start together do not meet. */
static orth_status try_making(const char *run_dir)
{
    char *path = NULL;
    size_t length = strlen(run_dir);
    while (length > 1 && run_dir[length - 1] == '/')
        length--;
    ORTH_TRY(orth_path_format(&path, "%.*s-XXXXXX", (int)length, run_dir));
    orth_status status = ORTH_OK;
    if (mkdtemp(path)) {
        status = try_writing(path);
        rmdir(path);
    } else if (errno != ENAMETOOLONG) {
        status = refuse(run_dir, "make the folder");
    }
    free(path);
    return status;
}

/* A path that is too long shows when the first checkpoint is written: find it before. */
static orth_status check_length(const char *run_dir)
{
    char *path = NULL;
    ORTH_TRY(orth_path_format(&path, "%s/checkpoints/.step-000000001.h5.partial", run_dir));
    orth_status status = orth_h5_check_path(path, ORTH_ERR_STORAGE);
    free(path);
    return status;
}

static orth_status make_folders(const char *run_dir)
{
    static const char *const parts[] = {"", "/checkpoints", "/eval"};
    orth_status status = check_length(run_dir);
    for (size_t i = 0; status == ORTH_OK && i < sizeof parts / sizeof *parts; i++) {
        char *path = NULL;
        status = orth_path_format(&path, "%s%s", run_dir, parts[i]);
        if (status == ORTH_OK)
            status = make_folder(path);
        if (status == ORTH_OK)
            status = try_writing(path);
        free(path);
    }
    return status;
}

static orth_status try_run_dir(const char *run_dir)
{
    struct stat info;
    ORTH_TRY(check_length(run_dir));
    if (stat(run_dir, &info) != 0)
        return errno == ENOENT ? try_making(run_dir) : refuse(run_dir, "make the folder");
    if (S_ISDIR(info.st_mode))
        return try_writing(run_dir);
    errno = ENOTDIR;
    return refuse(run_dir, "make the folder");
}

orth_status orth_run_dir_try(const char *run_dir, MPI_Comm comm)
{
    int rank;
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    return orth_agree(comm, rank == 0 ? try_run_dir(run_dir) : ORTH_OK);
}

orth_status orth_run_dir_create(const char *run_dir, MPI_Comm comm)
{
    int rank;
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    ORTH_TRY(orth_agree(comm, rank == 0 ? make_folders(run_dir) : ORTH_OK));
    struct stat info;
    orth_status status = ORTH_OK;
    if (stat(run_dir, &info) != 0 || !S_ISDIR(info.st_mode))
        status = orth_fail(ORTH_ERR_STORAGE,
                           "%s: rank 0 made this folder, rank %d does not see it; give run.dir a "
                           "place in a file system that all nodes share",
                           run_dir, rank);
    return orth_agree(comm, status);
}

static orth_status write_all(int file, const char *path, const char *text)
{
    size_t length = strlen(text);
    for (size_t done = 0; done < length;) {
        orth_fault_effect fault = orth_fault("run_dir.write");
        size_t some = fault == ORTH_FAULT_SHORT ? (length - done + 1) / 2 : length - done;
        ssize_t n = fault == ORTH_FAULT_ERROR ? -1 : write(file, text + done, some);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return refuse(path, "write");
        done += (size_t)n;
    }
    bool failed = orth_fault_fails("run_dir.sync") || fsync(file) != 0;
    return failed ? refuse(path, "bring to the disk") : ORTH_OK;
}

static orth_status replace_file(const char *run_dir, const char *name, const char *text)
{
    char *path = NULL, *partial = NULL;
    orth_status status = orth_path_format(&path, "%s/%s", run_dir, name);
    if (status == ORTH_OK)
        status = orth_path_format(&partial, "%s/.%s.partial", run_dir, name);
    if (status == ORTH_OK) {
        int file = orth_fault_fails("run_dir.create")
                       ? -1
                       : open(partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        status = file < 0 ? refuse(partial, "create") : write_all(file, path, text);
        if (file >= 0 && close(file) != 0 && status == ORTH_OK)
            status = refuse(path, "write");
        if (status == ORTH_OK && (orth_fault_fails("run_dir.rename") || rename(partial, path) != 0))
            status = refuse(path, "rename to it");
        if (status == ORTH_OK)
            status = orth_folder_sync(run_dir);
        else if (file >= 0)
            unlink(partial);
    }
    free(partial);
    free(path);
    return status;
}

orth_status orth_run_dir_write(const char *run_dir, const char *name, const char *text,
                               MPI_Comm comm)
{
    int rank;
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    return orth_agree(comm, rank == 0 ? replace_file(run_dir, name, text) : ORTH_OK);
}

orth_status orth_run_dir_open_log(const char *run_dir, FILE **out)
{
    char *path = NULL;
    ORTH_TRY(orth_path_format(&path, "%s/orthant.log", run_dir));
    FILE *file = orth_fault_fails("run_dir.log") ? NULL : fopen(path, "ae");
    orth_status status = file ? ORTH_OK : refuse(path, "open");
    free(path);
    if (file)
        *out = file;
    return status;
}
