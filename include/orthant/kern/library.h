#ifndef ORTHANT_KERN_LIBRARY_H
#define ORTHANT_KERN_LIBRARY_H

#include <stddef.h>

/** The BLAS library that the program is linked with, as it describes itself. Not collective. */
void orth_blas_library(char *out, size_t room);

#endif
