/* A new checkpoint beside the earlier ones: partial file, sync, verification, name, retention. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* fallocate */
#endif
#include "checkpoint_parts.h"

#include <orthant/base/fault.h>
#include <orthant/base/finite.h>
#include <orthant/base/log.h>
#include <orthant/base/memory.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/run/run_dir.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Room for HDF5's own structures. */
enum { METADATA_BYTES = 256 << 10 };

static double mib(double bytes)
{
    return bytes / (1024.0 * 1024.0);
}

/* The limit is of each process, and the last byte may be any rank's. */
static orth_status check_limit(const char *path, int64_t bytes)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        (rlim_t)bytes > limit.rlim_cur)
        return orth_fail(ORTH_ERR_STORAGE,
                         "%s: needs %.1f MiB, but files are limited to %.1f MiB (ulimit -f); raise "
                         "the limit",
                         path, mib((double)bytes), mib((double)limit.rlim_cur));
    return ORTH_OK;
}

static orth_status folder_of(const char *path, char **out)
{
    const char *slash = strrchr(path, '/');
    int length = slash ? (int)(slash - path) : 0;
    return orth_path_format(out, "%.*s%s", length, path, length ? "" : slash ? "/" : ".");
}

/* Once HDF5 writes, a full disk is an error in the middle of a collective close: find it before. */
static orth_status check_space(const char *folder, const char *path, int64_t bytes)
{
    struct statvfs info;
    if (statvfs(folder, &info) != 0)
        return orth_fail(ORTH_ERR_STORAGE, "%s: cannot be looked at: %s; restore the folder",
                         folder, strerror(errno));
    double available = (double)info.f_bavail * (double)info.f_frsize;
    if (available < (double)bytes)
        return orth_fail(ORTH_ERR_STORAGE,
                         "%s: needs %.1f MiB, %.1f MiB are free; free space on that file system",
                         path, mib((double)bytes), mib(available));
    int file = orth_fault_fails("checkpoint.create")
                   ? -1
                   : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (file < 0)
        return orth_fail(ORTH_ERR_STORAGE, "%s: cannot create: %s; restore the folder", path,
                         strerror(errno));
    orth_status status = ORTH_OK;
#ifdef __linux__
    /* Only a reservation sees quotas; file systems that cannot reserve say so at once. */
    if ((orth_fault_fails("checkpoint.reserve") || fallocate(file, 0, 0, bytes) != 0) &&
        (errno == ENOSPC || errno == EDQUOT || errno == EFBIG))
        status = orth_fail(ORTH_ERR_STORAGE, "%s: needs %.1f MiB: %s; free space", path,
                           mib((double)bytes), strerror(errno));
#endif
    close(file);
    return status;
}

void orth_checkpoint_warn_of_space(const char *run_dir, const orth_sae *sae,
                                   const orth_checkpoint_info *info, int64_t keep)
{
    struct statvfs space;
    int64_t *steps = NULL, count = 0;
    if (statvfs(run_dir, &space) != 0 ||
        orth_checkpoint_list_steps(run_dir, &steps, &count) != ORTH_OK) {
        orth_error_clear(); /* the first checkpoint will say more */
        return;
    }
    orth_free(steps);
    double size = (double)(orth_checkpoint_bytes(sae, info) + METADATA_BYTES);
    double available = (double)space.f_bavail * (double)space.f_frsize;
    /* While one is written, those that are kept are still there. */
    int64_t more = (keep < 1 ? 1 : keep) + 1 - (count < keep ? count : keep);
    if ((double)more * size > available)
        orth_log_warning("%s: %.1f MiB are free, and checkpoints take %.1f MiB more (%" PRId64
                         " of %.1f MiB with the one being written); free space, or lower "
                         "checkpoint.keep",
                         run_dir, mib(available), mib((double)more * size), more, mib(size));
}

/* Every node that wrote brings its part to the disk. Its cached pages are given up, so that the
 * verification reads what the disk has. */
