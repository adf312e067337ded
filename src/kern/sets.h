#ifndef ORTHANT_SRC_KERN_SETS_H
#define ORTHANT_SRC_KERN_SETS_H

#include <orthant/kern/table.h>

extern const orth_kernels orth_kernels_reference;
extern const orth_passes orth_passes_reference;
extern const orth_afa_kernels orth_afa_reference;
#ifdef ORTH_HAVE_X86_KERNELS
extern const orth_kernels orth_kernels_avx2;
extern const orth_kernels orth_kernels_avx512;
extern const orth_kernels orth_kernels_avx512bf16; ///< the same with low-precision products

/* One group for each file of src/kern/<set>/. */
extern const orth_passes orth_passes_avx2;
extern const orth_passes orth_passes_avx512;

extern const orth_afa_kernels orth_afa_avx2;
extern const orth_afa_kernels orth_afa_avx512;

extern const orth_sparse orth_sparse_avx2;
extern const orth_sparse orth_sparse_avx512;

extern const orth_key_kernels orth_keys_avx512;

extern const orth_screen orth_screen_bf16_avx512bf16;
extern const orth_screen orth_screen_int8_avx512bf16;

void orth_adam_avx2(int64_t n, const float *g, float scale, const orth_adam *adam, float *w,
                    float *m, float *v);
void orth_adam_avx512(int64_t n, const float *g, float scale, const orth_adam *adam, float *w,
                      float *m, float *v);

void orth_avx512_pack(int64_t count, const float *const *rows, int width, int64_t d, float *panel);

void orth_avx512_screen_keep(const float *upper, uint32_t mask, uint32_t first, float alpha,
                             float beta, const orth_screen_latents *latents, orth_screened *out);
float orth_avx512_screen_raise(int64_t k, float cut, orth_screened *screened);
void orth_avx512_chain_rows(int64_t n_entry, const uint32_t *index, const float *rows,
                            const float *bias, const float *x, int64_t d, float *out);
#endif

#endif
