#ifndef ORTHANT_FOREIGN_TENSOR_TYPE_H
#define ORTHANT_FOREIGN_TENSOR_TYPE_H

#include <stdint.h>

/** Element types of tensors in files of other tools, named as safetensors does. */
typedef enum orth_tensor_type {
    ORTH_TENSOR_BOOL,
    ORTH_TENSOR_U8,
    ORTH_TENSOR_I8,
    ORTH_TENSOR_F8_E5M2, ///< listed only: cannot be read
    ORTH_TENSOR_F8_E4M3, ///< listed only: cannot be read
    ORTH_TENSOR_I16,
    ORTH_TENSOR_U16,
    ORTH_TENSOR_F16,
    ORTH_TENSOR_BF16,
    ORTH_TENSOR_I32,
    ORTH_TENSOR_U32,
    ORTH_TENSOR_F32,
    ORTH_TENSOR_F64,
    ORTH_TENSOR_I64,
    ORTH_TENSOR_U64
} orth_tensor_type;

enum {
    ORTH_TENSOR_TYPES = ORTH_TENSOR_U64 + 1,
    ORTH_TENSOR_RANK_MOST = 8 ///< dimensions of a tensor
};

/** "F32", "BF16", ..., as the header of a safetensors file spells it. */
const char *orth_tensor_type_name(orth_tensor_type type);

/** Bytes of an element. */
int64_t orth_tensor_type_size(orth_tensor_type type);

#endif
