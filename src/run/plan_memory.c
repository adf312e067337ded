/* Memory of a rank. Arrays whose size is known beforehand are counted by running the code that
 * allocates them; the rest is written down here: codes, which grow with the data, buffers of the
 * reader, of reductions and of checkpoints, and what the libraries take. */
#include "checkpoint_parts.h"
#include "plan_parts.h"

#include <orthant/base/memory.h>
#include <orthant/kern/table.h>
#include <orthant/kern/threads.h>
#include <orthant/sae/sample.h>
#include <orthant/sae/step.h>

#include <string.h>

/* Bytes of an entry of a code: latent and value by rows, token and value by columns. */
enum { ENTRY_BYTES = 16 };
/* Reading: the largest piece, as in io/rows.c. Reductions: two buffers, as in par/collective.c. */
enum { GAP_BYTES = 8 << 20 }; /* some huge pages */
enum { PIECE_BYTES = 4 << 20, REDUCTION_BYTES = 2 * (2 << 20) };
/* What a training process takes besides a planning one: threads, more of its libraries. */
static const double TRAINING_BYTES = 6 << 20;
/* Share of the latents whose pre-activation is positive: those are top-AFA's candidates. */
static const double POSITIVE = 0.5;

const char *const orth_plan_store_names[] = {
    "parameters", "moments", "average", "gradient", "tokens", "codes", "scratch", "program", NULL};

typedef struct ledger {
    double store[ORTH_STORE_COUNT];
    double candidates;
} ledger;

static orth_plan_store store_of(const char *what)
{
    static const struct {
        const char *start;
        orth_plan_store store;
    } table[] = {{"weights", ORTH_STORE_PARAMETERS},     {"first moments", ORTH_STORE_MOMENTS},
                 {"second moments", ORTH_STORE_MOMENTS}, {"averaged weights", ORTH_STORE_AVERAGE},
                 {"gradient of", ORTH_STORE_GRADIENT},   {"token", ORTH_STORE_TOKENS},
                 {"residual", ORTH_STORE_TOKENS},        {"multi-topk residual", ORTH_STORE_TOKENS},
                 {"AuxK error", ORTH_STORE_TOKENS},      {"AFA gradient", ORTH_STORE_TOKENS}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strncmp(what, table[i].start, strlen(table[i].start)) == 0)
            return table[i].store;
    return ORTH_STORE_SCRATCH;
}

static void note(void *context, const char *what, int64_t bytes)
{
    ledger *l = context;
    l->store[store_of(what)] += (double)bytes;
    if (strcmp(what, "candidates") == 0)
        l->candidates += (double)bytes;
}

/* The place of rank 0, whose parts are the largest, without its communicators. */
static orth_grid grid_of(int n_group, int n_shard, int threads)
{
    return (orth_grid){.world = MPI_COMM_SELF,
                       .group = MPI_COMM_SELF,
                       .peers = MPI_COMM_SELF,
                       .size = n_group * n_shard,
                       .n_group = n_group,
                       .n_shard = n_shard,
                       .threads = threads};
}

/* What is allocated: the model, and the buffers of a step, without AuxK and a clip norm, and with
 * one of them. */
typedef struct counts {
    ledger model, plain, aux, clip;
} counts;

static orth_encode_kind encoding_of(const orth_screen *screen)
{
    if (!screen)
        return ORTH_ENCODE_FP32;
    return screen == orth_kernels_get()->screen_int8 ? ORTH_ENCODE_INT8 : ORTH_ENCODE_BF16;
}

static orth_status count_step(const orth_plan_problem *p, const orth_sae *sae, bool aux, bool clip,
                              ledger *l, orth_plan_memory *out)
{
    orth_sae counted = *sae;
    orth_workspace workspace;
    if (!aux)
        counted.recipe.aux = ORTH_AUX_NONE;
    if (!clip)
        counted.recipe.clip = 0.0;
    memset(l, 0, sizeof *l);
    orth_memory_count(note, l);
    orth_status status = orth_workspace_create(&counted, p->config.recipe.batch, true, &workspace);
    orth_memory_count(NULL, NULL);
    if (status != ORTH_OK)
        return status;
    out->encode = encoding_of(workspace.encoder.screen);
    out->block = workspace.selection.candidates.block;
    if (aux)
        out->aux_block = workspace.aux_selection.candidates.block;
    orth_workspace_free(&workspace);
    return ORTH_OK;
}

static orth_status count_all(const orth_plan_problem *p, const orth_grid *grid, counts *c,
                             orth_plan_memory *out)
{
    orth_sae sae;
    int threads = orth_threads_count();
    orth_checkpoint_info info = {.config = ""};
    memset(c, 0, sizeof *c);
    orth_memory_count(note, &c->model);
    orth_status status = orth_sae_create(grid, &p->config.recipe, p->d_model, true, &sae);
    orth_memory_count(NULL, NULL);
    if (status != ORTH_OK)
        return status;
    sae.encode = p->config.compute_encode;
    out->checkpoint = (double)orth_checkpoint_bytes(&sae, &info);
    orth_threads_set(p->options.threads);
    status = count_step(p, &sae, false, false, &c->plain, out);
    if (status == ORTH_OK)
        status = count_step(p, &sae, true, false, &c->aux, out);
    if (status == ORTH_OK)
        status = count_step(p, &sae, false, true, &c->clip, out);
    orth_threads_set(threads);
    orth_sae_free(&sae);
    return status;
}

/* AuxK's buffers are untouched until a latent is dead, the held gradient until the clip may bind;
 * only what belongs to tokens is used at once. */
