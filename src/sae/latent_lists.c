#include <orthant/sae/latent_lists.h>

#include <orthant/base/memory.h>

#include <stddef.h>
#include <string.h>

/* Blocks that are made at a time (1 MiB or some); quarters of the memory that stay in use when
 * latents are given up. */
enum { SLAB = 1 << 12, KEPT_QUARTERS = 3 };

/* No block; how many there may be. */
static const uint32_t NONE = UINT32_MAX;
static const int64_t MOST_BLOCKS = UINT32_MAX / SLAB * (int64_t)SLAB;

static orth_list_block *block_of(const orth_latent_lists *lists, uint32_t block)
{
    char *slab = lists->slabs[block / SLAB];
    return (orth_list_block *)(void *)(slab + block % SLAB * lists->block_bytes);
}

orth_status orth_latent_lists_create(int64_t n_latent, int64_t memory, int64_t marks,
                                     orth_latent_lists *out)
{
    orth_latent_lists lists = {.n_latent = n_latent, .marks = marks, .unused = NONE};
    int64_t link = (int64_t)sizeof(uint64_t);
    int64_t bytes = (int64_t)offsetof(orth_list_block, mark) + 4 * marks * ORTH_LIST_ENTRIES;
    lists.block_bytes = (bytes + link - 1) / link * link;
    lists.most = memory / lists.block_bytes;
    if (lists.most < SLAB)
        lists.most = SLAB;
    if (lists.most > MOST_BLOCKS)
        lists.most = MOST_BLOCKS;
    orth_status status = ORTH_ALLOCATE(n_latent, "lists of latents", &lists.first);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(n_latent, "lists of latents", &lists.last);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(n_latent, "lists of latents", &lists.count);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(MOST_BLOCKS / SLAB, "blocks of lists", &lists.slabs);
    if (status == ORTH_OK)
        *out = lists;
    else
        orth_latent_lists_free(&lists);
    return status;
}

void orth_latent_lists_begin(orth_latent_lists *lists, int64_t begin)
{
    lists->begin = begin;
    lists->end = lists->n_latent;
    memset(lists->count, 0, (size_t)lists->n_latent * sizeof *lists->count);
    lists->used = 0;
    lists->blocks = 0;
    lists->unused = NONE;
}

/* Give back the blocks of one latent. */
static void drop(orth_latent_lists *lists, int64_t latent)
{
    if (lists->count[latent] == 0)
        return;
    lists->used -= (lists->count[latent] + ORTH_LIST_ENTRIES - 1) / ORTH_LIST_ENTRIES;
    block_of(lists, lists->last[latent])->next = lists->unused;
    lists->unused = lists->first[latent];
    lists->count[latent] = 0;
}

void orth_latent_lists_cut(orth_latent_lists *lists, int64_t end)
{
    while (lists->end > end)
        drop(lists, --lists->end);
}

/* Give up latents until a quarter of the memory is free again. */
static void make_room(orth_latent_lists *lists)
{
    while (lists->end > lists->begin + 1 && lists->used > lists->most / 4 * KEPT_QUARTERS)
        orth_latent_lists_cut(lists, lists->end - 1);
}

/* One more block, of those given back, or new. A single latent may take more than its share. */
static orth_status take_block(orth_latent_lists *lists, uint32_t *out)
{
    if (lists->unused != NONE) {
        *out = lists->unused;
        lists->unused = (uint32_t)block_of(lists, *out)->next;
    } else {
        if (lists->blocks >= MOST_BLOCKS)
            return orth_fail(ORTH_ERR_ENVIRONMENT,
                             "codes by latents: one latent has 2^32 blocks; use more token groups");
        int64_t slab = lists->blocks / SLAB;
        if (slab == lists->n_slab) {
            ORTH_TRY(
                ORTH_ALLOCATE(SLAB * lists->block_bytes, "codes by latents", &lists->slabs[slab]));
            lists->n_slab++;
        }
        *out = (uint32_t)lists->blocks++;
    }
    lists->used++;
    return ORTH_OK;
}

static orth_status add_entry(orth_latent_lists *lists, int64_t latent, float value,
                             const uint32_t *marks)
{
    int64_t place = lists->count[latent] % ORTH_LIST_ENTRIES;
    if (place == 0) {
        uint32_t block = NONE;
        ORTH_TRY(take_block(lists, &block));
        if (lists->count[latent] == 0)
            lists->first[latent] = block;
        else
            block_of(lists, lists->last[latent])->next = block;
        lists->last[latent] = block;
    }
    orth_list_block *last = block_of(lists, lists->last[latent]);
    last->value[place] = value;
    for (int64_t m = 0; m < lists->marks; m++)
        last->mark[place * lists->marks + m] = marks[m];
    lists->count[latent]++;
    return ORTH_OK;
}

orth_status orth_latent_lists_add(orth_latent_lists *lists, const orth_code *code,
                                  const uint32_t *marks)
{
    for (int64_t t = 0; t < code->n_token; t++) {
        if (lists->used >= lists->most)
            make_room(lists);
        for (int64_t e = code->start[t]; e < code->start[t + 1]; e++) {
            int64_t latent = code->latent[e];
            if (latent >= lists->begin && latent < lists->end)
                ORTH_TRY(add_entry(lists, latent, code->value[e], marks + t * lists->marks));
        }
    }
    return ORTH_OK;
}

void orth_latent_lists_visit(const orth_latent_lists *lists, const int64_t *latents, int64_t n,
                             orth_list_visit *visit, void *context)
{
#pragma omp parallel for schedule(dynamic, 16)
    for (int64_t i = 0; i < n; i++) {
        uint32_t block = lists->first[latents[i]];
        for (int64_t left = lists->count[latents[i]]; left > 0; left -= ORTH_LIST_ENTRIES) {
            const orth_list_block *at = block_of(lists, block);
            visit(context, i, latents[i], at, left < ORTH_LIST_ENTRIES ? left : ORTH_LIST_ENTRIES);
            block = (uint32_t)at->next;
        }
    }
}

void orth_latent_lists_free(orth_latent_lists *lists)
{
    for (int64_t i = 0; i < lists->n_slab; i++)
        orth_free(lists->slabs[i]);
    orth_free(lists->slabs);
    orth_free(lists->first);
    orth_free(lists->last);
    orth_free(lists->count);
    memset(lists, 0, sizeof *lists);
}
