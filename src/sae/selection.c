#include <orthant/sae/selection.h>

#include <orthant/base/memory.h>
#include <orthant/kern/keys.h>

#include <omp.h>
#include <string.h>

/* Tokens of a block, as far as its memory allows: two thousand make up for packing the latents
 * again, more would only hold memory. A multiple of 12 fills the token panels of every kernel set.
 */
enum { BLOCK_LEAST = 48, BLOCK_MOST = 2052, BLOCK_UNIT = 12 };

const orth_selection_ops *orth_selection_ops_of(orth_selection_kind kind)
{
    static const orth_selection_ops *const table[] = {
        [ORTH_SELECT_TOPK] = &orth_selection_topk,
        [ORTH_SELECT_TOPAFA] = &orth_selection_topafa,
        [ORTH_SELECT_BATCHTOPK] = &orth_selection_batchtopk,
        [ORTH_SELECT_JUMPRELU] = &orth_selection_jumprelu,
    };
    return table[kind];
}

static int64_t block_tokens(int64_t bytes, int64_t capacity, int64_t n_token)
{
    int64_t block = bytes / (capacity * (int64_t)sizeof(uint64_t));
    if (n_token < 1)
        n_token = 1;
    /* The widest shards have so many candidates that a few tokens must do. */
    int64_t least = bytes < capacity * BLOCK_LEAST ? BLOCK_UNIT : BLOCK_LEAST;
    if (block < least)
        block = least;
    if (block > BLOCK_MOST)
        block = BLOCK_MOST;
    /* Blocks of equal size: none that packs all latents for a few tokens. */
    int64_t blocks = (n_token + block - 1) / block, equal = (n_token + blocks - 1) / blocks;
    return (equal + BLOCK_UNIT - 1) / BLOCK_UNIT * BLOCK_UNIT;
}

orth_status orth_selection_create(orth_selection *selection, int64_t n_token, int64_t largest)
{
    orth_candidates *c = &selection->candidates;
    selection->n_token = n_token;
    c->capacity = selection->ops->kept(selection, largest) + 2 * ORTH_TILE_LATENTS;
    c->block = block_tokens(selection->block_bytes, c->capacity, n_token);
    ORTH_TRY(ORTH_ALLOCATE(c->block * c->capacity, "candidates", &c->keys));
    ORTH_TRY(ORTH_ALLOCATE(c->block, "candidates", &c->count));
    ORTH_TRY(ORTH_ALLOCATE(c->block, "candidates", &c->above));
    ORTH_TRY(ORTH_ALLOCATE(omp_get_max_threads() * c->capacity, "candidates", &c->scratch));
    return selection->ops->create ? selection->ops->create(selection) : ORTH_OK;
}

void orth_selection_free(orth_selection *selection)
{
    if (selection->ops && selection->ops->free)
        selection->ops->free(selection);
    orth_free(selection->candidates.keys);
    orth_free(selection->candidates.count);
    orth_free(selection->candidates.above);
    orth_free(selection->candidates.scratch);
    memset(selection, 0, sizeof *selection);
}

orth_status orth_selection_append(const orth_selection *selection, orth_code *code)
{
    const orth_candidates *c = &selection->candidates;
    int64_t first = c->first_token, entries = code->start[first];
    for (int64_t slot = 0; slot < c->n_token; slot++) {
        code->start[first + slot] = entries;
        entries += c->count[slot];
    }
    code->start[first + c->n_token] = entries;
    code->n_token = first + c->n_token;
    ORTH_TRY(orth_code_reserve(code, entries));
#pragma omp parallel for schedule(static)
    for (int64_t slot = 0; slot < c->n_token; slot++) {
        const uint64_t *keys = c->keys + slot * c->capacity;
        int64_t to = code->start[first + slot];
        for (int64_t i = 0; i < c->count[slot]; i++) {
            code->latent[to + i] = (uint32_t)(orth_key_latent(keys[i]) - selection->own.begin);
            code->value[to + i] = orth_key_value(keys[i]);
        }
    }
    return ORTH_OK;
}
