/* What a dataset is like on disk, and whether that can be. */
#include "h5_internal.h"

#include <string.h>

/* Products of extents and sizes of elements stay within 64 bits. */
static const uint64_t ELEMENTS_MOST = UINT64_C(1) << 56;

static orth_status read_extents(orth_h5_dataset *dataset)
{
    hid_t space = H5Dget_space(dataset->id);
    hsize_t extent[H5S_MAX_RANK];
    int rank = space < 0 ? -1 : H5Sget_simple_extent_dims(space, extent, NULL);
    H5S_class_t class = space < 0 ? H5S_NO_CLASS : H5Sget_simple_extent_type(space);
    if (space >= 0)
        H5Sclose(space);
    if (rank < 0 || class == H5S_NO_CLASS)
        return orth_h5_fail(dataset->file, "cannot read the shape of dataset", dataset->name);
    orth_h5_layout *layout = &dataset->layout;
    layout->rank = class == H5S_NULL ? 0 : rank;
    unsigned __int128 elements = 1;
    for (int i = 0; i < ORTH_H5_MAX_RANK; i++) {
        hsize_t count = i < layout->rank ? extent[i] : 1;
        /* A length of 0 makes the product 0 and must not hide another one that is beyond. */
        elements *= count ? count : 1;
        if (count > ELEMENTS_MOST || elements > ELEMENTS_MOST)
            return orth_fail(dataset->file->fault,
                             "%s: dataset '%s' claims more than 2^56 elements; check the file",
                             dataset->file->path, dataset->name);
        layout->extent[i] = (int64_t)count;
    }
    return ORTH_OK;
}

static bool marked_bfloat16(hid_t dataset)
{
    bool marked = false;
    if (H5Aexists(dataset, "dtype") <= 0) {
        H5Eclear2(H5E_DEFAULT);
        return false;
    }
    hid_t attribute = H5Aopen(dataset, "dtype", H5P_DEFAULT);
    hid_t type = attribute < 0 ? H5I_INVALID_HID : H5Aget_type(attribute);
    hid_t space = attribute < 0 ? H5I_INVALID_HID : H5Aget_space(attribute);
    if (type >= 0 && H5Tget_class(type) == H5T_STRING && H5Sget_simple_extent_npoints(space) == 1) {
        char fixed[32] = "", *text = fixed;
        size_t size = H5Tget_size(type);
        bool variable = H5Tis_variable_str(type) > 0;
        bool read = variable ? H5Aread(attribute, type, &text) >= 0
                             : size < sizeof fixed && H5Aread(attribute, type, fixed) >= 0;
        marked = read && text && strncmp(text, "bfloat16", 8) == 0;
        if (variable && read)
            H5Dvlen_reclaim(type, space, H5P_DEFAULT, &text);
    }
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    if (attribute >= 0)
        H5Aclose(attribute);
    H5Eclear2(H5E_DEFAULT);
    return marked;
}

static orth_status read_type(orth_h5_dataset *dataset)
{
    hid_t type = H5Dget_type(dataset->id);
    if (type < 0)
        return orth_h5_fail(dataset->file, "cannot read the type of dataset", dataset->name);
    orth_h5_describe_type(type, marked_bfloat16(dataset->id), &dataset->layout);
    H5Tclose(type);
    return ORTH_OK;
}

static orth_status check_filters(const orth_h5_dataset *dataset, hid_t creation)
{
    int count = H5Pget_nfilters(creation);
    for (int i = 0; i < count; i++) {
        unsigned flags;
        size_t n_value = 0;
        char name[64] = "";
        H5Z_filter_t filter =
            H5Pget_filter2(creation, (unsigned)i, &flags, &n_value, NULL, sizeof name, name, NULL);
        if (H5Zfilter_avail(filter) > 0)
            continue;
        H5Eclear2(H5E_DEFAULT);
        return orth_fail(dataset->file->fault,
                         "%s: dataset '%s' is compressed with filter %d (%s), which this HDF5 "
                         "does not have; set HDF5_PLUGIN_PATH to its plugin, or rewrite the file "
                         "uncompressed or with gzip",
                         dataset->file->path, dataset->name, (int)filter,
                         name[0] ? name : "unnamed");
    }
    return ORTH_OK;
}

