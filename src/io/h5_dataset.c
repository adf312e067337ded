#include "h5_internal.h"

#include <orthant/base/fault.h>
#include <orthant/base/memory.h>
#include <orthant/par/agree.h>
#include <orthant/par/alive.h>

#include <stdlib.h>
#include <string.h>

/* One transfer stays well below what MPI counts in an int. */
enum { PIECE_BYTES = 256 << 20 };

/* HDF5's default chunk cache (1 MiB) would decompress a larger chunk again at every read. */
enum { CACHE_BYTES_LEAST = 16 << 20, CACHE_BYTES_MOST = 256 << 20, CACHE_SLOTS = 4099 };

static orth_status new_dataset(orth_h5_file *file, const char *name, orth_h5_dataset **out)
{
    size_t length = strlen(name) + 1;
    orth_h5_dataset *dataset = orth_malloc(sizeof *dataset + length);
    if (!dataset)
        return orth_fail(ORTH_ERR_ENVIRONMENT,
                         "out of memory opening dataset '%s' of %s; "
                         "use fewer ranks a node",
                         name, file->path);
    *dataset = (orth_h5_dataset){.file = file, .id = H5I_INVALID_HID, .transfer = H5I_INVALID_HID};
    memcpy(dataset->name, name, length);
    dataset->transfer = H5Pcreate(H5P_DATASET_XFER);
    if (dataset->transfer < 0 || H5Pset_dxpl_mpio(dataset->transfer, H5FD_MPIO_INDEPENDENT) < 0) {
        orth_status status = orth_h5_fail(file, "cannot set up transfers of dataset", name);
        orth_h5_dataset_close(dataset);
        return status;
    }
    *out = dataset;
    return ORTH_OK;
}

void orth_h5_dataset_close(orth_h5_dataset *dataset)
{
    if (!dataset)
        return;
    if (dataset->transfer >= 0)
        H5Pclose(dataset->transfer);
    if (dataset->id >= 0)
        H5Dclose(dataset->id);
    H5Eclear2(H5E_DEFAULT);
    free(dataset);
}

const orth_h5_layout *orth_h5_dataset_layout(const orth_h5_dataset *dataset)
{
    return &dataset->layout;
}

/* ---- creating ---- */

static hid_t disk_type(orth_h5_type type)
{
    switch (type) {
    case ORTH_H5_BFLOAT16:
        return H5Tcopy(H5T_NATIVE_UINT16);
    case ORTH_H5_FLOAT16: {
        /* The IEEE half as h5py writes it: fields first, then the size that they fit in. */
        hid_t half = H5Tcopy(H5T_IEEE_F32LE);
        if (half >= 0 && (H5Tset_fields(half, 15, 10, 5, 0, 10) < 0 || H5Tset_size(half, 2) < 0 ||
                          H5Tset_ebias(half, 15) < 0)) {
            H5Tclose(half);
            return H5I_INVALID_HID;
        }
        return half;
    }
    default:
        return H5Tcopy(orth_h5_memory_type(type));
    }
}

static hid_t make_creation(int64_t chunk)
{
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    if (creation < 0)
        return creation;
    hsize_t size = (hsize_t)chunk;
    bool good = H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER) >= 0 &&
                H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY) >= 0 &&
                (chunk == 0 ? H5Pset_layout(creation, H5D_CONTIGUOUS)
                            : H5Pset_chunk(creation, 1, &size)) >= 0;
    if (good)
        return creation;
    H5Pclose(creation);
    return H5I_INVALID_HID;
}

