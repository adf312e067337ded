#ifndef ORTHANT_FOREIGN_SAFETENSORS_H
#define ORTHANT_FOREIGN_SAFETENSORS_H

#include <orthant/base/status.h>
#include <orthant/foreign/tensor_type.h>

#include <stdint.h>

/**
 * The table of contents of a safetensors file: 8 bytes with the length of the header
 * (little-endian), the header (a JSON object: name -> dtype, shape, data_offsets), then the
 * tensors, row-major and little-endian, one after another without holes. Nothing of the file is
 * believed: every tensor of an accepted file lies inside it, has the bytes that its type and shape
 * ask for, and shares none with another. (Files are read through tensor_file.h.)
 */
enum { ORTH_SAFETENSORS_HEADER_MOST = 100000000 }; ///< bytes; the bound of the format's own library

/** One tensor. */
typedef struct orth_tensor {
    char *name;
    orth_tensor_type type;
    int rank;                             ///< 0 for a scalar
    int64_t shape[ORTH_TENSOR_RANK_MOST]; ///< 1 beyond `rank`
    int64_t begin, end;                   ///< its bytes in the file
} orth_tensor;

/** The tensors of a file, in the order of their bytes. */
typedef struct orth_safetensors {
    orth_tensor *tensors;
    int64_t count;
    struct json_t *metadata; ///< an object of texts (jansson); NULL: none
} orth_safetensors;

/**
 * Read the table of contents from the first `length` bytes of a file of `file_bytes` bytes, which
 * must cover the header; `path` stands for the file in errors. ORTH_ERR_CORRUPT tells what is wrong
 * and where: file shorter than its header, header beyond ORTH_SAFETENSORS_HEADER_MOST, malformed
 * JSON (line and column), duplicate names, unknown type, impossible shape, bytes that do not match
 * type and shape, overlaps, holes, tensors outside of the file. Local. Free with
 * orth_safetensors_free.
 */
orth_status orth_safetensors_parse(const char *bytes, int64_t length, int64_t file_bytes,
                                   const char *path, orth_safetensors *out);

/** The tensor of that name, NULL when there is none. */
const orth_tensor *orth_safetensors_find(const orth_safetensors *file, const char *name);

/** Free what a table owns and zero it. A zeroed one is allowed. */
void orth_safetensors_free(orth_safetensors *file);

#endif
