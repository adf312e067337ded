#ifndef ORTHANT_SRC_EVAL_SCALAPACK_H
#define ORTHANT_SRC_EVAL_SCALAPACK_H

#include <mpi.h>
#include <stddef.h>

/* What is called of ScaLAPACK and its BLACS, which come without C headers. Integers are Fortran's
 * default ones; a Fortran character argument has its length, 1, behind all other arguments. */

enum { DESC_LENGTH = 9 };

int Csys2blacs_handle(MPI_Comm comm);
void Cfree_blacs_system_handle(int handle);
void Cblacs_gridmap(int *context, int *ranks, int leading, int rows, int columns);
void Cblacs_gridinfo(int context, int *rows, int *columns, int *row, int *column);
void Cblacs_gridexit(int context);

void descinit_(int *desc, const int *m, const int *n, const int *mb, const int *nb, const int *rsrc,
               const int *csrc, const int *context, const int *leading, int *info);

void pdsyevd_(const char *jobz, const char *uplo, const int *n, double *a, const int *ia,
              const int *ja, const int *desca, double *w, double *z, const int *iz, const int *jz,
              const int *descz, double *work, const int *lwork, int *iwork, const int *liwork,
              int *info, size_t length_jobz, size_t length_uplo);

void pdsymm_(const char *side, const char *uplo, const int *m, const int *n, const double *alpha,
             const double *a, const int *ia, const int *ja, const int *desca, const double *b,
             const int *ib, const int *jb, const int *descb, const double *beta, double *c,
             const int *ic, const int *jc, const int *descc, size_t length_side,
             size_t length_uplo);

#endif
