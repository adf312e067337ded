#ifndef ORTHANT_IO_LIBRARY_H
#define ORTHANT_IO_LIBRARY_H

#include <stddef.h>

/** The version of the HDF5 library in use, as text. Not collective; needs no MPI. */
void orth_h5_library(char *out, size_t room);

#endif