static orth_status sync_file(const char *path)
{
    int file = open(path, O_RDWR | O_CLOEXEC);
    bool failed = file < 0 || orth_fault_fails("checkpoint.sync") || fsync(file) != 0;
    int reason = errno;
    if (file >= 0) {
        posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
        close(file);
    }
    if (!failed)
        return ORTH_OK;
    return orth_fail(ORTH_ERR_STORAGE, "%s: cannot be brought to the disk: %s; check the storage",
                     path, strerror(reason));
}

/* Creating the file gives up what check_space reserved of it: reserve it again, so that another
 * program cannot take the room while this one writes. */
static orth_status write_partial(const char *path, const orth_sae *sae,
                                 const orth_checkpoint_info *info)
{
    orth_h5_file *file = NULL;
    MPI_Comm world = sae->grid->world;
    ORTH_TRY(orth_h5_create(path, world, &file));
    orth_status status = orth_h5_reserve(file, orth_checkpoint_bytes(sae, info) + METADATA_BYTES);
    if (status == ORTH_OK)
        status = orth_checkpoint_write_contents(file, sae, info);
    orth_fault("checkpoint.close");
    orth_status closed = orth_h5_close(file);
    if (status == ORTH_OK)
        status = closed;
    if (status != ORTH_OK)
        return status;
    return orth_agree(world, sync_file(path));
}

static orth_status verify_partial(const char *path, MPI_Comm world)
{
    orth_fault("checkpoint.verify");
    orth_status status = orth_checkpoint_verify(path, world);
    /* What cannot be read back was not stored: the disk's fault, not the checkpoint's reader's. */
    return status == ORTH_ERR_CORRUPT ? ORTH_ERR_STORAGE : status;
}

static orth_status rename_partial(const char *partial, const char *path)
{
    char *folder = NULL;
    ORTH_TRY(folder_of(path, &folder));
    orth_status status = ORTH_OK;
    if (orth_fault_fails("checkpoint.rename") || rename(partial, path) != 0)
        status = orth_fail(ORTH_ERR_STORAGE, "%s: cannot rename to it: %s; check the storage", path,
                           strerror(errno));
    else if (orth_fault_fails("checkpoint.folder"))
        status = orth_fail(ORTH_ERR_STORAGE, "%s: cannot bring to the disk: %s; check the storage",
                           folder, strerror(errno));
    else
        status = orth_folder_sync(folder);
    free(folder);
    return status;
}

/* Remove all but the newest `keep` up to `step`. Later ones are of a continuation that was given up
 * and are the user's to remove. */
static void retain(const char *run_dir, int64_t step, int64_t keep)
{
    int64_t *steps = NULL, count = 0, kept = 0, later = 0;
    if (orth_checkpoint_list_steps(run_dir, &steps, &count) != ORTH_OK) {
        orth_log_warning("%s; old checkpoints stay", orth_error_text());
        orth_error_clear();
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        char *path = NULL;
        if (steps[i] > step) {
            later++;
            continue;
        }
        if (kept++ < keep || steps[i] == step)
            continue;
        if (orth_checkpoint_path(run_dir, steps[i], false, &path) != ORTH_OK) {
            orth_error_clear();
            break;
        }
        if (orth_fault_fails("checkpoint.delete") || unlink(path) != 0)
            orth_log_warning("%s: cannot delete this old checkpoint: %s; delete it by hand", path,
                             strerror(errno));
        free(path);
    }
    if (later)
        orth_log_warning("%s/checkpoints: %lld checkpoints are later than step %lld and a resume "
                         "takes the latest; remove those that do not belong to this run",
                         run_dir, (long long)later, (long long)step);
    orth_free(steps);
}

/* A model that has overflowed must not take the place of the good ones before it. */
static orth_status check_finite(const orth_sae *sae)
{
    orth_checkpoint_table table;
    orth_checkpoint_list_arrays(sae->recipe.n_latent, sae->d_model, orth_checkpoint_parts_of(sae),
                                sae, &table);
    for (int i = 0; i < table.count; i++) {
        const orth_checkpoint_array *array = &table.items[i];
        int64_t rows = orth_range_size(orth_checkpoint_held(array, sae));
        if (array->type == ORTH_H5_FLOAT && !orth_all_finite(array->data, rows * array->extent[1]))
            return orth_fail(ORTH_ERR_NONFINITE,
                             "step %lld: %s is not finite; lower train.lr or look at the data; "
                             "checkpoints up to here are kept",
                             (long long)sae->step, array->name);
    }
    return ORTH_OK;
}

