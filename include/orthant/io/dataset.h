#ifndef ORTHANT_IO_DATASET_H
#define ORTHANT_IO_DATASET_H

#include <orthant/base/status.h>

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>

/** Activation files as one virtual table of `rows` tokens of `d_model` values, in listed order. */
typedef struct orth_dataset orth_dataset;

/**
 * Open files (paths or glob patterns, expanded in sorted order) as one table, through parallel
 * HDF5. `dataset` is the name inside each file ("activations"). Accepts float16, float32, float64
 * in both byte orders and bfloat16 (uint16 with attribute dtype = "bfloat16"), contiguous or
 * chunked. Collective over `comm`, which the dataset duplicates; the status is agreed. Errors are
 * ORTH_ERR_DATA and name the file: missing, folder, not HDF5, empty, dataset absent (lists those
 * there are), wrong rank, unsupported type (lists the supported), unequal width, permission,
 * unknown filter.
 */
orth_status orth_dataset_open(const char *const *files, int64_t n_file, const char *dataset,
                              MPI_Comm comm, orth_dataset **out);

/** Close. Collective. NULL is allowed. */
void orth_dataset_close(orth_dataset *dataset);

int64_t orth_dataset_rows(const orth_dataset *dataset);
int64_t orth_dataset_width(const orth_dataset *dataset);

/** Bytes of a row as stored, of the widest type among the files. */
int64_t orth_dataset_row_bytes(const orth_dataset *dataset);

/** The files of the table, after globs were expanded, and their paths. */
int64_t orth_dataset_files(const orth_dataset *dataset);
const char *orth_dataset_file(const orth_dataset *dataset, int64_t index);

/** The file that holds global row `row`, and the row's index in it. */
const char *orth_dataset_locate(const orth_dataset *dataset, int64_t row, int64_t *row_in_file);

/**
 * Read `n_row` rows, by global index in any order, converted to fp32: out (n_row, d_model).
 * Not collective (independent transfers); the status is local: the caller agrees it. Close rows are
 * fetched together. A file that shrank or vanished gives ORTH_ERR_DATA and its name.
 */
orth_status orth_dataset_read(orth_dataset *dataset, const int64_t *rows, int64_t n_row,
                              float *out);

/** What identifies the content of a table wherever it lies. */
typedef struct orth_fingerprint {
    int64_t rows;
    int64_t d_model;
    uint64_t hash; ///< over the raw-precision values of up to 256 rows spread over the table
} orth_fingerprint;

/** Fingerprint the table. Collective; equal on all ranks and for any grid; independent of paths and
 * of how rows are distributed over files. */
orth_status orth_dataset_fingerprint(orth_dataset *dataset, orth_fingerprint *out);

#endif
