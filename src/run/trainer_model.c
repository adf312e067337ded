/* What a start, a resume and a plan share: the sizes, the length of the run, the model, and what a
 * checkpoint says of the program. */
#include "trainer_parts.h"

#include <orthant/kern/library.h>
#include <orthant/kern/table.h>
#include <orthant/kern/threads.h>
#include <orthant/par/agree.h>

#include <limits.h>
#include <stdio.h>
#include <string.h>

orth_status orth_trainer_check_sizes(const orth_recipe *recipe, int64_t d_model)
{
    if (!orth_selection_trains(recipe->selection))
        return orth_fail(ORTH_ERR_USAGE,
                         "model.selection: %s cannot be trained, its thresholds only come with an "
                         "imported model; train topk, topafa or batchtopk, from such a model's "
                         "weights by init.scheme: file and init.file",
                         orth_selection_names[recipe->selection]);
    if (recipe->k > recipe->n_latent && orth_selection_uses_k(recipe->selection))
        return orth_fail(ORTH_ERR_USAGE, "model.k: %lld is more than the %lld latents; lower it",
                         (long long)recipe->k, (long long)recipe->n_latent);
    if (recipe->selection == ORTH_SELECT_TOPAFA && recipe->n_latent > INT64_C(1) << 24)
        return orth_fail(ORTH_ERR_USAGE,
                         "model.n_latent: %lld is out of range: topafa allows at most 2^24; give a "
                         "smaller dictionary",
                         (long long)recipe->n_latent);
    if (recipe->n_latent >= UINT32_MAX || d_model > INT_MAX / 2 || recipe->batch > INT_MAX)
        return orth_fail(ORTH_ERR_USAGE,
                         "model.n_latent, d_model or train.batch: %lld, %lld, %lld are too large; "
                         "at most 2^32 - 2, 2^30, 2^31 - 1",
                         (long long)recipe->n_latent, (long long)d_model, (long long)recipe->batch);
    return ORTH_OK;
}

orth_status orth_trainer_steps(const orth_config *config, int64_t rows, int64_t batch,
                               int64_t *steps)
{
    int64_t tokens = config->run_tokens;
    *steps = config->run_steps;
    if (*steps > 0)
        return ORTH_OK;
    if (tokens == 0 && __builtin_mul_overflow(config->run_epochs, rows, &tokens))
        return orth_fail(ORTH_ERR_USAGE,
                         "run.epochs: %lld epochs of %lld tokens are more than 64 bits count; give "
                         "fewer",
                         (long long)config->run_epochs, (long long)rows);
    *steps = tokens / batch + (tokens % batch != 0);
    return ORTH_OK;
}

orth_status orth_trainer_create_model(orth_trainer *t)
{
    int64_t d = orth_dataset_width(t->dataset);
    orth_status status = orth_sae_create(&t->grid, &t->config.recipe, d, true, &t->sae);
    t->sae.encode = t->config.compute_encode;
    if (status == ORTH_OK)
        status = orth_trainer_check_sizes(&t->sae.recipe, d);
    return orth_agree(t->grid.world, status);
}

void orth_trainer_describe(const orth_trainer *t, orth_checkpoint_info *info)
{
    char mpi[MPI_MAX_LIBRARY_VERSION_STRING] = "", blas[160] = "";
    int length = 0;
    MPI_Get_library_version(mpi, &length);
    mpi[strcspn(mpi, ",\n")] = '\0';
    orth_blas_library(blas, sizeof blas);
    *info = (orth_checkpoint_info){.tokens_seen = t->tokens_seen,
                                   .cursor = t->cursor,
                                   .data = t->fingerprint,
                                   .skipped = t->skipped,
                                   .n_skipped = t->n_skipped,
                                   .threads = orth_threads_count(),
                                   .config = t->config_text};
    snprintf(info->program_version, sizeof info->program_version, "%s", ORTH_VERSION);
    snprintf(info->isa, sizeof info->isa, "%s", orth_kernels_get()->name);
    snprintf(info->libraries, sizeof info->libraries, "%.90s; %s", mpi, blas);
}
