#ifndef ORTHANT_SRC_FOREIGN_TENSOR_PARTS_H
#define ORTHANT_SRC_FOREIGN_TENSOR_PARTS_H

#include <orthant/foreign/tensor_file.h>

#include <stddef.h>

/*
 * Private to src/foreign: what is behind orth_tensor_file. Inside, what is wrong with a file is
 * ORTH_ERR_CORRUPT; tensor_file.c gives it the status that the caller asked for.
 */

/* What to do about a damaged file. */
#define ORTH_AGAIN "download or export it again"

/** Where the elements of a tensor lie. */
typedef struct orth_place {
    int64_t member;                        ///< index in the zip, -1: the file itself
    int64_t offset;                        ///< of element (0, ..., 0), bytes in member or file
    int64_t stride[ORTH_TENSOR_RANK_MOST]; ///< elements from one index to the next, >= 0
    bool big_endian;
} orth_place;

/** An entry before it has pointers: ranks send tables to each other. */
typedef struct orth_record {
    orth_tensor_entry entry; ///< `name` and `text` are set by orth_table_finish
    orth_place place;
    int64_t name, text; ///< in the pool; text -1: none
} orth_record;

typedef struct orth_table {
    orth_record *records;
    int64_t count, capacity;
    char *pool; ///< texts, each with its NUL
    int64_t pool_bytes, pool_capacity;
} orth_table;

/** Add a record with this name (copied; `text` NULL: none). Sets entry.count from its shape, which
 * has been checked. */
orth_status orth_table_add(orth_table *table, const char *name, const char *text,
                           const orth_record *record);

/** Set the pointers of the entries, when all have been added. */
void orth_table_finish(orth_table *table);

/** Rank 0's table on every rank. Collective; agreed. */
orth_status orth_table_share(orth_table *table, MPI_Comm comm);

void orth_table_free(orth_table *table);

/** The elements of a shape in *count, and the C-order strides; false when 8 bytes of each are more
 * than 64 bits count, or an extent is negative. */
bool orth_shape_count(int rank, const int64_t *shape, int64_t *count);
void orth_shape_strides(int rank, const int64_t *shape, int64_t *stride);

/** The bytes of a file, or of the members of a zip. One reader's own state. */
typedef struct orth_source {
    const char *path; ///< borrowed
    int fd;           ///< -1 where the file is a zip
    int64_t bytes;    ///< of the file
    struct zip *zip;
    struct zip_file *member; ///< the one read last
    int64_t open, at;        ///< its index, and where it stands
    bool seekable;           ///< it is stored without compression
    char *piece;             ///< of orth_elements_read; made when first needed
} orth_source;

orth_status orth_source_open(const char *path, bool zip, orth_source *out);
void orth_source_close(orth_source *source);

/** Read bytes [begin, end) of a member (-1: of the file). Compressed members are read from their
 * beginning up to there. */
orth_status orth_source_read(orth_source *source, int64_t member, int64_t begin, int64_t end,
                             void *out);

/** Members of a zip: their number, names (NULL on failure) and sizes, and the index of a name (-1:
 * none). */
int64_t orth_source_members(const orth_source *source);
const char *orth_source_name(const orth_source *source, int64_t member);
orth_status orth_source_size(const orth_source *source, int64_t member, int64_t *out);
int64_t orth_source_locate(const orth_source *source, const char *name);

/** Read elements [begin, end), C order, as `to` (ORTH_TENSOR_F32, F64 or I64). */
orth_status orth_elements_read(orth_source *source, const orth_record *record, int64_t begin,
                               int64_t end, orth_tensor_type to, void *out);

/** Convert `count` contiguous elements to F32, F64 or I64. False where I64 cannot hold one. */
bool orth_elements_convert(orth_tensor_type from, const void *in, int64_t count,
                           orth_tensor_type to, void *out);

/** Whether a zip is a .pt and no .npz. */
bool orth_torch_recognise(orth_source *source);

/** The tables of contents, read by one rank. orth_torch_table asks for what is recognised. */
orth_status orth_safetensors_table(orth_source *source, orth_table *out);
orth_status orth_torch_table(orth_source *source, orth_table *out);
orth_status orth_npy_table(orth_source *source, orth_table *out);
orth_status orth_npz_table(orth_source *source, orth_table *out);

/**
 * The header of an .npy from the first `length` bytes of `total`; `path` and `name` (of the member,
 * "" for the file) for errors. Local.
 */
orth_status orth_npy_parse(const char *bytes, int64_t length, int64_t total, const char *path,
                           const char *name, orth_record *out);

/** Tells of a storage of a .pt: its member in the zip, its bytes. False when there is none. */
typedef bool orth_storage_finder(void *context, const char *key, int64_t *member, int64_t *bytes);

/** The entries of the pickle of a .pt. Local. */
orth_status orth_pickle_table(const unsigned char *bytes, int64_t length, const char *path,
                              orth_storage_finder *find, void *context, orth_table *out);

#endif
