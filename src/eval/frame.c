#include "frame.h"

#include <orthant/base/finite.h>
#include <orthant/base/memory.h>
#include <orthant/par/agree.h>

const float *orth_frame_rows(const orth_sae *sae, int64_t *n_row)
{
    *n_row = orth_range_size(sae->part);
    return sae->weights.W_dec + (sae->part.begin - sae->own.begin) * sae->d_model;
}

orth_status orth_frame_check(const orth_sae *sae, bool encoder)
{
    int64_t d = sae->d_model;
    orth_status status = ORTH_OK;
    for (int64_t i = sae->part.begin; status == ORTH_OK && i < sae->part.end; i++) {
        int64_t row = (i - sae->own.begin) * d;
        if (!orth_all_finite(sae->weights.W_dec + row, d) ||
            (encoder && !orth_all_finite(sae->weights.W_enc + row, d)))
            status = orth_fail(ORTH_ERR_CORRUPT,
                               "model: latent %lld has weights that are NaN or infinite; use an "
                               "earlier checkpoint",
                               (long long)i);
    }
    return orth_agree(sae->grid->world, status);
}

orth_status orth_frame_create(const orth_sae *sae, const orth_block_grid *grid,
                              const double *factor, orth_outer_sum *out)
{
    int64_t n_row;
    const float *rows = orth_frame_rows(sae, &n_row);
    ORTH_TRY(orth_outer_sum_create(grid, out));
    orth_status status = orth_outer_sum_add(out, rows, n_row, NULL, factor);
    orth_outer_sum_end_panels(out);
    if (status != ORTH_OK)
        orth_outer_sum_free(out);
    return status;
}

orth_status orth_spectrum_of(orth_outer_sum *sum, double *vectors, orth_spectrum *out)
{
    const orth_block_grid *grid = sum->grid;
    orth_spectrum spectrum = {.d = grid->n};
    double *own = NULL;
    orth_status status = ORTH_ALLOCATE(grid->n, "eigenvalues", &spectrum.eigenvalues);
    if (status == ORTH_OK && !vectors)
        status = ORTH_ALLOCATE(orth_block_share(grid), "eigenvectors", &own);
    status = orth_agree(grid->comm, status);
    if (status == ORTH_OK)
        status = orth_block_eigen(grid, sum->share, spectrum.eigenvalues, vectors ? vectors : own);
    orth_free(own);
    if (status != ORTH_OK) {
        orth_spectrum_free(&spectrum);
        return status;
    }
    for (int64_t i = 0, j = grid->n - 1; i < j; i++, j--) {
        double value = spectrum.eigenvalues[i];
        spectrum.eigenvalues[i] = spectrum.eigenvalues[j];
        spectrum.eigenvalues[j] = value;
    }
    orth_spectrum_summarise(&spectrum);
    *out = spectrum;
    return ORTH_OK;
}

orth_status orth_frame_spectrum(const orth_sae *sae, orth_spectrum *out)
{
    orth_block_grid grid = {0};
    orth_outer_sum sum = {0};
    ORTH_TRY(orth_frame_check(sae, false));
    ORTH_TRY(orth_block_grid_create(sae->d_model, sae->grid->world, &grid));
    orth_status status = orth_frame_create(sae, &grid, NULL, &sum);
    if (status == ORTH_OK)
        status = orth_spectrum_of(&sum, NULL, out);
    orth_outer_sum_free(&sum);
    orth_block_grid_free(&grid);
    return status;
}