static void sort_counts(const counts *c, orth_plan_memory *m)
{
    for (int i = 0; i < ORTH_STORE_COUNT; i++) {
        double aux = c->aux.store[i] - c->plain.store[i],
               clip = c->clip.store[i] - c->plain.store[i];
        m->store[i] = c->model.store[i] + c->plain.store[i];
        if (i == ORTH_STORE_TOKENS) {
            m->store[i] += aux + clip;
        } else {
            m->dead += aux;
            m->held += clip;
        }
    }
}

/* One code of `entries` per token, by rows and by columns. */
static double code_bytes(const orth_plan_problem *p, const orth_grid *grid, double entries)
{
    double n_token = (double)orth_range_size(orth_grid_tokens(grid, p->config.recipe.batch));
    double n_own = (double)orth_range_size(orth_grid_latents(grid, p->config.recipe.n_latent));
    double share = n_own / (double)p->config.recipe.n_latent;
    return ENTRY_BYTES * n_token * entries * share + 8.0 * (n_token + 1.0) + 8.0 * (n_own + 1.0) +
           8.0 * (double)p->options.threads * n_own;
}

/* The reader's rows of a batch: as stored, which they are, in which order, and a piece of a file.
 */
static double reader_bytes(const orth_plan_problem *p, const orth_grid *grid)
{
    double rows = (double)orth_range_size(orth_grid_reads(grid, p->config.recipe.batch));
    double stored = rows * (double)p->row_bytes;
    return stored + 24.0 * rows + (stored < PIECE_BYTES ? stored : PIECE_BYTES);
}

/* A checkpoint's checksums, one for each row, and a piece of an array for its verification. */
static double checkpoint_bytes(const orth_plan_problem *p, const orth_grid *grid)
{
    int64_t n_own = orth_range_size(orth_grid_latents(grid, p->config.recipe.n_latent));
    return 4.0 * (double)orth_partition_largest(n_own, grid->n_group) +
           (p->config.checkpoint_verify ? (double)PIECE_BYTES : 0.0);
}

/* Weights and the sample, before the moments are written and the step's buffers are there. */
static double start_bytes(const orth_plan_problem *p, const orth_grid *grid,
                          const orth_plan_memory *m)
{
    int64_t total = p->rows > 0 && p->rows < ORTH_SAMPLE_ROWS ? p->rows : ORTH_SAMPLE_ROWS;
    orth_range own = orth_sample_rows(total, grid->size, 0);
    return m->store[ORTH_STORE_PARAMETERS] + m->store[ORTH_STORE_PROGRAM] +
           4.0 * (double)(orth_range_size(own) * p->d_model) + PIECE_BYTES;
}

/* Before batchtopk's cut the code has half as many entries more, and a block's positive ones. */
static double uncut_bytes(const orth_plan_problem *p, const orth_grid *grid, int64_t block)
{
    double n_own = (double)orth_range_size(orth_grid_latents(grid, p->config.recipe.n_latent));
    double limit = (double)p->config.recipe.batch * p->most_entries;
    return 0.5 * ENTRY_BYTES * (limit / 2.0 + (double)block * POSITIVE * n_own);
}

/* Whether what a token's row of candidates leaves unused is pages that are never touched. */
static bool candidates_have_gaps(const orth_plan_problem *p, const orth_grid *grid)
{
    return orth_range_size(orth_grid_latents(grid, p->config.recipe.n_latent)) * 8 > GAP_BYTES;
}

static void add_codes(const orth_plan_problem *p, const orth_grid *grid, orth_plan_memory *m)
{
    const orth_recipe *r = &p->config.recipe;
    double *codes = &m->store[ORTH_STORE_CODES];
    *codes = code_bytes(p, grid, p->most_entries);
    if (r->multi_k > 1 && r->selection == ORTH_SELECT_TOPK)
        *codes += code_bytes(p, grid, p->most_entries * (double)r->multi_k);
    if (r->selection == ORTH_SELECT_BATCHTOPK)
        *codes += uncut_bytes(p, grid, m->block);
    if (m->aux_block > 0) {
        double most = (double)(r->aux_k < r->n_latent ? r->aux_k : r->n_latent);
        m->dead += code_bytes(p, grid, most);
    }
}

orth_status orth_plan_memory_of(const orth_plan_problem *p, int n_group, int n_shard,
                                orth_plan_memory *out)
{
    orth_grid grid = grid_of(n_group, n_shard, p->options.threads);
    orth_plan_memory m = {.aux_block = 0};
    counts c;
    ORTH_TRY(count_all(p, &grid, &c, &m));
    sort_counts(&c, &m);
    if (p->config.recipe.selection != ORTH_SELECT_TOPK && candidates_have_gaps(p, &grid))
        m.store[ORTH_STORE_SCRATCH] -= (1.0 - POSITIVE) * c.plain.candidates;
    m.store[ORTH_STORE_SCRATCH] +=
        reader_bytes(p, &grid) + checkpoint_bytes(p, &grid) + (grid.size > 1 ? REDUCTION_BYTES : 0);
    m.store[ORTH_STORE_PROGRAM] = p->program + TRAINING_BYTES;
    add_codes(p, &grid, &m);
    m.start = start_bytes(p, &grid, &m);
    for (int i = 0; i < ORTH_STORE_COUNT; i++)
        m.total += m.store[i];
    if (m.total < m.start)
        m.total = m.start;
    m.most = m.total + m.dead + m.held;
    *out = m;
    return ORTH_OK;
}
