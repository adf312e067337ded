#ifndef ORTHANT_BASE_PATH_H
#define ORTHANT_BASE_PATH_H

#include <orthant/base/status.h>

#include <stdbool.h>

/** A path made by a printf format, of any length, owned by the caller (free). Not collective. */
orth_status orth_path_format(char **out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/** Make the entries of a folder durable (fsync of the folder). Not collective. ORTH_ERR_STORAGE. */
orth_status orth_folder_sync(const char *folder);

/**
 * Give the finished file `partial` the name `path` in the same folder, replacing what is there:
 * fsync, rename, fsync of the folder. Not collective: one process calls it. ORTH_ERR_STORAGE.
 */
orth_status orth_file_publish(const char *partial, const char *path);

/** Whether two paths are one file, under whatever names. Not collective. */
bool orth_same_file(const char *a, const char *b);

#endif
