#include <orthant/foreign/tensor_type.h>

static const struct {
    const char *name;
    int64_t size;
} types[ORTH_TENSOR_TYPES] = {
    [ORTH_TENSOR_BOOL] = {"BOOL", 1},       [ORTH_TENSOR_U8] = {"U8", 1},
    [ORTH_TENSOR_I8] = {"I8", 1},           [ORTH_TENSOR_F8_E5M2] = {"F8_E5M2", 1},
    [ORTH_TENSOR_F8_E4M3] = {"F8_E4M3", 1}, [ORTH_TENSOR_I16] = {"I16", 2},
    [ORTH_TENSOR_U16] = {"U16", 2},         [ORTH_TENSOR_F16] = {"F16", 2},
    [ORTH_TENSOR_BF16] = {"BF16", 2},       [ORTH_TENSOR_I32] = {"I32", 4},
    [ORTH_TENSOR_U32] = {"U32", 4},         [ORTH_TENSOR_F32] = {"F32", 4},
    [ORTH_TENSOR_F64] = {"F64", 8},         [ORTH_TENSOR_I64] = {"I64", 8},
    [ORTH_TENSOR_U64] = {"U64", 8},
};

const char *orth_tensor_type_name(orth_tensor_type type)
{
    return types[type].name;
}

int64_t orth_tensor_type_size(orth_tensor_type type)
{
    return types[type].size;
}
