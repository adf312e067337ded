#define _GNU_SOURCE /* fallocate */
#include "h5_internal.h"

#include <orthant/base/fault.h>
#include <orthant/base/memory.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- errors ---- */

typedef struct failure_text {
    char innermost[256];
    bool locking;
} failure_text;

static herr_t collect(unsigned depth, const H5E_error2_t *entry, void *data)
{
    failure_text *text = data;
    const char *line = entry->desc ? entry->desc : "";
    (void)depth;
    if (!text->innermost[0])
        snprintf(text->innermost, sizeof text->innermost, "%s", line);
    if (strstr(line, "to lock file") || strstr(line, "file lock"))
        text->locking = true;
    return 0;
}

static failure_text take_failure(void)
{
    failure_text text = {"", false};
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, collect, &text);
    H5Eclear2(H5E_DEFAULT);
    if (!text.innermost[0])
        snprintf(text.innermost, sizeof text.innermost, "HDF5 gives no reason");
    return text;
}

static const char *advice(orth_status fault, bool locking)
{
    if (locking)
        return "the file system refuses locks: set HDF5_USE_FILE_LOCKING=FALSE";
    switch (fault) {
    case ORTH_ERR_DATA:
        return "check the data file";
    case ORTH_ERR_STORAGE:
        return "check free space, quota and permissions of the folder";
    default:
        return "the file may be damaged: use another one";
    }
}

orth_fault_effect orth_h5_fault(const char *point)
{
    orth_fault_effect effect = orth_fault(point);
    int code = errno;
    if (effect == ORTH_FAULT_ERROR) /* in the words of HDF5's own drivers */
        H5Epush2(H5E_DEFAULT, __FILE__, __func__, __LINE__, H5E_ERR_CLS, H5E_IO, H5E_SYSERRSTR,
                 "%s, errno = %d, error message = '%s'",
                 code == EAGAIN ? "unable to lock file" : "file operation failed", code,
                 strerror(code));
    return effect;
}

orth_status orth_h5_fail(const orth_h5_file *file, const char *what, const char *name)
{
    failure_text text = take_failure();
    return orth_fail(file->fault, "%s: %s%s%s%s: %s; %s", file->path, what, name ? " '" : "",
                     name ? name : "", name ? "'" : "", text.innermost,
                     advice(file->fault, text.locking));
}

/* ---- opening ---- */

/* MPI-IO joins the working folder and the path, and does not look whether they fit. */
enum { PATH_MOST = PATH_MAX - 96 };

/* HDF5's superblock stands at 0, 512, 1024, 2048, ... */
static bool has_signature(int fd, int64_t size)
{
    static const unsigned char signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
    for (int64_t at = 0; at + 8 <= size; at = at ? 2 * at : 512) {
        unsigned char found[8];
        if (pread(fd, found, sizeof found, (off_t)at) == 8 &&
            memcmp(found, signature, sizeof found) == 0)
            return true;
    }
    return false;
}

/* What a plain look at the file tells, before HDF5 and MPI-IO word it in their way. */
static orth_status check_readable(const char *path, orth_status fault)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return orth_fail(fault, "%s: %s; check the path", path, strerror(errno));
    if (S_ISDIR(info.st_mode))
        return orth_fail(fault, "%s: is a folder; name a file", path);
    /* A pipe keeps whoever opens it waiting, and HDF5 reads in any order. */
    if (!S_ISREG(info.st_mode))
        return orth_fail(fault, "%s: is no plain file; save what it gives to a file and name that",
                         path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return orth_fail(fault, "%s: %s; check the permissions", path, strerror(errno));
    orth_status status = ORTH_OK;
    if (info.st_size == 0)
        status = orth_fail(fault, "%s: the file is empty; check how it was written", path);
    else if (!has_signature(fd, info.st_size))
        status = orth_fail(fault, "%s: not an HDF5 file; check the path or convert it", path);
    close(fd);
    return status;
}

/* Rank 0 alone learns the operating system's reason; MPI-IO would hide it. */
static orth_status check_writable(const char *path, MPI_Comm comm)
{
    int rank;
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    orth_status status = ORTH_OK;
    if (rank == 0) {
        struct stat info;
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
        /* MPI would delete what is no plain file, /dev/null say, and put a file in its place. */
        if (fd >= 0 && fstat(fd, &info) == 0 && !S_ISREG(info.st_mode))
            status = orth_fail(ORTH_ERR_STORAGE, "%s: is no plain file; name another", path);
        else if (fd < 0)
            status = orth_fail(ORTH_ERR_STORAGE,
                               "%s: cannot be created: %s; check the folder and its permissions",
                               path, strerror(errno));
        if (fd >= 0)
            close(fd);
    }
    return orth_agree(comm, status);
}

