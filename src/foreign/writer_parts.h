#ifndef ORTHANT_SRC_FOREIGN_WRITER_PARTS_H
#define ORTHANT_SRC_FOREIGN_WRITER_PARTS_H

#include "tensor_parts.h"

/* Private to src/foreign: what stands around the elements in each format. */

/** A growing text or header. */
typedef struct orth_bytes {
    char *data; ///< owned (orth_free)
    int64_t count, capacity;
} orth_bytes;

orth_status orth_bytes_add(orth_bytes *to, const void *data, int64_t count);
orth_status orth_bytes_text(orth_bytes *to, const char *text);

/**
 * What goes before the elements. Sets place.offset of every tensor to where its elements are in the
 * file. Local, the same on all ranks.
 */
orth_status orth_safetensors_begin(orth_table *table, orth_bytes *out);
orth_status orth_npy_begin(orth_table *table, orth_bytes *out);

/** The pickle of a .pt; place.member of every tensor is the number of its storage. */
orth_status orth_torch_pickle(orth_table *table, orth_bytes *out);

/** Write the zip `path` of the pickle and the elements, which are in the file `elements` at
 * place.offset. */
orth_status orth_torch_zip(const char *path, const char *elements, const orth_table *table,
                           const orth_bytes *pickle);

/** Bytes of the elements of a tensor. */
static inline int64_t orth_record_bytes(const orth_record *record)
{
    return record->entry.count * orth_tensor_type_size(record->entry.type);
}

#endif
