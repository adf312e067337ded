#ifndef ORTHANT_FOREIGN_TENSOR_FILE_H
#define ORTHANT_FOREIGN_TENSOR_FILE_H

#include <orthant/base/status.h>
#include <orthant/foreign/tensor_type.h>

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>

/**
 * A file of named tensors that another tool wrote: safetensors, PyTorch's .pt (zip), NumPy's .npy
 * and .npz. Told apart by their first bytes, not by their names. Nothing in a file is believed and
 * nothing in it is executed: a pickle may only build dictionaries, lists, numbers, texts and
 * tensors; anything else is refused by name.
 */
typedef struct orth_tensor_file orth_tensor_file;

typedef enum orth_tensor_format {
    ORTH_FORMAT_SAFETENSORS,
    ORTH_FORMAT_TORCH, ///< .pt, .pth: a zip with data.pkl
    ORTH_FORMAT_NPY,   ///< one array, whose name is ""
    ORTH_FORMAT_NPZ,   ///< a zip of .npy files
    ORTH_FORMAT_RAW    ///< elements alone, row after row; never recognised
} orth_tensor_format;

/** What an entry of a file is. */
typedef enum orth_entry_kind {
    ORTH_ENTRY_TENSOR,
    ORTH_ENTRY_INTEGER, ///< the rest: values of a dictionary in a .pt, metadata of safetensors
    ORTH_ENTRY_REAL,
    ORTH_ENTRY_BOOL,
    ORTH_ENTRY_TEXT,
    ORTH_ENTRY_NONE
} orth_entry_kind;

/**
 * One entry. Keys are kept as they are ("encoder.weight"); '/' joins the keys of nested
 * dictionaries and the indices of lists ("activation_state_dict/k"). The metadata of safetensors
 * are texts named "__metadata__/<key>". A file that is one tensor and no dictionary names it "".
 */
typedef struct orth_tensor_entry {
    const char *name;
    orth_entry_kind kind;
    orth_tensor_type type;                ///< of a tensor
    int rank;                             ///< 0 for a scalar, a tensor or not
    int64_t shape[ORTH_TENSOR_RANK_MOST]; ///< 1 beyond `rank`
    int64_t count;                        ///< elements; 1 for what is no tensor
    int64_t integer;                      ///< of INTEGER and BOOL
    double real;                          ///< of REAL
    const char *text;                     ///< of TEXT; NULL otherwise
} orth_tensor_entry;

/**
 * Open: rank 0 reads the table of contents, every rank gets it and opens the file for its own
 * reads. `fault` (ORTH_ERR_DATA for activations, ORTH_ERR_CORRUPT for models) when it is of none
 * of the formats, damaged or holds what cannot be read; where there is no such file,
 * ORTH_ERR_USAGE, but ORTH_ERR_DATA of activations. Collective over `comm`; agreed. End with
 * orth_tensor_file_close.
 */
orth_status orth_tensor_file_open(const char *path, orth_status fault, MPI_Comm comm,
                                  orth_tensor_file **out);

/**
 * Open a file of elements alone, little-endian, as one tensor [rows, width] of the name "". As
 * orth_tensor_file_open; `fault` also where the length is not a number of rows.
 */
orth_status orth_tensor_file_open_raw(const char *path, orth_tensor_type type, int64_t width,
                                      orth_status fault, MPI_Comm comm, orth_tensor_file **out);

/** Whether the file of that path begins as one of the formats does; one that cannot be read does
 * not. ORTH_ERR_ENVIRONMENT without memory. Rank 0 looks. Collective; agreed. */
orth_status orth_tensor_file_recognise(const char *path, MPI_Comm comm, bool *out);

/** Close. Not collective. NULL is allowed. */
void orth_tensor_file_close(orth_tensor_file *file);

const char *orth_tensor_file_path(const orth_tensor_file *file);
orth_tensor_format orth_tensor_file_format(const orth_tensor_file *file);

/** "safetensors", "PyTorch (zip)", "npy", "npz", "raw". */
const char *orth_tensor_format_name(orth_tensor_format format);

/** The entries, in the order of the file, and the one of a name (NULL when there is none). Valid
 * until the file is closed. */
int64_t orth_tensor_file_count(const orth_tensor_file *file);
const orth_tensor_entry *orth_tensor_file_entry(const orth_tensor_file *file, int64_t index);
const orth_tensor_entry *orth_tensor_file_find(const orth_tensor_file *file, const char *name);

/**
 * Read elements [begin, end) of an entry, counted in C order (the last index runs fastest) whatever
 * the order in the file: Fortran order, strides, offsets and expanded dimensions are resolved. To
 * float32 rounds to nearest (float64, integers); a finite value that overflows becomes Inf. `entry`
 * is one of this file; numbers that are no tensors read as one element. Reads of a compressed .npz
 * go fastest in ascending order. Memory is bounded (4 MiB) whatever the size asked for. Not
 * collective; the status is local: the caller agrees it.
 */
orth_status orth_tensor_read_f32(orth_tensor_file *file, const orth_tensor_entry *entry,
                                 int64_t begin, int64_t end, float *out);

/** The same as float64. */
orth_status orth_tensor_read_f64(orth_tensor_file *file, const orth_tensor_entry *entry,
                                 int64_t begin, int64_t end, double *out);

/** The same of integers and booleans; a type of floats, and values beyond int64, are errors. */
orth_status orth_tensor_read_i64(orth_tensor_file *file, const orth_tensor_entry *entry,
                                 int64_t begin, int64_t end, int64_t *out);

/** "[768, 12288]", "[]" for a scalar. Returns `out`. */
char *orth_tensor_shape_text(const orth_tensor_entry *entry, char out[192]);

#endif