orth_status orth_h5_check_path(const char *path, orth_status fault)
{
    char folder[PATH_MAX] = "";
    if (path[0] != '/' && !getcwd(folder, sizeof folder))
        return orth_fail(fault, "%s: the working folder is not there: %s; change to another", path,
                         strerror(errno));
    size_t length = strlen(folder) + 1 + strlen(path);
    if (length < PATH_MOST)
        return ORTH_OK;
    return orth_fail(fault, "%.64s...: a path of %zu characters; use one of less than %d", path,
                     length, PATH_MOST);
}

static orth_status new_file(const char *path, orth_status fault, MPI_Comm comm, orth_h5_file **out)
{
    size_t length = strlen(path) + 1;
    orth_h5_file *file = orth_malloc(sizeof *file + length);
    orth_status status = orth_h5_check_path(path, fault);
    if (!file)
        status = orth_fail(ORTH_ERR_ENVIRONMENT, "out of memory opening %s; use fewer ranks a node",
                           path);
    status = orth_agree(comm, status);
    if (status == ORTH_OK) {
        *file = (orth_h5_file){.id = H5I_INVALID_HID, .fault = fault};
        memcpy(file->path, path, length);
        status = orth_mpi_status(ORTH_WAIT(MPI_Comm_dup(comm, &file->comm)), "MPI_Comm_dup");
    }
    if (status != ORTH_OK) {
        free(file);
        return status;
    }
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    /* A file that somebody made must not send its reader to others. */
    if (H5Lis_registered(H5L_TYPE_EXTERNAL) > 0)
        H5Lunregister(H5L_TYPE_EXTERNAL);
    H5Eclear2(H5E_DEFAULT);
    *out = file;
    return ORTH_OK;
}

static void free_file(orth_h5_file *file)
{
    MPI_Comm_free(&file->comm);
    free(file);
}

/* The access property list of both ways of opening. A rank that cannot make it still takes part.
 * Metadata is written independently: collective writes go through Open MPI's fcoll components,
 * which hang and crash on a full disk and are known to have corrupted files. */
static hid_t make_access(const orth_h5_file *file, bool writing)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    bool good = access >= 0 && H5Pset_fapl_mpio(access, file->comm, MPI_INFO_NULL) >= 0;
    if (good && writing)
        good = H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_LATEST) >= 0;
    if (good && !file->independent_metadata)
        good = H5Pset_all_coll_metadata_ops(access, 1) >= 0;
    if (!good && access >= 0) {
        H5Pclose(access);
        access = H5I_INVALID_HID;
    }
    return access;
}

/* Open or create through HDF5 when every rank could prepare it. Frees `file` on failure. */
static orth_status enter_file(orth_h5_file *file, bool writing, orth_h5_file **out)
{
    hid_t access = make_access(file, writing);
    orth_status status = ORTH_OK;
    if (access < 0)
        status = orth_h5_fail(file, "cannot set up parallel access", NULL);
    status = orth_agree(file->comm, status);
    if (status == ORTH_OK) {
        file->id = writing ? H5Fcreate(file->path, H5F_ACC_TRUNC, H5P_DEFAULT, access)
                           : H5Fopen(file->path, H5F_ACC_RDONLY, access);
        if (file->id < 0 || orth_h5_fault(writing ? "h5.create" : "h5.open"))
            status = orth_h5_fail(file, writing ? "cannot be created" : "cannot be opened", NULL);
        status = orth_agree(file->comm, status);
    }
    if (access >= 0)
        H5Pclose(access);
    if (status != ORTH_OK) {
        if (file->id >= 0)
            H5Fclose(file->id);
        free_file(file);
        return status;
    }
    *out = file;
    return ORTH_OK;
}

orth_status orth_h5_open(const char *path, orth_h5_access access, orth_status fault, MPI_Comm comm,
                         orth_h5_file **out)
{
    ORTH_TRY(orth_agree(comm, check_readable(path, fault)));
    orth_h5_file *file;
    ORTH_TRY(new_file(path, fault, comm, &file));
    file->independent_metadata = access == ORTH_H5_READ_INDEPENDENT;
    return enter_file(file, false, out);
}

