#include "h5_internal.h"

#include <stdio.h>
#include <string.h>

hid_t orth_h5_memory_type(orth_h5_type type)
{
    switch (type) {
    case ORTH_H5_FLOAT:
        return H5T_NATIVE_FLOAT;
    case ORTH_H5_DOUBLE:
        return H5T_NATIVE_DOUBLE;
    case ORTH_H5_INT32:
        return H5T_NATIVE_INT32;
    case ORTH_H5_INT64:
        return H5T_NATIVE_INT64;
    case ORTH_H5_UINT8:
        return H5T_NATIVE_UINT8;
    case ORTH_H5_UINT32:
        return H5T_NATIVE_UINT32;
    case ORTH_H5_UINT64:
        return H5T_NATIVE_UINT64;
    default:
        return H5I_INVALID_HID;
    }
}

int64_t orth_h5_memory_size(orth_h5_type type)
{
    switch (type) {
    case ORTH_H5_UINT8:
        return 1;
    case ORTH_H5_FLOAT16:
    case ORTH_H5_BFLOAT16:
        return 2;
    case ORTH_H5_FLOAT:
    case ORTH_H5_INT32:
    case ORTH_H5_UINT32:
        return 4;
    case ORTH_H5_DOUBLE:
    case ORTH_H5_INT64:
    case ORTH_H5_UINT64:
        return 8;
    default:
        return 0;
    }
}

/* Size alone does not tell float16 from bfloat16, nor IEEE from what some machines had before. */
static orth_h5_type float_type(hid_t type, size_t size, const char **name)
{
    static const struct {
        size_t size, exponent, mantissa;
        orth_h5_type type;
        const char *name;
    } known[] = {{2, 5, 10, ORTH_H5_FLOAT16, "float16"},
                 {2, 8, 7, ORTH_H5_BFLOAT16, "bfloat16"},
                 {4, 8, 23, ORTH_H5_FLOAT, "float32"},
                 {8, 11, 52, ORTH_H5_DOUBLE, "float64"}};
    size_t sign, exponent_at, exponent, mantissa_at, mantissa;
    if (H5Tget_fields(type, &sign, &exponent_at, &exponent, &mantissa_at, &mantissa) < 0)
        return ORTH_H5_OTHER;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (size == known[i].size && exponent == known[i].exponent &&
            mantissa == known[i].mantissa && mantissa_at == 0 && exponent_at == mantissa &&
            sign == mantissa + exponent && H5Tget_norm(type) == H5T_NORM_IMPLIED &&
            H5Tget_ebias(type) == ((size_t)1 << (exponent - 1)) - 1) {
            *name = known[i].name;
            return known[i].type;
        }
    return ORTH_H5_OTHER;
}

static orth_h5_type integer_type(hid_t type, size_t size)
{
    bool is_signed = H5Tget_sign(type) == H5T_SGN_2;
    if (size == 1 && !is_signed)
        return ORTH_H5_UINT8;
    if (size == 4)
        return is_signed ? ORTH_H5_INT32 : ORTH_H5_UINT32;
    if (size == 8)
        return is_signed ? ORTH_H5_INT64 : ORTH_H5_UINT64;
    return ORTH_H5_OTHER;
}

static const char *class_name(H5T_class_t class)
{
    switch (class) {
    case H5T_STRING:
        return "string";
    case H5T_COMPOUND:
        return "compound";
    case H5T_ENUM:
        return "enumeration or bool";
    case H5T_VLEN:
        return "variable-length";
    case H5T_ARRAY:
        return "array";
    default:
        return "other";
    }
}

void orth_h5_describe_type(hid_t type, bool marked_bf16, orth_h5_layout *layout)
{
    H5T_class_t class = H5Tget_class(type);
    size_t size = H5Tget_size(type);
    layout->element_size = (int64_t)size;
    layout->big_endian = false;
    layout->type = ORTH_H5_OTHER;
    if (class != H5T_FLOAT && class != H5T_INTEGER) {
        snprintf(layout->type_name, sizeof layout->type_name, "%s", class_name(class));
        return;
    }
    H5T_order_t order = H5Tget_order(type);
    layout->big_endian = order == H5T_ORDER_BE && size > 1;
    bool plain = order == H5T_ORDER_LE || order == H5T_ORDER_BE;
    char bits[32];
    const char *name = bits;
    snprintf(bits, sizeof bits, "%s%zu-bit float", class == H5T_FLOAT ? "non-IEEE " : "", 8 * size);
    if (class == H5T_FLOAT && plain)
        layout->type = float_type(type, size, &name);
    if (class == H5T_INTEGER) {
        bool is_signed = H5Tget_sign(type) == H5T_SGN_2;
        snprintf(bits, sizeof bits, "%sint%zu", is_signed ? "" : "u", 8 * size);
        if (marked_bf16 && size == 2 && !is_signed && plain) {
            layout->type = ORTH_H5_BFLOAT16;
            name = "bfloat16";
        } else if (plain) {
            layout->type = integer_type(type, size);
        }
    }
    snprintf(layout->type_name, sizeof layout->type_name, "%s%s", name,
             layout->big_endian ? " big-endian" : "");
}
