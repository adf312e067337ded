#ifndef ORTHANT_KERN_LIBRARY_H
#define ORTHANT_KERN_LIBRARY_H

#include <stddef.h>

/** The BLAS library that the program is linked with, as it describes itself. Not collective. */
void orth_blas_library(char *out, size_t room);

/**
 * The kernels ("core type") of an OpenBLAS that has those of many processors. It chooses when it is
 * loaded, from a list that ends with the processors of its day: a newer one with AVX-512 gets AVX2
 * kernels, at half its speed. The environment variable OPENBLAS_CORETYPE overrides that choice.
 */
typedef struct orth_blas_core {
    const char *better; ///< the value to load the library with again; NULL: the one in use is right
    const char *why;    ///< one phrase, about `better` or about the one in use
} orth_blas_core;

/** Whether another core type suits this processor better than the one in use. Not collective. */
orth_blas_core orth_blas_core_check(void);

/** Set beside OPENBLAS_CORETYPE, to the same, when that is the program's doing and not the user's.
 */
#define ORTH_BLAS_CORE_CHOSEN "ORTHANT_BLAS_CORE"

/** "core type Haswell (the library's own choice)": what is in use and why; "" where the library has
 * no such thing. Not collective. */
void orth_blas_core_describe(char *out, size_t room);

#endif
