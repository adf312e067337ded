#ifndef ORTHANT_IO_H5_STRINGS_H
#define ORTHANT_IO_H5_STRINGS_H

#include <orthant/io/h5.h>

/** Strings, each with its NUL, one after another. Owned; zeroed when empty. */
typedef struct orth_h5_strings {
    int64_t count;
    int64_t *start; ///< (count) of each in `text`
    char *text;
    int64_t bytes; ///< of `text`
    int64_t room;
} orth_h5_strings;

/** Whether a dataset holds strings. Local. */
bool orth_h5_holds_strings(const orth_h5_dataset *dataset);

/**
 * Read all strings of a 1-D dataset, of fixed or variable length, repaired to valid UTF-8
 * (base/utf8.h; a fixed one ends at its first NUL, trailing padding is cut). More than `most` or
 * more than `most_bytes` bytes of them are refused, as what HDF5 cannot read: the file's status.
 * Independent; local status. End with orth_h5_strings_free.
 */
orth_status orth_h5_strings_read(orth_h5_dataset *dataset, int64_t most, int64_t most_bytes,
                                 orth_h5_strings *out);

/** Free. A zeroed struct is allowed. */
void orth_h5_strings_free(orth_h5_strings *strings);

#endif