static orth_status prepare(const char *run_dir, const orth_sae *sae,
                           const orth_checkpoint_info *info, char **partial, char **path)
{
    ORTH_TRY(check_finite(sae));
    ORTH_TRY(orth_checkpoint_path(run_dir, sae->step, true, partial));
    ORTH_TRY(orth_checkpoint_path(run_dir, sae->step, false, path));
    int64_t bytes = orth_checkpoint_bytes(sae, info) + METADATA_BYTES;
    ORTH_TRY(check_limit(*path, bytes));
    if (sae->grid->rank != 0)
        return ORTH_OK;
    char *folder = NULL;
    ORTH_TRY(orth_path_format(&folder, "%s/checkpoints", run_dir));
    /* Somebody may have removed the folder, which is no reason to lose what comes now. */
    if (mkdir(folder, 0777) == 0)
        orth_log_warning("%s: this folder was gone; made it again", folder);
    orth_status status = check_space(folder, *partial, bytes);
    free(folder);
    return status;
}

orth_status orth_checkpoint_write(const char *run_dir, const orth_sae *sae,
                                  const orth_checkpoint_info *info, bool verify, int64_t keep)
{
    char *partial = NULL, *path = NULL;
    MPI_Comm world = sae->grid->world;
    bool speaks = sae->grid->rank == 0;
    orth_status status = orth_agree(world, prepare(run_dir, sae, info, &partial, &path));
    if (status == ORTH_OK)
        status = write_partial(partial, sae, info);
    if (status == ORTH_OK && verify)
        status = verify_partial(partial, world);
    if (status == ORTH_OK)
        status = orth_agree(world, speaks ? rename_partial(partial, path) : ORTH_OK);
    if (speaks && status == ORTH_OK)
        retain(run_dir, sae->step, keep < 1 ? 1 : keep);
    else if (speaks && partial)
        unlink(partial);
    free(path);
    free(partial);
    return status;
}

static orth_status prepare_file(const char *path, const orth_sae *sae,
                                const orth_checkpoint_info *info, char **partial)
{
    char *folder = NULL;
    int64_t bytes = orth_checkpoint_bytes(sae, info) + METADATA_BYTES;
    ORTH_TRY(check_finite(sae));
    ORTH_TRY(orth_path_format(partial, "%s.partial", path));
    ORTH_TRY(check_limit(path, bytes));
    if (sae->grid->rank != 0)
        return ORTH_OK;
    ORTH_TRY(folder_of(path, &folder));
    orth_status status = check_space(folder, *partial, bytes);
    free(folder);
    return status;
}

orth_status orth_checkpoint_write_file(const char *path, const orth_sae *sae,
                                       const orth_checkpoint_info *info)
{
    char *partial = NULL;
    MPI_Comm world = sae->grid->world;
    bool speaks = sae->grid->rank == 0;
    orth_status status = orth_agree(world, prepare_file(path, sae, info, &partial));
    if (status == ORTH_OK)
        status = write_partial(partial, sae, info);
    if (status == ORTH_OK)
        status = verify_partial(partial, world);
    if (status == ORTH_OK)
        status = orth_agree(world, speaks ? rename_partial(partial, path) : ORTH_OK);
    if (speaks && status != ORTH_OK && partial)
        unlink(partial);
    free(partial);
    return status;
}

void orth_checkpoint_forgive(MPI_Comm comm, orth_status failed, const char *what)
{
    char *text = NULL;
    if (orth_checkpoint_error_text(comm, failed, &text) == ORTH_OK)
        orth_log_warning("%s: %s", what, text);
    else
        orth_log_warning("%s", what);
    free(text);
    orth_error_clear();
}
