/* The reference set: what each kernel means, in portable C. */
#include "../keys_plain.h"
#include "../rows.h"
#include "../screen_int8_rows.h"
#include "../screen_rows.h"
#include "../sets.h"
#include "../sparse_rows.h"

enum { TOKENS = 4, LATENTS = 8 };

static void chain(int64_t d, const float *x, const float *w, const float *bias, float *out,
                  int64_t stride)
{
    for (int t = 0; t < TOKENS; t++)
        for (int i = 0; i < LATENTS; i++) {
            float sum = 0.0f;
            for (int64_t j = 0; j < d; j++)
                sum = fmaf(x[j * TOKENS + t], w[j * LATENTS + i], sum);
            out[t * stride + i] = sum + bias[i];
        }
}

static int64_t keep(const float *row, int64_t n, float above, uint32_t first, uint64_t *keys)
{
    return rows_keep(row, 0, n, above, first, keys);
}

static float raise_cut(int64_t k, float cut, orth_screened *screened)
{
    cut = screen_cut(screened, k, cut);
    screen_filter(screened, cut);
    return cut;
}

static const orth_sparse sparse = ORTH_SPARSE_PORTABLE;
static const orth_screen screen_bf16 = ORTH_SCREEN_BF16_PORTABLE;
static const orth_screen screen_int8 = ORTH_SCREEN_INT8_PORTABLE;

static const orth_key_kernels keys = ORTH_KEYS_PLAIN;

const orth_kernels orth_kernels_reference = {.name = "reference",
                                             .panel_tokens = TOKENS,
                                             .panel_latents = LATENTS,
                                             .pack = rows_pack,
                                             .chain = chain,
                                             .keep = keep,
                                             .keys = &keys,
                                             .sparse = &sparse,
                                             .adam = rows_adam,
                                             .passes = &orth_passes_reference,
                                             .afa = &orth_afa_reference,
                                             .chain_rows = screen_chain_rows,
                                             .screen_bf16 = &screen_bf16,
                                             .screen_int8 = &screen_int8,
                                             .screen_keep = screen_keep,
                                             .screen_raise = raise_cut};
