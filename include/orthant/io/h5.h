#ifndef ORTHANT_IO_H5_H
#define ORTHANT_IO_H5_H

#include <orthant/base/status.h>

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>

/**
 * Thin checked wrappers of parallel HDF5: the only place that sees `hid_t`. Everything marked
 * collective must be called by every rank of the file's communicator with the same arguments and
 * returns an agreed status; reads and writes of rows are independent, their status is local and
 * the caller agrees it. HDF5's error stack is never printed: its innermost line is put into ours.
 *
 * HDF5 is not thread-safe: main thread only.
 */
typedef struct orth_h5_file orth_h5_file;
typedef struct orth_h5_dataset orth_h5_dataset;

/** Element types. Those up to ORTH_H5_UINT64 can be created, and read and written as C types. */
typedef enum orth_h5_type {
    ORTH_H5_FLOAT,
    ORTH_H5_DOUBLE,
    ORTH_H5_INT32,
    ORTH_H5_INT64,
    ORTH_H5_UINT8,
    ORTH_H5_UINT32,
    ORTH_H5_UINT64,
    ORTH_H5_FLOAT16,  ///< IEEE; create, orth_h5_read_raw and orth_h5_write_raw
    ORTH_H5_BFLOAT16, ///< the same; uint16 with attribute dtype = "bfloat16", or a float of that
                      ///< form
    ORTH_H5_OTHER     ///< anything else; cannot be read
} orth_h5_type;

/** How an existing file is opened. */
typedef enum orth_h5_access {
    ORTH_H5_READ,            ///< collective metadata reads; rows of contiguous datasets only
    ORTH_H5_READ_INDEPENDENT ///< also rows of chunked datasets, whose index is metadata
} orth_h5_access;

enum { ORTH_H5_MAX_RANK = 2 };

/** What a dataset is like on disk. Extents beyond the second, if any, are not kept. */
typedef struct orth_h5_layout {
    int rank;                         ///< number of dimensions, 0 for a scalar
    int64_t extent[ORTH_H5_MAX_RANK]; ///< (rows, columns); 1 where there is no such dimension
    orth_h5_type type;
    int64_t element_size; ///< bytes on disk
    bool big_endian;
    int64_t offset;      ///< of the first byte in the file; -1 unless contiguous there
    int64_t chunk_rows;  ///< rows of a chunk, 0 unless chunked
    int64_t chunk_bytes; ///< bytes of a chunk before filters, 0 unless chunked
    char type_name[48];  ///< for messages: "float16", "int32 big-endian", "string"
} orth_h5_layout;

/** Whether MPI-IO can open a path of this length; otherwise an error of status `fault`. Opening
 * checks it too; this is for knowing it early. Local. */
orth_status orth_h5_check_path(const char *path, orth_status fault);

/**
 * Open for reading. Collective over `comm`, which is duplicated. `fault` is the status that
 * failures on this file get (ORTH_ERR_DATA for activations, ORTH_ERR_CORRUPT for checkpoints).
 * Missing, not readable, a folder, empty, and not HDF5 are told apart in the text.
 */
orth_status orth_h5_open(const char *path, orth_h5_access access, orth_status fault, MPI_Comm comm,
                         orth_h5_file **out);

/**
 * Create, truncating what is there, with the low version bound 1.10 (older metadata carries no
 * checksums). Failures on this file are ORTH_ERR_STORAGE. Collective over `comm`.
 */
orth_status orth_h5_create(const char *path, MPI_Comm comm, orth_h5_file **out);

/** Close. Collective; agreed. HDF5 reports success here after a failed write: the statuses of the
 * writes count. All datasets of the file must be closed. NULL is allowed. */
orth_status orth_h5_close(orth_h5_file *file);

/**
 * Make sure of room on disk for a file of `bytes` (data and about 1 MiB for the rest), before the
 * first dataset is created. HDF5's metadata is written inside its collective calls, and where such
 * a write fails on one rank (disk full) the others wait in them for ever: so find it out here.
 * Closing cuts the file to what is used. Collective; agreed; ORTH_OK where the file system cannot
 * reserve.
 */
orth_status orth_h5_reserve(orth_h5_file *file, int64_t bytes);

const char *orth_h5_path(const orth_h5_file *file);

