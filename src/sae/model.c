#include <orthant/sae/model.h>

#include <orthant/base/memory.h>

#include <stddef.h>
#include <string.h>

static void params_free(orth_params *params)
{
    orth_free(params->W_enc);
    orth_free(params->W_dec);
    orth_free(params->b_enc);
    orth_free(params->b_dec);
}

/* `rows` of the matrices, of n_own latents. */
static orth_status params_create(int64_t rows, int64_t n_own, int64_t d_model, const char *what,
                                 orth_params *out)
{
    int64_t entries;
    if (__builtin_mul_overflow(rows, d_model, &entries))
        return orth_fail(ORTH_ERR_ENVIRONMENT,
                         "%s: %lld x %lld entries cannot be addressed; use more ranks or smaller "
                         "sizes",
                         what, (long long)rows, (long long)d_model);
    ORTH_TRY(ORTH_ALLOCATE(entries, what, &out->W_enc));
    ORTH_TRY(ORTH_ALLOCATE(entries, what, &out->W_dec));
    ORTH_TRY(ORTH_ALLOCATE(n_own, what, &out->b_enc));
    return ORTH_ALLOCATE(d_model, what, &out->b_dec);
}

static orth_status arrays_create(orth_sae *sae, bool trainable)
{
    int64_t n_own = orth_range_size(sae->own), part = orth_range_size(sae->part);
    int64_t d = sae->d_model;
    ORTH_TRY(params_create(n_own, n_own, d, "weights", &sae->weights));
    if (sae->recipe.selection == ORTH_SELECT_JUMPRELU)
        ORTH_TRY(ORTH_ALLOCATE(n_own, "thresholds", &sae->threshold));
    if (!trainable)
        return ORTH_OK;
    ORTH_TRY(params_create(part, n_own, d, "first moments", &sae->moment1));
    ORTH_TRY(params_create(part, n_own, d, "second moments", &sae->moment2));
    if (sae->recipe.ema > 0)
        ORTH_TRY(params_create(part, n_own, d, "averaged weights", &sae->average));
    return ORTH_ALLOCATE(n_own, "counters of dead latents", &sae->steps_since_fired);
}

orth_status orth_sae_create(const orth_grid *grid, const orth_recipe *recipe, int64_t d_model,
                            bool trainable, orth_sae *out)
{
    orth_sae sae = {
        .grid = grid, .recipe = *recipe, .d_model = d_model, .mse_scale = 1.0, .input_scale = 1.0};
    if (sae.recipe.n_latent == 0)
        sae.recipe.n_latent = 16 * d_model;
    if (sae.recipe.aux_k == 0)
        sae.recipe.aux_k = d_model > 1 ? d_model / 2 : 1;
    sae.own = orth_grid_latents(grid, sae.recipe.n_latent);
    sae.part = orth_grid_part(grid, sae.recipe.n_latent);
    orth_status status = arrays_create(&sae, trainable);
    if (status == ORTH_OK)
        *out = sae;
    else
        orth_sae_free(&sae);
    return status;
}

void orth_sae_free(orth_sae *sae)
{
    params_free(&sae->weights);
    params_free(&sae->moment1);
    params_free(&sae->moment2);
    params_free(&sae->average);
    orth_free(sae->threshold);
    orth_free(sae->steps_since_fired);
    memset(sae, 0, sizeof *sae);
}
