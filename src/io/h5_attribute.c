#include "h5_internal.h"

#include <orthant/base/memory.h>
#include <orthant/par/agree.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static orth_status fail_attribute(const orth_h5_file *file, const char *what, const char *object,
                                  const char *name)
{
    char text[128];
    snprintf(text, sizeof text, "cannot %s attribute '%.64s' of", what, name);
    return orth_h5_fail(file, text, object);
}

static orth_status write_attribute(orth_h5_file *file, const char *object, const char *name,
                                   hid_t type, const void *value)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = space < 0 || type < 0
                          ? H5I_INVALID_HID
                          : H5Acreate_by_name(file->id, object, name, type, space, H5P_DEFAULT,
                                              H5P_DEFAULT, H5P_DEFAULT);
    orth_status status = ORTH_OK;
    if (attribute < 0 || H5Awrite(attribute, type, value) < 0 || orth_h5_fault("h5.attribute"))
        status = fail_attribute(file, "write", object, name);
    if (attribute >= 0)
        H5Aclose(attribute);
    if (space >= 0)
        H5Sclose(space);
    return orth_agree(file->comm, status);
}

orth_status orth_h5_attribute_write_int64(orth_h5_file *file, const char *object, const char *name,
                                          int64_t value)
{
    return write_attribute(file, object, name, H5T_NATIVE_INT64, &value);
}

orth_status orth_h5_attribute_write_double(orth_h5_file *file, const char *object, const char *name,
                                           double value)
{
    return write_attribute(file, object, name, H5T_NATIVE_DOUBLE, &value);
}

/* A string type of fixed length, NUL-terminated, UTF-8. */
static hid_t text_type(size_t size)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    if (type >= 0 && (H5Tset_size(type, size) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0)) {
        H5Tclose(type);
        return H5I_INVALID_HID;
    }
    return type;
}

orth_status orth_h5_attribute_write_text(orth_h5_file *file, const char *object, const char *name,
                                         const char *value)
{
    hid_t type = text_type(strlen(value) + 1);
    orth_status status = write_attribute(file, object, name, type, value);
    if (type >= 0)
        H5Tclose(type);
    return status;
}

/* ---- reading ---- */

/* Open an attribute of one value, or of `most`, that is text or a number (floats and integers
 * convert into each other). */
static hid_t open_attribute(orth_h5_file *file, const char *object, const char *name, bool text,
                            hssize_t most)
{
    hid_t attribute = H5Aopen_by_name(file->id, object, name, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute < 0)
        return attribute;
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    H5T_class_t class = type < 0 ? H5T_NO_CLASS : H5Tget_class(type);
    hssize_t count = space < 0 ? 0 : H5Sget_simple_extent_npoints(space);
    bool good = count >= 1 && count <= most &&
                (text ? class == H5T_STRING : class == H5T_INTEGER || class == H5T_FLOAT);
    if (type >= 0)
        H5Tclose(type);
    if (space >= 0)
        H5Sclose(space);
    if (good)
        return attribute;
    H5Aclose(attribute);
    return H5I_INVALID_HID;
}

static orth_status read_number(orth_h5_file *file, const char *object, const char *name, hid_t type,
                               void *value)
{
    hid_t attribute = open_attribute(file, object, name, false, 1);
    orth_status status = ORTH_OK;
    if (attribute < 0 || H5Aread(attribute, type, value) < 0 || orth_h5_fault("h5.attribute"))
        status = fail_attribute(file, "read", object, name);
    if (attribute >= 0)
        H5Aclose(attribute);
    return orth_agree(file->comm, status);
}

orth_status orth_h5_attribute_read_int64(orth_h5_file *file, const char *object, const char *name,
                                         int64_t *out)
{
    int64_t value;
    ORTH_TRY(read_number(file, object, name, H5T_NATIVE_INT64, &value));
    *out = value;
    return ORTH_OK;
}

orth_status orth_h5_attribute_read_double(orth_h5_file *file, const char *object, const char *name,
                                          double *out)
{
    double value;
    ORTH_TRY(read_number(file, object, name, H5T_NATIVE_DOUBLE, &value));
    *out = value;
    return ORTH_OK;
}

