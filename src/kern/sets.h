#ifndef ORTHANT_SRC_KERN_SETS_H
#define ORTHANT_SRC_KERN_SETS_H

#include <orthant/kern/table.h>

extern const orth_kernels orth_kernels_reference;
#ifdef ORTH_HAVE_X86_KERNELS
extern const orth_kernels orth_kernels_avx2;
extern const orth_kernels orth_kernels_avx512;
extern const orth_kernels orth_kernels_avx512bf16; ///< the same with low-precision products

/* src/kern/avx512/screen.c */
void orth_avx512_screen_keep(const float *upper, uint32_t mask, uint32_t first, float alpha,
                             float beta, const orth_screen_latents *latents, orth_screened *out);
float orth_avx512_screen_raise(int64_t k, float cut, orth_screened *screened);
void orth_avx512_chain_rows(int64_t n_entry, const uint32_t *index, const float *rows,
                            const float *bias, const float *x, int64_t d, float *out);

extern const orth_screen orth_screen_bf16_avx512bf16, orth_screen_int8_avx512bf16;
#endif

#endif
