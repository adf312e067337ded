#ifndef ORTHANT_SRC_KERN_SETS_H
#define ORTHANT_SRC_KERN_SETS_H

#include <orthant/kern/table.h>

extern const orth_kernels orth_kernels_reference;
extern const orth_afa_kernels orth_afa_reference;
#ifdef ORTH_HAVE_X86_KERNELS
extern const orth_kernels orth_kernels_avx2;
extern const orth_kernels orth_kernels_avx512;

extern const orth_afa_kernels orth_afa_avx2;
extern const orth_afa_kernels orth_afa_avx512;
#endif

#endif
