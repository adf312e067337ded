#include <orthant/sae/step.h>

#include <orthant/base/memory.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>

#include <string.h>

/* Memory for the candidates of a block, of the model's selection and of AuxK's. */
enum { CANDIDATE_BYTES = 32 << 20, AUX_CANDIDATE_BYTES = 12 << 20 };

/* Entries per token that screening has room for: some times what is selected; more is no screening.
 */
enum { SCREENED_TIMES = 8, SCREENED_LEAST = 512 };

static void describe_selection(const orth_sae *sae, orth_workspace *w)
{
    const orth_recipe *recipe = &sae->recipe;
    orth_selection *selection = &w->selection;
    *selection = (orth_selection){.ops = orth_selection_ops_of(recipe->selection),
                                  .grid = sae->grid,
                                  .block_bytes = CANDIDATE_BYTES,
                                  .own = sae->own,
                                  .n_latent = recipe->n_latent,
                                  .k = recipe->k,
                                  .threshold = sae->threshold,
                                  .code = &w->code};
    if (recipe->multi_k > 1 && recipe->selection == ORTH_SELECT_TOPK) {
        selection->k_inner = recipe->k;
        selection->code_inner = &w->code;
        selection->code = &w->multi_code;
        selection->k = recipe->k * recipe->multi_k;
        if (selection->k > recipe->n_latent)
            selection->k = recipe->n_latent;
    }
    w->aux_selection = *selection;
    w->aux_selection.ops = &orth_selection_topk;
    w->aux_selection.block_bytes = AUX_CANDIDATE_BYTES;
    w->aux_selection.k = recipe->aux_k;
    w->aux_selection.k_inner = 0;
    w->aux_selection.code = &w->aux_code;
    w->aux_selection.code_inner = NULL;
}

static orth_status create_selections(const orth_sae *sae, int64_t n_token, bool aux,
                                     orth_workspace *w)
{
    int64_t largest = orth_partition_largest(sae->recipe.n_latent, sae->grid->n_shard);
    describe_selection(sae, w);
    ORTH_TRY(orth_selection_create(&w->selection, n_token, largest));
    int64_t block = w->selection.candidates.block, capacity = w->selection.candidates.capacity;
    if (aux) {
        ORTH_TRY(orth_selection_create(&w->aux_selection, n_token, largest));
        if (w->aux_selection.candidates.block > block)
            block = w->aux_selection.candidates.block;
    } else {
        w->aux_selection = (orth_selection){0};
    }
    if (capacity > SCREENED_TIMES * w->selection.k + SCREENED_LEAST)
        capacity = SCREENED_TIMES * w->selection.k + SCREENED_LEAST;
    return orth_encoder_create(w->encoder.screen, block, capacity, sae->d_model, &w->encoder);
}

static orth_status create_local(const orth_sae *sae, int64_t n_token, bool training,
                                orth_workspace *w)
{
    int64_t d = sae->d_model, n_own = orth_range_size(sae->own);
    bool aux = training && sae->recipe.aux != ORTH_AUX_NONE && sae->recipe.aux_coefficient > 0.0;
    ORTH_TRY(orth_batch_create(n_token, d, &w->batch));
    ORTH_TRY(create_selections(sae, n_token, aux, w));
    ORTH_TRY(orth_product_scratch_create(training, &w->products));
    ORTH_TRY(ORTH_ALLOCATE(n_token * d, "residual", &w->residual));
    ORTH_TRY(ORTH_ALLOCATE(n_token, "token norms", &w->square));
    ORTH_TRY(ORTH_ALLOCATE(n_token, "token weights", &w->factor));
    ORTH_TRY(ORTH_ALLOCATE(d, "sums", &w->sums));
    ORTH_TRY(ORTH_ALLOCATE(n_own, "decoder norms", &w->decoder_norm));
    if (w->selection.code_inner) {
        ORTH_TRY(ORTH_ALLOCATE(n_token * d, "multi-topk residual", &w->multi_residual));
        ORTH_TRY(ORTH_ALLOCATE(n_token, "token norms", &w->multi_square));
    }
    if (!training)
        return ORTH_OK;
    if (aux) {
        ORTH_TRY(ORTH_ALLOCATE(n_token * d, "AuxK error", &w->aux_error));
        ORTH_TRY(ORTH_ALLOCATE(n_token, "token norms", &w->aux_square));
        ORTH_TRY(orth_compact_create(sae, &w->compact));
    }
    ORTH_TRY(ORTH_ALLOCATE(n_token, "AFA gradient", &w->pull));
    ORTH_TRY(orth_dead_create(n_own, &w->dead));
    return orth_learner_create(sae, n_token, &w->learner);
}

/* Screening needs every rank: nodes may differ in their instruction sets. */
static orth_status choose_screen(const orth_sae *sae, orth_workspace *w)
{
    const orth_recipe *recipe = &sae->recipe;
    int64_t largest = orth_partition_largest(recipe->n_latent, sae->grid->n_shard);
    describe_selection(sae, w);
    const orth_screen *screen = orth_encode_screen(sae, recipe->selection, w->selection.k, largest);
    int32_t everywhere = screen != NULL;
    ORTH_TRY(orth_allreduce(&everywhere, 1, MPI_INT32_T, MPI_MIN, sae->grid->world));
    w->encoder.screen = everywhere ? screen : NULL;
    return ORTH_OK;
}

orth_status orth_workspace_create(const orth_sae *sae, int64_t batch, bool training,
                                  orth_workspace *out)
{
    int64_t n_token = orth_partition_largest(batch, sae->grid->n_group);
    memset(out, 0, sizeof *out);
    ORTH_TRY(choose_screen(sae, out));
    orth_status status = orth_agree(sae->grid->world, create_local(sae, n_token, training, out));
    if (status != ORTH_OK)
        orth_workspace_free(out);
    return status;
}

void orth_workspace_free(orth_workspace *w)
{
    orth_batch_free(&w->batch);
    orth_encoder_free(&w->encoder);
    orth_selection_free(&w->selection);
    orth_selection_free(&w->aux_selection);
    orth_code_free(&w->code);
    orth_code_free(&w->multi_code);
    orth_code_free(&w->aux_code);
    orth_code_transposed_free(&w->columns);
    orth_code_transposed_free(&w->multi_columns);
    orth_code_transposed_free(&w->aux_columns);
    orth_product_scratch_free(&w->products);
    orth_dead_free(&w->dead);
    orth_compact_free(&w->compact);
    orth_learner_free(&w->learner);
    void *blocks[] = {w->residual,     w->multi_residual, w->aux_error, w->pull, w->square,
                      w->multi_square, w->aux_square,     w->factor,    w->sums, w->decoder_norm};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        orth_free(blocks[i]);
    memset(w, 0, sizeof *w);
}

float *orth_workspace_rows(orth_workspace *w, const orth_sae *sae, int64_t batch, bool **valid)
{
    int64_t first =
        orth_grid_reads(sae->grid, batch).begin - orth_grid_tokens(sae->grid, batch).begin;
    *valid = w->batch.valid + first;
    return w->batch.x + first * sae->d_model;
}
