#ifndef ORTHANT_SRC_IO_H5_INTERNAL_H
#define ORTHANT_SRC_IO_H5_INTERNAL_H

#include <orthant/base/fault.h>
#include <orthant/io/h5.h>

#include <hdf5.h>

/* Private to src/io/h5*.c: what the opaque types hold. */

struct orth_h5_file {
    hid_t id;
    MPI_Comm comm; ///< plain duplicate
    orth_status fault;
    bool independent_metadata;
    char path[];
};

struct orth_h5_dataset {
    orth_h5_file *file;
    hid_t id;
    hid_t transfer; ///< transfer property list: independent
    orth_h5_layout layout;
    char name[];
};

/** A visit of a fault point. An error is put on HDF5's stack, as the reason of the failure. At
 * collective calls the point comes after the call, whose result then counts as a failure: a rank
 * that left the call out would stop the others. */
orth_fault_effect orth_h5_fault(const char *point);

/** Record a failure of HDF5: "<file>: <what>: <innermost text>; <what to do>" with the file's
 * status. `name` may be NULL. Clears HDF5's stack. Returns the status. */
orth_status orth_h5_fail(const orth_h5_file *file, const char *what, const char *name);

/** Fill the layout of an open dataset. Refuses what no file can hold, what lies in other files, and
 * filters that are not there. Local. */
orth_status orth_h5_read_layout(orth_h5_dataset *dataset);

/** That the file is as long as a contiguous dataset asks for. Local. */
orth_status orth_h5_check_length(const orth_h5_dataset *dataset);

/** The in-memory HDF5 type of a type up to ORTH_H5_UINT64, and its size; negative for others. */
hid_t orth_h5_memory_type(orth_h5_type type);
int64_t orth_h5_memory_size(orth_h5_type type);

/** Fill the type part of a layout from an HDF5 type; `marked_bf16`: it has the bfloat16 attribute.
 */
void orth_h5_describe_type(hid_t type, bool marked_bf16, orth_h5_layout *layout);

#endif
