#include "tensor_parts.h"

#include <orthant/base/fault.h>
#include <orthant/base/memory.h>
#include <orthant/par/alive.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

enum { SKIP_BYTES = 1 << 16 };

static orth_status open_zip(orth_source *source)
{
    int code = 0;
    source->zip = zip_open(source->path, ZIP_RDONLY, &code);
    if (source->zip)
        return ORTH_OK;
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    orth_status status = orth_fail(ORTH_ERR_CORRUPT,
                                   "%.1000s: begins as a zip file, but cannot be read as one "
                                   "(%s): cut off or damaged; " ORTH_AGAIN,
                                   source->path, zip_error_strerror(&error));
    zip_error_fini(&error);
    return status;
}

orth_status orth_source_open(const char *path, bool zip, orth_source *out)
{
    orth_source source = {.path = path, .fd = -1, .open = -1};
    struct stat info;
    source.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (source.fd < 0)
        return orth_fail(ORTH_ERR_USAGE, "%.1000s: cannot be opened: %s; check the path", path,
                         strerror(errno));
    orth_status status = ORTH_OK;
    if (fstat(source.fd, &info) != 0 || !S_ISREG(info.st_mode))
        status = orth_fail(ORTH_ERR_USAGE, "%.1000s: is no plain file; name a file", path);
    else
        source.bytes = info.st_size;
    if (status == ORTH_OK && zip)
        status = open_zip(&source);
    if (status == ORTH_OK)
        *out = source;
    else
        orth_source_close(&source);
    return status;
}

void orth_source_close(orth_source *source)
{
    if (source->member)
        zip_fclose(source->member);
    if (source->zip)
        zip_discard(source->zip);
    if (source->fd >= 0)
        close(source->fd);
    orth_free(source->piece);
    *source = (orth_source){.fd = -1, .open = -1};
}

/* ---- the file itself ---- */

static orth_status read_plain(const orth_source *source, int64_t begin, int64_t end, char *out)
{
    for (int64_t at = begin; at < end;) {
        ssize_t got = orth_fault_fails("tensor.read")
                          ? -1
                          : pread(source->fd, out + (at - begin), (size_t)(end - at), (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return orth_fail(
                ORTH_ERR_CORRUPT, "%.1000s: cannot be read at byte %lld: %s; check the storage",
                source->path, (long long)at, got < 0 ? strerror(errno) : "it became shorter");
        at += got;
        orth_alive();
    }
    return ORTH_OK;
}

/* ---- members of a zip ---- */

int64_t orth_source_members(const orth_source *source)
{
    return zip_get_num_entries(source->zip, 0);
}

const char *orth_source_name(const orth_source *source, int64_t member)
{
    return zip_get_name(source->zip, (zip_uint64_t)member, ZIP_FL_ENC_RAW);
}

int64_t orth_source_locate(const orth_source *source, const char *name)
{
    return zip_name_locate(source->zip, name, ZIP_FL_ENC_RAW);
}

static orth_status bad_member(const orth_source *source, int64_t member, const char *why)
{
    const char *name = orth_source_name(source, member);
    return orth_fail(ORTH_ERR_CORRUPT,
                     "%.1000s: its member '%.200s' cannot be read: %s; " ORTH_AGAIN, source->path,
                     name ? name : "?", why);
}

static orth_status stat_member(const orth_source *source, int64_t member, zip_stat_t *out)
{
    zip_stat_init(out);
    if (zip_stat_index(source->zip, (zip_uint64_t)member, 0, out) != 0)
        return bad_member(source, member, zip_strerror(source->zip));
    if (!(out->valid & ZIP_STAT_SIZE) || out->size > INT64_MAX)
        return bad_member(source, member, "its size is not known");
    return ORTH_OK;
}

orth_status orth_source_size(const orth_source *source, int64_t member, int64_t *out)
{
    zip_stat_t info;
    ORTH_TRY(stat_member(source, member, &info));
    *out = (int64_t)info.size;
    return ORTH_OK;
}

static orth_status open_member(orth_source *source, int64_t member)
{
    zip_stat_t info;
    ORTH_TRY(stat_member(source, member, &info));
    if (source->member)
        zip_fclose(source->member);
    source->member = zip_fopen_index(source->zip, (zip_uint64_t)member, 0);
    source->open = source->member ? member : -1;
    source->at = 0;
    source->seekable = (info.valid & ZIP_STAT_COMP_METHOD) && info.comp_method == ZIP_CM_STORE &&
                       info.comp_size == info.size;
    return source->member ? ORTH_OK : bad_member(source, member, zip_strerror(source->zip));
}

/* `out` NULL: read over them. */
static orth_status read_on(orth_source *source, int64_t bytes, char *out)
{
    char nowhere[SKIP_BYTES];
    while (bytes > 0) {
        int64_t some = out || bytes < SKIP_BYTES ? bytes : SKIP_BYTES;
        zip_int64_t got = zip_fread(source->member, out ? out : nowhere, (zip_uint64_t)some);
        if (got <= 0)
            return bad_member(source, source->open,
                              got == 0 ? "it ends too soon" : zip_file_strerror(source->member));
        source->at += got;
        bytes -= got;
        out = out ? out + got : NULL;
        orth_alive();
    }
    return ORTH_OK;
}

static orth_status go_to(orth_source *source, int64_t member, int64_t begin)
{
    if (source->open != member || (!source->seekable && begin < source->at))
        ORTH_TRY(open_member(source, member));
    if (source->at == begin)
        return ORTH_OK;
    if (!source->seekable)
        return read_on(source, begin - source->at, NULL);
    if (zip_fseek(source->member, begin, SEEK_SET) != 0)
        return bad_member(source, member, zip_file_strerror(source->member));
    source->at = begin;
    return ORTH_OK;
}

orth_status orth_source_read(orth_source *source, int64_t member, int64_t begin, int64_t end,
                             void *out)
{
    if (begin >= end)
        return ORTH_OK;
    if (member < 0)
        return read_plain(source, begin, end, out);
    orth_status status = go_to(source, member, begin);
    if (status == ORTH_OK)
        status = read_on(source, end - begin, out);
    if (status != ORTH_OK && source->member) {
        zip_fclose(source->member);
        source->member = NULL;
        source->open = -1;
    }
    return status;
}