orth_status orth_h5_create(const char *path, MPI_Comm comm, orth_h5_file **out)
{
    ORTH_TRY(check_writable(path, comm));
    orth_h5_file *file;
    ORTH_TRY(new_file(path, ORTH_ERR_STORAGE, comm, &file));
    /* Independent writes to a growing dataset look its chunks up: not collectively, then. */
    file->independent_metadata = true;
    return enter_file(file, true, out);
}

orth_status orth_h5_close(orth_h5_file *file)
{
    if (!file)
        return ORTH_OK;
    /* Who is early waits here, where the watchdog can tell, and not inside HDF5. */
    orth_status status = orth_agree(file->comm, ORTH_OK);
    if (H5Fclose(file->id) < 0 || orth_h5_fault("h5.close"))
        status = orth_h5_fail(file, "cannot be closed", NULL);
    status = orth_agree(file->comm, status);
    free_file(file);
    return status;
}

orth_status orth_h5_reserve(orth_h5_file *file, int64_t bytes)
{
    int rank;
    ORTH_MPI(MPI_Comm_rank(file->comm, &rank));
    orth_status status = ORTH_OK;
    if (rank == 0) {
        int fd = open(file->path, O_WRONLY | O_CLOEXEC), code = 0;
        if (fd < 0 || orth_fault_fails("h5.reserve") || fallocate(fd, 0, 0, (off_t)bytes) != 0)
            code = errno;
        if (fd >= 0)
            close(fd);
        /* Where the file system cannot reserve, the writes' own statuses must tell. */
        if (code && code != EOPNOTSUPP && code != ENOSYS && code != EINVAL)
            status = orth_fail(file->fault,
                               "%s: no room for %lld bytes: %s; free space or write elsewhere",
                               file->path, (long long)bytes, strerror(code));
    }
    return orth_agree(file->comm, status);
}

const char *orth_h5_path(const orth_h5_file *file)
{
    return file->path;
}

/* ---- names ---- */

typedef struct name_list {
    char *text;
    size_t size;
} name_list;

static herr_t append_name(hid_t group, const char *name, const H5L_info_t *link, void *data)
{
    (void)link;
    name_list *list = data;
    H5O_info_t info;
    /* A dangling link is no dataset, and no reason to stop. */
    if (H5Oget_info_by_name2(group, name, &info, H5O_INFO_BASIC, H5P_DEFAULT) < 0) {
        H5Eclear2(H5E_DEFAULT);
        return 0;
    }
    if (info.type != H5O_TYPE_DATASET && info.type != H5O_TYPE_GROUP)
        return 0;
    size_t used = strlen(list->text);
    snprintf(list->text + used, list->size - used, "%s%s%s", used ? ", " : "", name,
             info.type == H5O_TYPE_GROUP ? "/" : "");
    return 0;
}

orth_status orth_h5_names(orth_h5_file *file, const char *group, char *out, int64_t size)
{
    name_list list = {out, (size_t)size};
    out[0] = '\0';
    orth_status status = ORTH_OK;
    if (H5Literate_by_name(file->id, group, H5_INDEX_NAME, H5_ITER_INC, NULL, append_name, &list,
                           H5P_DEFAULT) < 0)
        status = orth_h5_fail(file, "cannot list group", group);
    return orth_agree(file->comm, status);
}

/* Link by link, since HDF5 fails on a path whose beginning is missing. Cuts the path. */
static int path_exists(hid_t file, char *path)
{
    int found = path[0] != '\0';
    for (char *slash = path; found > 0 && slash;) {
        slash = strchr(slash + 1, '/');
        if (slash)
            *slash = '\0';
        if (path[0] && path[strlen(path) - 1] != '/') {
            htri_t link = H5Lexists(file, path, H5P_DEFAULT);
            found = link > 0 ? (H5Oexists_by_name(file, path, H5P_DEFAULT) > 0) : (int)link;
        }
        if (slash)
            *slash = '/';
    }
    return found;
}

orth_status orth_h5_exists(orth_h5_file *file, const char *name, bool *out)
{
    orth_status status = ORTH_OK;
    char *path = orth_strdup(name);
    if (!path)
        status = orth_fail(ORTH_ERR_ENVIRONMENT, "%s: out of memory looking up '%s'; free memory",
                           file->path, name);
    status = orth_agree(file->comm, status);
    int found = 0;
    if (status == ORTH_OK) { /* metadata may be read collectively */
        found = path_exists(file->id, path);
        if (found < 0)
            status = orth_h5_fail(file, "cannot look up", name);
        status = orth_agree(file->comm, status);
    }
    free(path);
    if (status == ORTH_OK)
        *out = found > 0;
    return status;
}