static orth_status create_dataset(orth_h5_file *file, const char *name, orth_h5_type type, int rank,
                                  const int64_t *extent, int64_t chunk, orth_h5_dataset **out)
{
    orth_h5_dataset *dataset = NULL;
    hsize_t now[ORTH_H5_MAX_RANK], most = H5S_UNLIMITED;
    for (int i = 0; i < rank; i++)
        now[i] = (hsize_t)extent[i];
    orth_status status = new_dataset(file, name, &dataset);
    hid_t on_disk = disk_type(type), space = H5Screate_simple(rank, now, chunk ? &most : NULL);
    hid_t creation = make_creation(chunk), link = H5Pcreate(H5P_LINK_CREATE);
    if (status == ORTH_OK && (on_disk < 0 || space < 0 || creation < 0 || link < 0 ||
                              H5Pset_create_intermediate_group(link, 1) < 0))
        status = orth_h5_fail(file, "cannot prepare dataset", name);
    status = orth_agree(file->comm, status);
    if (status == ORTH_OK) {
        dataset->id = H5Dcreate2(file->id, name, on_disk, space, link, creation, H5P_DEFAULT);
        if (dataset->id < 0 || orth_h5_fault("h5.dataset"))
            status = orth_h5_fail(file, "cannot create dataset", name);
        status = orth_agree(file->comm, status);
    }
    hid_t handles[] = {on_disk, space};
    for (int i = 0; i < 2; i++)
        if (handles[i] >= 0)
            (void)(i == 0 ? H5Tclose(handles[i]) : H5Sclose(handles[i]));
    if (creation >= 0)
        H5Pclose(creation);
    if (link >= 0)
        H5Pclose(link);
    if (status == ORTH_OK && type == ORTH_H5_BFLOAT16)
        status = orth_h5_attribute_write_text(file, name, "dtype", "bfloat16");
    if (status == ORTH_OK)
        status = orth_agree(file->comm, orth_h5_read_layout(dataset));
    if (status != ORTH_OK) {
        orth_h5_dataset_close(dataset);
        return status;
    }
    *out = dataset;
    return ORTH_OK;
}

orth_status orth_h5_dataset_create(orth_h5_file *file, const char *name, orth_h5_type type,
                                   int rank, const int64_t *extent, orth_h5_dataset **out)
{
    return create_dataset(file, name, type, rank, extent, 0, out);
}

orth_status orth_h5_dataset_create_growing(orth_h5_file *file, const char *name, orth_h5_type type,
                                           int64_t chunk, orth_h5_dataset **out)
{
    int64_t length = 0;
    return create_dataset(file, name, type, 1, &length, chunk, out);
}

orth_status orth_h5_dataset_resize(orth_h5_dataset *dataset, int64_t length)
{
    hsize_t extent = (hsize_t)length;
    orth_status status = ORTH_OK;
    if (H5Dset_extent(dataset->id, &extent) < 0)
        status = orth_h5_fail(dataset->file, "cannot resize dataset", dataset->name);
    else
        dataset->layout.extent[0] = length;
    return orth_agree(dataset->file->comm, status);
}

/* ---- opening ---- */

static orth_status fail_absent(orth_h5_file *file, const char *name)
{
    char group[256], names[1024];
    bool link = H5Lexists(file->id, name, H5P_DEFAULT) > 0;
    H5Eclear2(H5E_DEFAULT);
    if (link)
        return orth_agree(file->comm,
                          orth_fail(file->fault,
                                    "%s: '%s' is a link that leads to nothing in this file; name "
                                    "the file that holds the values",
                                    file->path, name));
    const char *slash = strrchr(name, '/');
    snprintf(group, sizeof group, "/%.*s", slash ? (int)(slash - name) : 0, name);
    bool exists = false;
    ORTH_TRY(orth_h5_exists(file, group, &exists));
    if (!exists)
        snprintf(group, sizeof group, "/");
    ORTH_TRY(orth_h5_names(file, group, names, sizeof names));
    return orth_agree(file->comm, orth_fail(file->fault, "%s: no dataset '%s'; what is in %s: %s",
                                            file->path, name, group, names[0] ? names : "nothing"));
}

/* The dataset access list: a chunk cache that holds a whole chunk at least. */
static hid_t reopen_cached(orth_h5_dataset *dataset, hid_t access)
{
    int64_t bytes = dataset->layout.chunk_bytes;
    if (bytes < CACHE_BYTES_LEAST)
        bytes = CACHE_BYTES_LEAST;
    if (bytes > CACHE_BYTES_MOST)
        bytes = CACHE_BYTES_MOST;
    if (H5Pset_chunk_cache(access, CACHE_SLOTS, (size_t)bytes, 1.0) < 0)
        return H5I_INVALID_HID;
    H5Dclose(dataset->id);
    return H5Dopen2(dataset->file->id, dataset->name, access);
}

