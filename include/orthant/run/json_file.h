#ifndef ORTHANT_RUN_JSON_FILE_H
#define ORTHANT_RUN_JSON_FILE_H

#include <orthant/base/status.h>

#include <mpi.h>

struct json_t;

/** A result file that a command was asked for (`--json FILE`), written by rank 0. */
typedef struct orth_json_file orth_json_file;

/**
 * Open before the work starts, so that a path that cannot be written is refused at once: a
 * temporary file beside `path`, or `path` itself where it is no plain file (/dev/stdout). *out is
 * NULL on the other ranks. ORTH_ERR_STORAGE. Collective; agreed. End with orth_json_file_close.
 */
orth_status orth_json_file_open(const char *path, MPI_Comm comm, orth_json_file **out);

/** Write one object on one line, numbers with 17 significant digits, bring it to the disk and give
 * it its name. `object` (jansson) stays the caller's and counts on rank 0 only. ORTH_ERR_STORAGE.
 * Collective; agreed. */
orth_status orth_json_file_write(orth_json_file *file, const struct json_t *object, MPI_Comm comm);

/**
 * The same piece by piece, for what is too large to be held at once: rank 0 adds text (local), then
 * all end the file. ORTH_ERR_STORAGE. orth_json_file_end is collective and agreed; `status` is this
 * rank's own, since the file was opened: unless it is ORTH_OK everywhere no file is left.
 */
orth_status orth_json_file_add(orth_json_file *file, const char *text);
orth_status orth_json_file_end(orth_json_file *file, orth_status status, MPI_Comm comm);

/** Free; without a successful write nothing is left behind. NULL is allowed. Not collective. */
void orth_json_file_close(orth_json_file *file);

#endif
