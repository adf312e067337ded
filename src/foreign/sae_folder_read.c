/* The weights of a folder, in the shards of a model, with everything folded in that Orthant does
 * not know as a thing of its own. */
#include "sae_folder_parts.h"

#include <orthant/base/finite.h>
#include <orthant/base/memory.h>
#include <orthant/par/agree.h>
#include <orthant/par/alive.h>

#include <math.h>
#include <string.h>

/* Rows of a matrix whose file has one latent in each row. */
static orth_status read_rows(orth_tensor_file *file, const orth_tensor_entry *entry, orth_range own,
                             int64_t d, float *out)
{
    for (int64_t i = own.begin; i < own.end; i += SAE_SLAB_LATENTS) {
        int64_t end = i + SAE_SLAB_LATENTS < own.end ? i + SAE_SLAB_LATENTS : own.end;
        ORTH_TRY(orth_tensor_read_f32(file, entry, i * d, end * d, out + (i - own.begin) * d));
        orth_alive();
    }
    return ORTH_OK;
}

/* The same where it has one latent in each column: pieces of some rows at a time are turned. */
static orth_status read_columns(orth_tensor_file *file, const orth_tensor_entry *entry,
                                orth_range own, int64_t d, float *piece, float *out)
{
    int64_t n = entry->shape[1];
    for (int64_t i = own.begin; i < own.end; i += SAE_SLAB_LATENTS) {
        int64_t width = i + SAE_SLAB_LATENTS < own.end ? SAE_SLAB_LATENTS : own.end - i;
        for (int64_t j = 0; j < d; j += SAE_SLAB_ROWS) {
            int64_t rows = j + SAE_SLAB_ROWS < d ? SAE_SLAB_ROWS : d - j;
            for (int64_t r = 0; r < rows; r++)
                ORTH_TRY(orth_tensor_read_f32(file, entry, (j + r) * n + i, (j + r) * n + i + width,
                                              piece + r * width));
            for (int64_t c = 0; c < width; c++)
                for (int64_t r = 0; r < rows; r++)
                    out[(i - own.begin + c) * d + j + r] = piece[r * width + c];
        }
        orth_alive();
    }
    return ORTH_OK;
}

static orth_status check_finite(const sae_source *source, const orth_tensor_entry *entry,
                                const float *values, int64_t count)
{
    if (orth_all_finite(values, count))
        return ORTH_OK;
    return orth_fail(ORTH_ERR_CORRUPT, "%s: the tensor '%s' holds NaN or Inf; get the file again",
                     orth_tensor_file_path(source->tensors), entry->name);
}

static orth_status read_matrix(const sae_source *source, sae_part part, const orth_sae *sae,
                               float *piece, float *out)
{
    const sae_tensor *tensor = source->parts + part;
    int64_t d = sae->d_model;
    if (tensor->transposed)
        ORTH_TRY(read_columns(source->tensors, tensor->entry, sae->own, d, piece, out));
    else
        ORTH_TRY(read_rows(source->tensors, tensor->entry, sae->own, d, out));
    return check_finite(source, tensor->entry, out, orth_range_size(sae->own) * d);
}

static orth_status read_vector(const sae_source *source, sae_part part, orth_range elements,
                               float *out)
{
    const orth_tensor_entry *entry = source->parts[part].entry;
    int64_t count = orth_range_size(elements);
    if (!entry) {
        memset(out, 0, (size_t)count * sizeof *out);
        return ORTH_OK;
    }
    if (entry->count == 1 && count > 0) {
        ORTH_TRY(orth_tensor_read_f32(source->tensors, entry, 0, 1, out));
        for (int64_t i = 1; i < count; i++)
            out[i] = out[0];
    } else {
        ORTH_TRY(orth_tensor_read_f32(source->tensors, entry, elements.begin, elements.end, out));
    }
    return check_finite(source, entry, out, count);
}

static orth_status read_parts(const sae_source *source, orth_sae *sae, float *piece)
{
    orth_params *w = &sae->weights;
    ORTH_TRY(read_matrix(source, SAE_W_ENC, sae, piece, w->W_enc));
    ORTH_TRY(read_matrix(source, SAE_W_DEC, sae, piece, w->W_dec));
    ORTH_TRY(read_vector(source, SAE_B_ENC, sae->own, w->b_enc));
    ORTH_TRY(read_vector(source, SAE_B_DEC, (orth_range){0, sae->d_model}, w->b_dec));
    if (!sae->threshold)
        return ORTH_OK;
    ORTH_TRY(read_vector(source, SAE_THRESHOLD, sae->own, sae->threshold));
    /* What is not positive does not fire anyway. */
    for (int64_t i = 0; i < orth_range_size(sae->own); i++)
        sae->threshold[i] = fmaxf(sae->threshold[i], 0.0f);
    return ORTH_OK;
}

/* W x + b_enc = W (x - b_dec) + (b_enc + W b_dec). */
static void fold_decoder_bias(orth_sae *sae)
{
    const orth_params *w = &sae->weights;
    for (int64_t i = 0; i < orth_range_size(sae->own); i++) {
        double sum = (double)w->b_enc[i];
        for (int64_t j = 0; j < sae->d_model; j++)
            sum += (double)w->W_enc[i * sae->d_model + j] * (double)w->b_dec[j];
        w->b_enc[i] = (float)sum;
    }
}

/* f_i = a_i |W_dec,i| and W_dec,i / |W_dec,i|: the encoder's row takes the norm. */
static void fold_decoder_norms(orth_sae *sae, bool thresholds)
{
    const orth_params *w = &sae->weights;
    int64_t d = sae->d_model;
    for (int64_t i = 0; i < orth_range_size(sae->own); i++) {
        double square = 0.0;
        for (int64_t j = 0; j < d; j++)
            square += (double)w->W_dec[i * d + j] * (double)w->W_dec[i * d + j];
        double norm = sqrt(square), inverse = norm > 0.0 ? 1.0 / norm : 0.0;
        for (int64_t j = 0; j < d; j++) {
            w->W_enc[i * d + j] = (float)((double)w->W_enc[i * d + j] * norm);
            w->W_dec[i * d + j] = (float)((double)w->W_dec[i * d + j] * inverse);
        }
        w->b_enc[i] = (float)((double)w->b_enc[i] * norm);
        if (sae->threshold && thresholds)
            sae->threshold[i] = (float)((double)sae->threshold[i] * norm);
    }
}

static orth_status read_own(orth_sae_folder *folder, orth_sae *sae)
{
    const sae_source *source = &folder->source;
    const orth_sae_description *d = &source->description;
    float *piece = NULL;
    if (d->n_latent != sae->recipe.n_latent || d->d_model != sae->d_model)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%s: %lld latents of %lld values, the model needs %lld of %lld; check "
                         "model.n_latent and d_model",
                         folder->path, (long long)d->n_latent, (long long)d->d_model,
                         (long long)sae->recipe.n_latent, (long long)sae->d_model);
    ORTH_TRY(ORTH_ALLOCATE((int64_t)SAE_SLAB_ROWS * SAE_SLAB_LATENTS, "piece of a tensor", &piece));
    orth_status status = read_parts(source, sae, piece);
    orth_free(piece);
    return status;
}

orth_status orth_sae_folder_read(orth_sae_folder *folder, orth_sae *sae)
{
    ORTH_TRY(orth_agree(sae->grid->world, read_own(folder, sae)));
    if (folder->source.uncentred)
        fold_decoder_bias(sae);
    if (folder->source.normed)
        fold_decoder_norms(sae, !folder->source.judged_normed);
    sae->input_scale = folder->source.description.input_scale;
    return ORTH_OK;
}