/* Values come from the file that was named, and from no other. */
static orth_status check_inside(const orth_h5_dataset *dataset, hid_t creation, H5D_layout_t kind)
{
    const char *what = NULL;
    if (kind == H5D_VIRTUAL)
        what = "is virtual: a view of other files";
    else if (kind == H5D_CONTIGUOUS && H5Pget_external_count(creation) != 0)
        what = "keeps its values in other files";
    if (!what)
        return ORTH_OK;
    return orth_fail(dataset->file->fault,
                     "%s: dataset '%s' %s; name the files that hold the values, or copy them into "
                     "one with h5repack",
                     dataset->file->path, dataset->name, what);
}

/* HDF5 never makes a chunk longer than a dimension that cannot grow. It does not look for that when
 * it reads, and crashes where a damaged file says so and the chunk is compressed. */
static orth_status read_chunks(orth_h5_dataset *dataset, hid_t creation)
{
    orth_h5_layout *layout = &dataset->layout;
    hsize_t chunk[H5S_MAX_RANK], most[H5S_MAX_RANK];
    hid_t space = H5Dget_space(dataset->id);
    int rank = H5Pget_chunk(creation, H5S_MAX_RANK, chunk);
    bool good = space >= 0 && rank > 0 && H5Sget_simple_extent_dims(space, NULL, most) == rank;
    if (space >= 0)
        H5Sclose(space);
    layout->chunk_bytes = layout->element_size;
    for (int i = 0; good && i < rank; i++) {
        good = chunk[i] > 0 && (most[i] == H5S_UNLIMITED || chunk[i] <= most[i]) &&
               !__builtin_mul_overflow(layout->chunk_bytes, chunk[i], &layout->chunk_bytes);
    }
    if (!good)
        return orth_fail(dataset->file->fault,
                         "%s: dataset '%s' has chunks that no such table can have: the file is "
                         "damaged; copy it again",
                         dataset->file->path, dataset->name);
    layout->chunk_rows = (int64_t)chunk[0];
    return ORTH_OK;
}

static orth_status read_storage(orth_h5_dataset *dataset)
{
    hid_t creation = H5Dget_create_plist(dataset->id);
    if (creation < 0)
        return orth_h5_fail(dataset->file, "cannot read the layout of dataset", dataset->name);
    orth_h5_layout *layout = &dataset->layout;
    orth_status status = check_filters(dataset, creation);
    H5D_layout_t kind = H5Pget_layout(creation);
    if (status == ORTH_OK)
        status = check_inside(dataset, creation, kind);
    layout->offset = -1;
    layout->chunk_rows = layout->chunk_bytes = 0;
    if (kind == H5D_CONTIGUOUS) {
        haddr_t offset = H5Dget_offset(dataset->id);
        if (offset != HADDR_UNDEF)
            layout->offset = (int64_t)offset;
    } else if (kind == H5D_CHUNKED && status == ORTH_OK) {
        status = read_chunks(dataset, creation);
    }
    H5Pclose(creation);
    H5Eclear2(H5E_DEFAULT);
    return status;
}

orth_status orth_h5_read_layout(orth_h5_dataset *dataset)
{
    ORTH_TRY(read_extents(dataset));
    ORTH_TRY(read_type(dataset));
    return read_storage(dataset);
}

orth_status orth_h5_check_length(const orth_h5_dataset *dataset)
{
    const orth_h5_layout *layout = &dataset->layout;
    hsize_t size = 0;
    if (layout->offset < 0 || H5Fget_filesize(dataset->file->id, &size) < 0)
        return ORTH_OK;
    __int128 end =
        layout->offset + (__int128)layout->extent[0] * layout->extent[1] * layout->element_size;
    if (layout->rank > ORTH_H5_MAX_RANK || end <= (__int128)size)
        return ORTH_OK;
    return orth_fail(dataset->file->fault,
                     "%s: dataset '%s' reaches beyond the end of the file: it is cut off or "
                     "damaged; copy it again",
                     dataset->file->path, dataset->name);
}
