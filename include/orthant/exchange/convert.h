#ifndef ORTHANT_EXCHANGE_CONVERT_H
#define ORTHANT_EXCHANGE_CONVERT_H

#include <orthant/base/status.h>

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>

/** What `orthant convert` is asked for; texts NULL where nothing was said. */
typedef struct orth_convert_options {
    const char *const *inputs; ///< files, one table in this order
    int64_t n_input;
    const char *out;
    const char *format;  ///< of `out`: hdf5, npy, safetensors, pt, raw; NULL: by its suffix
    const char *tensor;  ///< name of the activations; NULL: the only candidate
    const char *tokens;  ///< name of the token ids; NULL: a usual name; "none"
    const char *dataset; ///< of HDF5 files, read and written
    const char *dtype;   ///< of the elements written; NULL: as they are
    const char *raw;     ///< element type: the inputs are raw files
    int64_t d_model;     ///< width of raw files, 0: not said
    int64_t begin, end;  ///< rows; end -1: to the last
    const char *model, *hook, *layer, *tokenizer, *context; ///< attributes of the output
    bool allow_overflow; ///< what float16 cannot hold becomes Inf
    bool quiet;
} orth_convert_options;

/**
 * Convert activations: from HDF5 (FORMATS.md), .npy, .npz, safetensors, .pt or raw files, the last
 * dimension being d_model and all others flattened to rows, into one file of HDF5, .npy,
 * safetensors, .pt or raw floats. Every rank converts a part of the rows, in blocks, so that memory
 * does not grow with the files; values and their order do not depend on the ranks. The output is
 * written under another name and renamed when it is whole.
 *
 * Rows with NaN or Inf are kept and counted in a warning. ORTH_ERR_USAGE for options that do not
 * fit, ORTH_ERR_DATA for inputs (missing, damaged, of different width, no such tensor; a finite
 * value that the element type written cannot hold, unless allowed: the row is named),
 * ORTH_ERR_STORAGE. Collective over `comm`; agreed.
 */
orth_status orth_convert(const orth_convert_options *options, MPI_Comm comm);

#endif
