#include "rig.h"

#include "check_mpi.h"

#include <orthant/kern/threads.h>
#include <orthant/par/collective.h>

#include <string.h>

orth_recipe rig_recipe(const plain *p)
{
    return (orth_recipe){.seed = 49,
                         .n_latent = p->n,
                         .selection = ORTH_SELECT_TOPK,
                         .k = 1,
                         .b_enc = true,
                         .target = ORTH_TARGET_CENTRED,
                         .init = ORTH_INIT_KAIMING,
                         .loss = ORTH_LOSS_MSE,
                         .aux = ORTH_AUX_NONE,
                         .aux_k = p->d > 1 ? p->d / 2 : 1,
                         .dead = ORTH_DEAD_BATCHES,
                         .dead_tokens = 10 * p->n_token,
                         .dead_batches = 10,
                         .batch = p->n_token,
                         .lr = 1e-3,
                         .beta1 = 0.9,
                         .beta2 = 0.999,
                         .eps = 1e-8,
                         .decoder = ORTH_DECODER_NONE};
}

void rig_open(const plain *p, const orth_recipe *recipe, int n_group, int n_shard, rig *r)
{
    memset(r, 0, sizeof *r);
    ck_agree(orth_grid_create(MPI_COMM_WORLD, n_group, n_shard, &r->grid) == ORTH_OK);
    ck_agree(orth_grid_agree_threads(&r->grid, orth_threads_count()) == ORTH_OK);
    ck_agree(orth_sae_create(&r->grid, recipe, p->d, true, &r->sae) == ORTH_OK);
    rig_set_weights(p, r);
    ck_agree(orth_workspace_create(&r->sae, p->n_token, true, &r->workspace) == ORTH_OK);
}

void rig_close(rig *r)
{
    orth_workspace_free(&r->workspace);
    orth_sae_free(&r->sae);
    orth_grid_free(&r->grid);
}

void rig_set_weights(const plain *p, rig *r)
{
    size_t own = (size_t)orth_range_size(r->sae.own), row = (size_t)p->d * sizeof(float);
    int64_t first = r->sae.own.begin;
    memcpy(r->sae.weights.W_enc, p->W_enc + first * p->d, own * row);
    memcpy(r->sae.weights.W_dec, p->W_dec + first * p->d, own * row);
    memcpy(r->sae.weights.b_enc, p->b_enc + first, own * sizeof(float));
    memcpy(r->sae.weights.b_dec, p->b_dec, row);
    if (r->sae.threshold)
        memcpy(r->sae.threshold, p->threshold + first, own * sizeof(float));
}

void rig_load(const plain *p, rig *r)
{
    bool *valid;
    orth_range reads = orth_grid_reads(&r->grid, p->n_token);
    float *x = orth_workspace_rows(&r->workspace, &r->sae, p->n_token, &valid);
    size_t count = (size_t)orth_range_size(reads);
    memcpy(x, p->x + reads.begin * p->d, count * (size_t)p->d * sizeof *x);
    memcpy(valid, p->valid + reads.begin, count * sizeof *valid);
}

void rig_gather(const rig *r, plain *p)
{
    int shards = r->grid.n_shard;
    int64_t rows[shards], entries[shards];
    for (int s = 0; s < shards; s++) {
        rows[s] = orth_range_size(orth_partition(p->n, shards, s));
        entries[s] = rows[s] * p->d;
    }
    const orth_params *w = &r->sae.weights;
    MPI_Comm group = r->grid.group;
    ck_agree(orth_allgather(w->W_enc, entries, sizeof(float), p->W_enc, group) == ORTH_OK);
    ck_agree(orth_allgather(w->W_dec, entries, sizeof(float), p->W_dec, group) == ORTH_OK);
    ck_agree(orth_allgather(w->b_enc, rows, sizeof(float), p->b_enc, group) == ORTH_OK);
    memcpy(p->b_dec, w->b_dec, (size_t)p->d * sizeof(float));
}

bool rig_code_is(const rig *r, const orth_code *code, const plain *p, const bool *mask)
{
    orth_range tokens = orth_grid_tokens(&r->grid, p->n_token), own = r->sae.own;
    if (code->n_token != orth_range_size(tokens) || code->start[0] != 0)
        return false;
    for (int64_t t = tokens.begin; t < tokens.end; t++) {
        int64_t e = code->start[t - tokens.begin];
        for (int64_t i = own.begin; i < own.end; i++) {
            if (!mask[t * p->n + i])
                continue;
            if (e >= code->start[t - tokens.begin + 1] || code->latent[e] != i - own.begin ||
                memcmp(code->value + e, p->a + t * p->n + i, sizeof(float)) != 0)
                return false;
            e++;
        }
        if (e != code->start[t - tokens.begin + 1])
            return false;
    }
    return true;
}
