#include <orthant/kern/library.h>

#include <stdio.h>

#ifdef ORTH_HAVE_OPENBLAS
#include <cblas.h>

void orth_blas_library(char *out, size_t room)
{
    static const char *const kinds[] = {"one thread", "pthread", "OpenMP"};
    int kind = openblas_get_parallel();
    snprintf(out, room, "%s, kernels %s, threads: %s", openblas_get_config(),
             openblas_get_corename(), kind >= 0 && kind <= 2 ? kinds[kind] : "unknown");
}
#elif defined(ORTH_HAVE_BLAS)
void orth_blas_library(char *out, size_t room)
{
    snprintf(out, room, "a library that does not name itself");
}
#else
void orth_blas_library(char *out, size_t room)
{
    snprintf(out, room, "none");
}
#endif
