/* Latents of a table on every grid, gathered in slabs of any size: the same bits.
 * ranks: 1 2 3 4
 */
#include "check_mpi.h"

#include <orthant/base/random.h>
#include <orthant/eval/latents.h>

#include <math.h>
#include <string.h>

enum { D = 12, N = 45, ROWS = 150, BATCH = 32, EXAMPLES = 4, NEIGHBOURS = 3 };

static float weight_of(uint64_t which, int64_t i, int64_t j)
{
    return (float)orth_random_normal(which, ORTH_RANDOM_TEST, (uint64_t)i, (uint64_t)j);
}

/* Latent 13 never fires, latent 14 nearly always; 20 and 30 have one direction. */
static void make_model(const orth_grid *grid, orth_sae *out)
{
    orth_recipe recipe = {.n_latent = N, .selection = ORTH_SELECT_TOPK, .k = 5, .aux_k = 1};
    ck_agree(orth_sae_create(grid, &recipe, D, false, out) == ORTH_OK);
    for (int64_t i = out->own.begin; i < out->own.end; i++) {
        int64_t row = i - out->own.begin;
        out->weights.b_enc[row] = i == 13 ? -1e6f : i == 14 ? 10.0f : 0.0f;
        for (int64_t j = 0; j < D; j++) {
            out->weights.W_enc[row * D + j] = weight_of(1, i, j);
            out->weights.W_dec[row * D + j] =
                i == 30 ? 2.0f * weight_of(2, 20, j) : weight_of(2, i, j);
        }
    }
}

static void place_batch(const orth_sae *sae, orth_workspace *w, int64_t first, int64_t size)
{
    bool *valid;
    float *x = orth_workspace_rows(w, sae, size, &valid);
    orth_range part = orth_grid_reads(sae->grid, size);
    for (int64_t t = part.begin; t < part.end; t++) {
        valid[t - part.begin] = (first + t) % 11 != 3;
        for (int64_t j = 0; j < D; j++)
            x[(t - part.begin) * D + j] = valid[t - part.begin] ? weight_of(3, first + t, j) : 0.0f;
    }
}

static orth_latents *find(const orth_sae *sae)
{
    orth_latents_options options = {.examples = EXAMPLES, .neighbours = NEIGHBOURS, .dense = 0.5};
    orth_latents *latents = NULL;
    orth_workspace w;
    ck_agree(orth_workspace_create(sae, BATCH, false, &w) == ORTH_OK);
    ck_agree(orth_latents_create(sae, &options, &latents) == ORTH_OK);
    for (int64_t first = 0; first < ROWS; first += BATCH) {
        int64_t size = ROWS - first < BATCH ? ROWS - first : BATCH;
        place_batch(sae, &w, first, size);
        ck_agree(orth_forward(sae, size, &w, NULL) == ORTH_OK);
        orth_latents_add(latents, &w, first);
    }
    ck_agree(orth_latents_finish(latents, 136) == ORTH_OK);
    orth_workspace_free(&w);
    return latents;
}

/* On rank 0: whether the slab is what `whole` has at its range. */
static bool same(const orth_latents_slab *slab, const orth_latents_slab *whole)
{
    int64_t first = slab->range.begin, n = orth_range_size(slab->range);
    bool good = slab->examples == EXAMPLES && slab->neighbours == NEIGHBOURS;
    for (int64_t i = 0; good && i < n; i++) {
        const orth_latent *a = slab->latent + i, *b = whole->latent + first + i;
        good = a->count == b->count && a->frequency == b->frequency && a->sum == b->sum &&
               a->max == b->max && a->dead == b->dead && a->dense == b->dense &&
               (a->mean == b->mean || (isnan(a->mean) && isnan(b->mean)));
    }
    for (int64_t i = 0; good && i < n * EXAMPLES; i++) {
        const orth_latent_example *b = whole->example + first * EXAMPLES + i;
        good = slab->example[i].row == b->row && slab->example[i].value == b->value;
    }
    for (int64_t i = 0; good && i < n * NEIGHBOURS; i++) {
        const orth_latent_neighbour *b = whole->neighbour + first * NEIGHBOURS + i;
        good = slab->neighbour[i].latent == b->latent && slab->neighbour[i].cosine == b->cosine;
    }
    return good;
}

static void check_whole(const orth_latents_slab *whole)
{
    const orth_latent *latent = whole->latent;
    ck_agree(latent[13].dead && latent[13].count == 0 && isnan(latent[13].mean));
    ck_agree(whole->example[13 * EXAMPLES].row == -1 && !latent[13].dense);
    ck_agree(latent[14].dense && latent[14].count > 68 && latent[14].max > 10.0);
    ck_agree(latent[14].frequency == (double)latent[14].count / 136.0);
    ck_agree(whole->neighbour[20 * NEIGHBOURS].latent == 30);
    ck_agree(whole->neighbour[30 * NEIGHBOURS].latent == 20);
    ck_agree(fabs(whole->neighbour[20 * NEIGHBOURS].cosine - 1.0) < 1e-6);
    int64_t entries = 0;
    for (int64_t i = 0; i < N; i++)
        entries += latent[i].count;
    ck_agree(entries == 136 * 5);
}

static void check_grid(int groups, int shards, const orth_latents_slab *whole)
{
    static const int64_t sizes[] = {1, 7, 44, N};
    orth_grid grid;
    orth_sae sae;
    ck_agree(orth_grid_create(MPI_COMM_WORLD, groups, shards, &grid) == ORTH_OK);
    make_model(&grid, &sae);
    orth_latents *latents = find(&sae);
    ck_agree(orth_latents_slab_size(latents) > N && orth_latents_dense(latents) == 0.5);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int64_t begin = 0; begin < N; begin += sizes[s]) {
            int64_t end = begin + sizes[s] < N ? begin + sizes[s] : N;
            orth_latents_slab slab = {0};
            ck_agree(orth_latents_gather(latents, (orth_range){begin, end}, &slab) == ORTH_OK);
            ck_agree(grid.rank == 0 ? same(&slab, whole) : !slab.latent);
            orth_latents_slab_free(&slab);
        }
    orth_latents_free(latents);
    orth_sae_free(&sae);
    orth_grid_free(&grid);
}

START_TEST(grids)
{
    orth_grid alone;
    orth_sae sae;
    orth_latents_slab whole = {0};
    int size;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    ck_agree(orth_grid_create(MPI_COMM_SELF, 1, 1, &alone) == ORTH_OK);
    make_model(&alone, &sae);
    orth_latents *latents = find(&sae);
    ck_agree(orth_latents_gather(latents, (orth_range){0, N}, &whole) == ORTH_OK);
    check_whole(&whole);
    for (int groups = 1; groups <= size; groups++)
        if (size % groups == 0)
            check_grid(groups, size / groups, &whole);
    orth_latents_slab_free(&whole);
    orth_latents_free(latents);
    orth_sae_free(&sae);
    orth_grid_free(&alone);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("latents");
    TCase *tests = tcase_create("latents");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, grids);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
