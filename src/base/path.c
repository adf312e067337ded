#include <orthant/base/path.h>

#include <orthant/base/fault.h>
#include <orthant/base/memory.h>

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

orth_status orth_path_format(char **out, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *text = length < 0 ? NULL : orth_malloc((size_t)length + 1);
    if (text)
        vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    if (!text)
        return orth_fail(ORTH_ERR_ENVIRONMENT, "path: out of memory for %d bytes; free memory",
                         length);
    *out = text;
    return ORTH_OK;
}

static orth_status refuse(const char *path, const char *doing)
{
    bool full = errno == ENOSPC || errno == EDQUOT;
    return orth_fail(ORTH_ERR_STORAGE, "%s: cannot %s: %s; %s", path, doing, strerror(errno),
                     full ? "free space there, or choose another place"
                          : "choose an existing folder that can be written");
}

orth_status orth_folder_sync(const char *folder)
{
    int file = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file < 0)
        return refuse(folder, "open the folder");
    /* Some network file systems do not know fsync of a folder and need none. */
    bool failed = (orth_fault_fails("folder.sync") || fsync(file) != 0) && errno != EINVAL &&
                  errno != ENOTSUP && errno != EROFS;
    orth_status status = failed ? refuse(folder, "bring to the disk") : ORTH_OK;
    close(file);
    return status;
}

static orth_status sync_file(const char *path)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return refuse(path, "open");
    bool failed = orth_fault_fails("file.sync") || fsync(file) != 0;
    orth_status status = failed ? refuse(path, "bring to the disk") : ORTH_OK;
    close(file);
    return status;
}

orth_status orth_file_publish(const char *partial, const char *path)
{
    char *folder = NULL;
    const char *slash = strrchr(path, '/');
    int length = slash ? (int)(slash - path) : 0;
    ORTH_TRY(sync_file(partial));
    if (orth_fault_fails("file.rename") || rename(partial, path) != 0)
        return refuse(path, "rename to it");
    ORTH_TRY(
        orth_path_format(&folder, "%.*s%s", length, path, slash ? (length == 0 ? "/" : "") : "."));
    orth_status status = orth_folder_sync(folder);
    free(folder);
    return status;
}

bool orth_same_file(const char *a, const char *b)
{
    struct stat one, other;
    return stat(a, &one) == 0 && stat(b, &other) == 0 && one.st_dev == other.st_dev &&
           one.st_ino == other.st_ino;
}