static orth_status open_dataset(orth_h5_dataset *dataset)
{
    orth_h5_file *file = dataset->file;
    orth_status status = ORTH_OK;
    dataset->id = H5Dopen2(file->id, dataset->name, H5P_DEFAULT);
    if (dataset->id < 0 || orth_h5_fault("h5.dataset"))
        status = orth_h5_fail(file, "cannot open dataset", dataset->name);
    ORTH_TRY(orth_agree(file->comm, status));
    status = orth_h5_read_layout(dataset);
    if (status == ORTH_OK)
        status = orth_h5_check_length(dataset);
    ORTH_TRY(orth_agree(file->comm, status));
    if (dataset->layout.chunk_rows == 0)
        return ORTH_OK;
    hid_t access = H5Pcreate(H5P_DATASET_ACCESS);
    dataset->id = access < 0 ? H5I_INVALID_HID : reopen_cached(dataset, access);
    if (dataset->id < 0)
        status = orth_h5_fail(file, "cannot open dataset", dataset->name);
    if (access >= 0)
        H5Pclose(access);
    return orth_agree(file->comm, status);
}

orth_status orth_h5_dataset_open(orth_h5_file *file, const char *name, orth_h5_dataset **out)
{
    bool exists = false;
    ORTH_TRY(orth_h5_exists(file, name, &exists));
    if (!exists)
        return fail_absent(file, name);
    orth_h5_dataset *dataset = NULL;
    orth_status status = orth_agree(file->comm, new_dataset(file, name, &dataset));
    if (status == ORTH_OK)
        status = open_dataset(dataset);
    if (status != ORTH_OK) {
        orth_h5_dataset_close(dataset);
        return status;
    }
    *out = dataset;
    return ORTH_OK;
}

/* ---- rows ---- */

static orth_status check_rows(const orth_h5_dataset *dataset, int64_t begin, int64_t end)
{
    const orth_h5_layout *layout = &dataset->layout;
    if (layout->rank != 1 && layout->rank != 2)
        return orth_fail(dataset->file->fault,
                         "%s: dataset '%s' has %d dimensions, expected 1 or 2; check the file",
                         dataset->file->path, dataset->name, layout->rank);
    if (begin < 0 || begin > end || end > layout->extent[0])
        return orth_fail(dataset->file->fault,
                         "%s: dataset '%s' has %lld rows, %lld to %lld are needed; check the file",
                         dataset->file->path, dataset->name, (long long)layout->extent[0],
                         (long long)begin, (long long)end);
    return ORTH_OK;
}

static orth_status fail_piece(const orth_h5_dataset *dataset, int64_t begin, int64_t end,
                              bool reading)
{
    char what[96];
    snprintf(what, sizeof what, "cannot %s rows %lld to %lld of dataset",
             reading ? "read" : "write", (long long)begin, (long long)end - 1);
    return orth_h5_fail(dataset->file, what, dataset->name);
}

static herr_t read_selected(orth_h5_dataset *dataset, hid_t type, hid_t in_memory, hid_t on_disk,
                            void *into)
{
    orth_fault_effect fault = orth_h5_fault("h5.read");
    if (fault == ORTH_FAULT_ERROR)
        return -1;
    herr_t result = H5Dread(dataset->id, type, in_memory, on_disk, dataset->transfer, into);
    if (fault == ORTH_FAULT_FLIP)
        *(unsigned char *)into ^= 1;
    return result;
}

/* What a disk that errs makes of it: one bit is turned over, or zeros where the second half was to
 * come. */
static herr_t write_wrongly(orth_h5_dataset *dataset, hid_t type, hid_t in_memory, hid_t on_disk,
                            const void *from, orth_fault_effect fault)
{
    size_t bytes = (size_t)H5Sget_select_npoints(in_memory) * H5Tget_size(type);
    unsigned char *copy = malloc(bytes);
    if (!copy)
        return -1;
    memcpy(copy, from, bytes);
    if (fault == ORTH_FAULT_FLIP)
        copy[bytes / 2] ^= 1;
    else
        memset(copy + bytes / 2, 0, bytes - bytes / 2);
    herr_t result = H5Dwrite(dataset->id, type, in_memory, on_disk, dataset->transfer, copy);
    free(copy);
    return result;
}

