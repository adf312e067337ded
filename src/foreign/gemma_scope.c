/* Gemma Scope (Lieberum et al. 2024): params.npz with W_enc [d, n], W_dec [n, d], b_enc, b_dec,
 * threshold; JumpReLU of x W_enc + b_enc, the decoder bias is not subtracted from the input. */
#include "sae_format.h"

#include <stdio.h>

static orth_status describe(sae_source *source)
{
    orth_sae_description *d = &source->description;
    snprintf(d->architecture, sizeof d->architecture, "jumprelu");
    d->selection = ORTH_SELECT_JUMPRELU;
    source->uncentred = true;
    ORTH_TRY(sae_want(source, SAE_W_ENC, "W_enc", true, false));
    ORTH_TRY(sae_want(source, SAE_W_DEC, "W_dec", false, false));
    ORTH_TRY(sae_want(source, SAE_B_ENC, "b_enc", false, false));
    ORTH_TRY(sae_want(source, SAE_B_DEC, "b_dec", false, false));
    ORTH_TRY(sae_want(source, SAE_THRESHOLD, "threshold", false, false));
    return sae_check_tensors(source, 0, 0, NULL);
}

const sae_format sae_format_gemma_scope = {
    .name = "gemma_scope", .tensors_name = "params.npz", .suffix = ".npz", .describe = describe};
