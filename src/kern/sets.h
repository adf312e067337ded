#ifndef ORTHANT_SRC_KERN_SETS_H
#define ORTHANT_SRC_KERN_SETS_H

#include <orthant/kern/table.h>

extern const orth_kernels orth_kernels_reference;
extern const orth_passes orth_passes_reference;
#ifdef ORTH_HAVE_X86_KERNELS
extern const orth_kernels orth_kernels_avx2;
extern const orth_kernels orth_kernels_avx512;
extern const orth_passes orth_passes_avx2;
extern const orth_passes orth_passes_avx512;

void orth_adam_avx2(int64_t n, const float *g, float scale, const orth_adam *adam, float *w,
                    float *m, float *v);
void orth_adam_avx512(int64_t n, const float *g, float scale, const orth_adam *adam, float *w,
                      float *m, float *v);
#endif

#endif
