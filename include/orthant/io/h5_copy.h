#ifndef ORTHANT_IO_H5_COPY_H
#define ORTHANT_IO_H5_COPY_H

#include <orthant/base/status.h>

#include <stdint.h>

/**
 * Copy datasets, as they are and of any type (variable-length strings too, which parallel HDF5
 * cannot write), from the HDF5 file `from` into the root of `to`, both closed. Those that `from`
 * lacks or `to` has are left out. ORTH_ERR_DATA when `from` cannot be read, ORTH_ERR_STORAGE when
 * `to` cannot be written. Not collective: one process calls it.
 */
orth_status orth_h5_copy(const char *from, const char *to, const char *const *names, int64_t count);

#endif
