#include <orthant/run/json_file.h>

#include <orthant/base/fault.h>
#include <orthant/base/memory.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/run/run_dir.h>

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct orth_json_file {
    char *path;
    char *partial; ///< what is open; equal to path where that is no plain file
    bool plain;
    int file; ///< -1: closed
};

static orth_status refuse(const char *path, const char *doing)
{
    return orth_fail(ORTH_ERR_STORAGE,
                     "%s: cannot %s: %s; give a file in an existing folder that can be written",
                     path, doing, strerror(errno));
}

static orth_status open_file(const char *path, orth_json_file *file)
{
    struct stat info;
    bool exists = stat(path, &info) == 0;
    if (exists && S_ISDIR(info.st_mode)) {
        errno = EISDIR;
        return refuse(path, "write");
    }
    file->plain = !exists || S_ISREG(info.st_mode);
    ORTH_TRY(orth_path_format(&file->path, "%s", path));
    ORTH_TRY(orth_path_format(&file->partial, file->plain ? "%s.partial" : "%s", path));
    if (!orth_fault_fails("json.create"))
        file->file = open(file->partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    return file->file < 0 ? refuse(path, "create") : ORTH_OK;
}

orth_status orth_json_file_open(const char *path, MPI_Comm comm, orth_json_file **out)
{
    int rank;
    orth_json_file *file = NULL;
    orth_status status = ORTH_OK;
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    *out = NULL;
    if (rank == 0) {
        status = ORTH_ALLOCATE(1, "result file", &file);
        if (status == ORTH_OK) {
            file->file = -1;
            status = open_file(path, file);
        }
    }
    status = orth_agree(comm, status);
    if (status == ORTH_OK)
        *out = file;
    else
        orth_json_file_close(file);
    return status;
}

static orth_status write_all(const orth_json_file *file, const char *text, size_t length)
{
    for (size_t done = 0; done < length;) {
        orth_fault_effect fault = orth_fault("json.write");
        size_t some = fault == ORTH_FAULT_SHORT ? (length - done + 1) / 2 : length - done;
        ssize_t n = fault == ORTH_FAULT_ERROR ? -1 : write(file->file, text + done, some);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return refuse(file->path, "write");
        done += (size_t)n;
    }
    return ORTH_OK;
}

orth_status orth_json_file_add(orth_json_file *file, const char *text)
{
    return write_all(file, text, strlen(text));
}

/* Bring to the disk, close and rename; with a status that is not ORTH_OK, remove. */
static orth_status end_file(orth_json_file *file, orth_status status)
{
    bool synced = status != ORTH_OK || !file->plain ||
                  (!orth_fault_fails("json.sync") && fsync(file->file) == 0);
    if (!synced)
        status = refuse(file->path, "bring to the disk");
    int closed = close(file->file);
    file->file = -1;
    if (status == ORTH_OK && closed != 0)
        status = refuse(file->path, "write");
    if (status == ORTH_OK && file->plain &&
        (orth_fault_fails("json.rename") || rename(file->partial, file->path) != 0))
        status = refuse(file->path, "rename to it");
    if (status != ORTH_OK && file->plain)
        unlink(file->partial);
    return status;
}

static orth_status write_object(orth_json_file *file, const json_t *object)
{
    char *text = json_dumps(object, JSON_REAL_PRECISION(17));
    if (!text)
        return orth_fail(ORTH_ERR_ENVIRONMENT, "%s: out of memory for its text; free memory",
                         file->path);
    orth_status status = write_all(file, text, strlen(text));
    if (status == ORTH_OK)
        status = write_all(file, "\n", 1);
    free(text);
    return end_file(file, status);
}

orth_status orth_json_file_end(orth_json_file *file, orth_status status, MPI_Comm comm)
{
    status = orth_agree(comm, status);
    if (status != ORTH_OK)
        return status;
    return orth_agree(comm, file ? end_file(file, ORTH_OK) : ORTH_OK);
}

orth_status orth_json_file_write(orth_json_file *file, const json_t *object, MPI_Comm comm)
{
    return orth_agree(comm, file ? write_object(file, object) : ORTH_OK);
}

void orth_json_file_close(orth_json_file *file)
{
    if (!file)
        return;
    if (file->file >= 0) {
        close(file->file);
        if (file->plain)
            unlink(file->partial);
    }
    free(file->partial);
    free(file->path);
    orth_free(file);
}