/* HDF5 converts a longer fixed string to a shorter one by cutting it. */
static herr_t read_fixed(hid_t attribute, char *out, size_t size, hid_t like)
{
    hid_t type = text_type(size);
    if (type < 0)
        return -1;
    herr_t result = H5Tset_cset(type, H5Tget_cset(like));
    if (result >= 0)
        result = H5Aread(attribute, type, out);
    H5Tclose(type);
    return result;
}

static herr_t read_variable(hid_t attribute, char *out, size_t size, hid_t like)
{
    char *text = NULL;
    hid_t space = H5Aget_space(attribute);
    herr_t result = space < 0 ? -1 : H5Aread(attribute, like, &text);
    if (result >= 0) {
        snprintf(out, size, "%s", text ? text : "");
        H5Dvlen_reclaim(like, space, H5P_DEFAULT, &text);
    }
    if (space >= 0)
        H5Sclose(space);
    return result;
}

orth_status orth_h5_attribute_read_text(orth_h5_file *file, const char *object, const char *name,
                                        char *out, int64_t size)
{
    hid_t attribute = open_attribute(file, object, name, true, 1);
    hid_t type = attribute < 0 ? H5I_INVALID_HID : H5Aget_type(attribute);
    orth_status status = ORTH_OK;
    herr_t result = -1;
    if (type >= 0)
        result = H5Tis_variable_str(type) > 0 ? read_variable(attribute, out, (size_t)size, type)
                                              : read_fixed(attribute, out, (size_t)size, type);
    if (result < 0)
        status = fail_attribute(file, "read", object, name);
    if (type >= 0)
        H5Tclose(type);
    if (attribute >= 0)
        H5Aclose(attribute);
    return orth_agree(file->comm, status);
}

/* Text `i` of an attribute that was read, and how long it may be. */
static const char *text_at(const char *values, size_t each, hssize_t i, bool variable,
                           size_t *length)
{
    const char *text = values + (size_t)i * each;
    if (variable)
        text = *(const char *const *)(const void *)text;
    *length = !text ? 0 : variable ? strlen(text) : strnlen(text, each);
    return text;
}

static orth_status join(hid_t attribute, hid_t type, hid_t space, char *out, size_t size)
{
    bool variable = H5Tis_variable_str(type) > 0;
    size_t each = H5Tget_size(type), used = 0;
    hssize_t count = H5Sget_simple_extent_npoints(space);
    char *values = orth_calloc((size_t)count, each);
    if (!values)
        return orth_fail(ORTH_ERR_ENVIRONMENT, "attribute: out of memory for %lld texts; free some",
                         (long long)count);
    orth_status status = H5Aread(attribute, type, values) < 0 ? ORTH_ERR_INTERNAL : ORTH_OK;
    for (hssize_t i = 0; status == ORTH_OK && i < count && used < size; i++) {
        size_t length;
        const char *text = text_at(values, each, i, variable, &length);
        int written = snprintf(out + used, size - used, "%s%.*s", i ? "\n" : "", (int)length, text);
        used += written < 0 ? 0 : (size_t)written;
    }
    if (status == ORTH_OK && variable)
        H5Dvlen_reclaim(type, space, H5P_DEFAULT, values);
    free(values);
    return status;
}

orth_status orth_h5_attribute_read_texts(orth_h5_file *file, const char *object, const char *name,
                                         int64_t most, char *out, int64_t size)
{
    hid_t attribute = open_attribute(file, object, name, true, most);
    hid_t type = attribute < 0 ? H5I_INVALID_HID : H5Aget_type(attribute);
    hid_t space = attribute < 0 ? H5I_INVALID_HID : H5Aget_space(attribute);
    orth_status status = ORTH_ERR_INTERNAL;
    if (type >= 0 && space >= 0)
        status = join(attribute, type, space, out, (size_t)size);
    if (status == ORTH_ERR_INTERNAL)
        status = fail_attribute(file, "read", object, name);
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    if (attribute >= 0)
        H5Aclose(attribute);
    return orth_agree(file->comm, status);
}

orth_status orth_h5_attribute_exists(orth_h5_file *file, const char *object, const char *name,
                                     bool *out)
{
    orth_status status = ORTH_OK;
    htri_t found = H5Aexists_by_name(file->id, object, name, H5P_DEFAULT);
    if (found < 0)
        status = fail_attribute(file, "look up", object, name);
    status = orth_agree(file->comm, status);
    if (status == ORTH_OK)
        *out = found > 0;
    return status;
}