/** The names of the datasets and groups in a group ("/"), as "a, b, c/" ("" when none), cut to
 * `size` bytes. Collective. */
orth_status orth_h5_names(orth_h5_file *file, const char *group, char *out, int64_t size);

/** Whether there is an object (dataset or group) of that path. Collective. */
orth_status orth_h5_exists(orth_h5_file *file, const char *name, bool *out);

/**
 * Create a contiguous dataset of `rank` 1 or 2, without fill; groups on its path are made as
 * needed. Collective. End with orth_h5_dataset_close. BFLOAT16 becomes uint16 with its attribute.
 */
orth_status orth_h5_dataset_create(orth_h5_file *file, const char *name, orth_h5_type type,
                                   int rank, const int64_t *extent, orth_h5_dataset **out);

/** Create a 1-D dataset of length 0 that can grow, in chunks of `chunk` elements. Collective. */
orth_status orth_h5_dataset_create_growing(orth_h5_file *file, const char *name, orth_h5_type type,
                                           int64_t chunk, orth_h5_dataset **out);

/** Change the length of a growing dataset. Collective. */
orth_status orth_h5_dataset_resize(orth_h5_dataset *dataset, int64_t length);

/**
 * Open. Collective. An absent dataset gives an error that lists what its group holds; one with
 * a filter that this HDF5 lacks gives an error that names the filter.
 */
orth_status orth_h5_dataset_open(orth_h5_file *file, const char *name, orth_h5_dataset **out);

/** Close. Collective. NULL is allowed. */
void orth_h5_dataset_close(orth_h5_dataset *dataset);

/** Valid until the dataset is closed or resized. */
const orth_h5_layout *orth_h5_dataset_layout(const orth_h5_dataset *dataset);

/**
 * Read rows [begin, end) of a 1-D or 2-D dataset into memory of type `type` (up to ORTH_H5_UINT64),
 * row-major (end - begin, columns), converted by HDF5 where the disk differs. Independent; local
 * status. begin = end does nothing.
 */
orth_status orth_h5_read(orth_h5_dataset *dataset, int64_t begin, int64_t end, orth_h5_type type,
                         void *out);

/** Write rows [begin, end). Independent; local status: the only word on whether it was written. */
orth_status orth_h5_write(orth_h5_dataset *dataset, int64_t begin, int64_t end, orth_h5_type type,
                          const void *data);

/** Read rows [begin, end) as they are on disk (after filters), byte order included. Independent. */
orth_status orth_h5_read_raw(orth_h5_dataset *dataset, int64_t begin, int64_t end, void *out);

/** Write rows [begin, end) that already have the form they have on disk. Independent. */
orth_status orth_h5_write_raw(orth_h5_dataset *dataset, int64_t begin, int64_t end,
                              const void *data);

/**
 * Scalar attributes of `object` ("/" or the path of a dataset or group). Collective; an absent
 * attribute or one of another class is an error that names it. Text is written with fixed length,
 * and read from fixed or variable length, cut to `size` bytes with the final NUL.
 */
orth_status orth_h5_attribute_write_int64(orth_h5_file *file, const char *object, const char *name,
                                          int64_t value);
orth_status orth_h5_attribute_write_double(orth_h5_file *file, const char *object, const char *name,
                                           double value);
orth_status orth_h5_attribute_write_text(orth_h5_file *file, const char *object, const char *name,
                                         const char *value);
orth_status orth_h5_attribute_read_int64(orth_h5_file *file, const char *object, const char *name,
                                         int64_t *out);
orth_status orth_h5_attribute_read_double(orth_h5_file *file, const char *object, const char *name,
                                          double *out);
orth_status orth_h5_attribute_read_text(orth_h5_file *file, const char *object, const char *name,
                                        char *out, int64_t size);

/** As orth_h5_attribute_read_text, of an attribute that holds from 1 to `most` texts: they are
 * joined by line feeds. */
orth_status orth_h5_attribute_read_texts(orth_h5_file *file, const char *object, const char *name,
                                         int64_t most, char *out, int64_t size);

/** Whether `object` has that attribute. Collective. */
orth_status orth_h5_attribute_exists(orth_h5_file *file, const char *object, const char *name,
                                     bool *out);

#endif
