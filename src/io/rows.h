#ifndef ORTHANT_SRC_IO_ROWS_H
#define ORTHANT_SRC_IO_ROWS_H

#include <orthant/io/dataset.h>
#include <orthant/io/h5.h>

/*
 * Private to src/io: the table behind orth_dataset, and its rows as raw bytes. One orth_rows is one
 * reader's own state (file descriptors, buffer), so that the read-ahead thread and the main thread
 * each have theirs.
 */
typedef struct orth_table_file {
    char *path;
    int64_t first; ///< global index of its first row
    int64_t rows;
    orth_h5_type type;
    int64_t element_size;
    bool big_endian;
    int64_t offset;       ///< of row 0 in the file; -1: HDF5 must read
    int64_t chunk_rows;   ///< 0 unless chunked
    orth_h5_file *h5;     ///< open only when HDF5 must read
    orth_h5_dataset *set; ///< the same
} orth_table_file;

typedef struct orth_rows orth_rows;

struct orth_dataset {
    MPI_Comm comm;
    int64_t n_file;
    orth_table_file *files; ///< (n_file)
    char *paths;            ///< what the files' paths point into
    int64_t rows;
    int64_t d_model;
    int64_t stride;    ///< bytes of the widest row of any file
    bool plain;        ///< every row can be had by pread: a thread may fetch
    orth_rows *reader; ///< of orth_dataset_read; made when first needed
};

/** Why a fetch failed; worded by orth_rows_fail, since a thread must not record errors. */
typedef struct orth_rows_fault {
    bool failed;
    bool recorded; ///< HDF5 read, and its error is recorded already
    int64_t file;
    int64_t row; ///< first row of the read, in its file
    int code;    ///< errno, or 0: fewer bytes than expected
} orth_rows_fault;

/** Takes one raw row, request number `index`, global index `row`; bytes as on disk. */
typedef void (*orth_rows_sink)(void *context, int64_t index, int64_t row, const unsigned char *raw);

/** Make a reader for requests of up to `most` rows. Free with orth_rows_free (NULL allowed). */
orth_status orth_rows_create(const orth_dataset *dataset, int64_t most, orth_rows **out);
void orth_rows_free(orth_rows *reader);

/** Fetch `n_row` rows (global indices, any order, repeats allowed), in file order and in large
 * pieces, and give each to the sink. */
orth_rows_fault orth_rows_fetch(orth_rows *reader, const int64_t *rows, int64_t n_row,
                                orth_rows_sink sink, void *context);

/** Word and record a fault (main thread); ORTH_OK when there is none. */
orth_status orth_rows_status(const orth_dataset *dataset, orth_rows_fault fault);

/** The file that holds a global row. */
const orth_table_file *orth_table_find(const orth_dataset *dataset, int64_t row);

/** Copy `count` elements of `size` bytes, reversing the bytes of each. */
void orth_swap_bytes(const unsigned char *in, int64_t count, int64_t size, unsigned char *out);

/** Convert one raw row of the file to fp32: out (d_model). Returns whether all are finite. */
bool orth_rows_convert(const orth_table_file *file, const unsigned char *raw, int64_t d_model,
                       float *out);

#endif