static herr_t write_selected(orth_h5_dataset *dataset, hid_t type, hid_t in_memory, hid_t on_disk,
                             const void *from)
{
    orth_fault_effect fault = orth_h5_fault("h5.write");
    if (fault == ORTH_FAULT_ERROR)
        return -1;
    if (fault != ORTH_FAULT_NONE)
        return write_wrongly(dataset, type, in_memory, on_disk, from, fault);
    return H5Dwrite(dataset->id, type, in_memory, on_disk, dataset->transfer, from);
}

static orth_status move_piece(orth_h5_dataset *dataset, int64_t begin, int64_t end, hid_t type,
                              void *into, const void *from)
{
    hsize_t start[2] = {(hsize_t)begin, 0};
    hsize_t count[2] = {(hsize_t)(end - begin), (hsize_t)dataset->layout.extent[1]};
    hid_t on_disk = H5Dget_space(dataset->id);
    hid_t in_memory = H5Screate_simple(dataset->layout.rank, count, NULL);
    herr_t result = -1;
    if (on_disk >= 0 && in_memory >= 0 &&
        H5Sselect_hyperslab(on_disk, H5S_SELECT_SET, start, NULL, count, NULL) >= 0)
        result = into ? read_selected(dataset, type, in_memory, on_disk, into)
                      : write_selected(dataset, type, in_memory, on_disk, from);
    /* Words first: the next call of HDF5 that succeeds clears its error stack. */
    orth_status status = result < 0 ? fail_piece(dataset, begin, end, into != NULL) : ORTH_OK;
    orth_alive();
    if (on_disk >= 0)
        H5Sclose(on_disk);
    if (in_memory >= 0)
        H5Sclose(in_memory);
    return status;
}

static orth_status move_rows(orth_h5_dataset *dataset, int64_t begin, int64_t end, hid_t type,
                             int64_t element, char *into, const char *from)
{
    ORTH_TRY(check_rows(dataset, begin, end));
    int64_t row = dataset->layout.extent[1] * element;
    if (begin == end || row == 0)
        return ORTH_OK;
    int64_t step = PIECE_BYTES / row + 1;
    for (int64_t at = begin; at < end; at += step) {
        int64_t to = at + step < end ? at + step : end, skip = (at - begin) * row;
        ORTH_TRY(move_piece(dataset, at, to, type, into ? into + skip : NULL,
                            from ? from + skip : NULL));
    }
    return ORTH_OK;
}

static orth_status move_typed(orth_h5_dataset *dataset, int64_t begin, int64_t end,
                              orth_h5_type type, void *into, const void *from)
{
    hid_t in_memory = orth_h5_memory_type(type);
    if (in_memory < 0)
        return orth_fail(ORTH_ERR_INTERNAL,
                         "dataset '%s': type %d has no form in memory; report it", dataset->name,
                         (int)type);
    return move_rows(dataset, begin, end, in_memory, orth_h5_memory_size(type), into, from);
}

static orth_status move_raw(orth_h5_dataset *dataset, int64_t begin, int64_t end, void *into,
                            const void *from)
{
    hid_t type = H5Dget_type(dataset->id);
    if (type < 0)
        return orth_h5_fail(dataset->file, "cannot read the type of dataset", dataset->name);
    orth_status status =
        move_rows(dataset, begin, end, type, dataset->layout.element_size, into, from);
    H5Tclose(type);
    return status;
}

orth_status orth_h5_read(orth_h5_dataset *dataset, int64_t begin, int64_t end, orth_h5_type type,
                         void *out)
{
    return move_typed(dataset, begin, end, type, out, NULL);
}

orth_status orth_h5_write(orth_h5_dataset *dataset, int64_t begin, int64_t end, orth_h5_type type,
                          const void *data)
{
    return move_typed(dataset, begin, end, type, NULL, data);
}

orth_status orth_h5_read_raw(orth_h5_dataset *dataset, int64_t begin, int64_t end, void *out)
{
    return move_raw(dataset, begin, end, out, NULL);
}

orth_status orth_h5_write_raw(orth_h5_dataset *dataset, int64_t begin, int64_t end,
                              const void *data)
{
    return move_raw(dataset, begin, end, NULL, data);
}
