#include <orthant/eval/pca.h>

#include "alone.h"
#include "frame.h"

#include <orthant/base/memory.h>
#include <orthant/eval/feed.h>
#include <orthant/io/stream.h>
#include <orthant/par/agree.h>
#include <orthant/par/alive.h>
#include <orthant/par/collective.h>
#include <orthant/sae/batch.h>

#include <math.h>
#include <string.h>

/* Values that a rank reads at a time: 16 MiB, and so many rows that bringing a d x d matrix to its
 * owners is little work beside computing it. */
enum { BLOCK_VALUES = 1 << 22, LEAST_ROWS = 2048 };

/** A pass over a table under way. */
typedef struct pass {
    orth_dataset *dataset;
    const orth_sae *sae; ///< NULL: rows as stored
    bool skip;
    MPI_Comm world;
    orth_range rows; ///< of this rank
    int64_t largest; ///< part of the rows of any rank
    int64_t block;   ///< rows at a time
    orth_stream *stream;
    float *x;       ///< (block, d)
    bool *finite;   ///< (block)
    double *factor; ///< (block) 0 where a row is left out
    double *centre; ///< (d) about which the products are taken
    double *sums;   ///< (d + 1) of x - centre over this rank's rows, then their number
    int64_t skipped;
} pass;

static void pass_free(pass *p)
{
    orth_stream_close(p->stream);
    orth_free(p->x);
    orth_free(p->finite);
    orth_free(p->factor);
    orth_free(p->centre);
    orth_free(p->sums);
    memset(p, 0, sizeof *p);
}

static orth_status pass_allocate(pass *p)
{
    int64_t d = orth_dataset_width(p->dataset);
    if (p->sae)
        ORTH_TRY(orth_feed_check_width(p->dataset, p->sae));
    ORTH_TRY(ORTH_ALLOCATE(p->block * d, "rows of activations", &p->x));
    ORTH_TRY(ORTH_ALLOCATE(p->block, "marks of rows", &p->finite));
    ORTH_TRY(ORTH_ALLOCATE(p->block, "weights of rows", &p->factor));
    ORTH_TRY(ORTH_ALLOCATE(d, "centre of the activations", &p->centre));
    return ORTH_ALLOCATE(d + 1, "sums of the activations", &p->sums);
}

static orth_status find_rank(MPI_Comm world, int *rank, int *size)
{
    ORTH_MPI(MPI_Comm_rank(world, rank));
    ORTH_MPI(MPI_Comm_size(world, size));
    return ORTH_OK;
}

static orth_status pass_create(orth_dataset *dataset, const orth_sae *sae, bool skip,
                               MPI_Comm world, pass *out)
{
    pass p = {.dataset = dataset, .sae = sae, .skip = skip, .world = world};
    int rank, size;
    ORTH_TRY(orth_alone(world, find_rank(world, &rank, &size)));
    int64_t rows = orth_dataset_rows(dataset);
    int64_t block = BLOCK_VALUES / orth_dataset_width(dataset);
    int64_t largest = orth_partition_largest(rows, size);
    p.largest = largest;
    p.rows = orth_partition(rows, size, rank);
    p.block = block < LEAST_ROWS ? LEAST_ROWS : block;
    p.block = p.block > largest ? largest : p.block;
    orth_status status = orth_agree(world, pass_allocate(&p));
    if (status == ORTH_OK)
        *out = p;
    else
        pass_free(&p);
    return status;
}

/* This rank's rows [at, at + count), read ahead as one sequence of blocks; the last, shorter block
 * is another sequence. */
static orth_status read_rows(pass *p, int64_t at, int64_t count, orth_nonfinite *found)
{
    int64_t left = p->rows.end - at, d = orth_dataset_width(p->dataset);
    if (count == 0)
        return ORTH_OK;
    if (at == p->rows.begin || count < p->block) {
        orth_stream_options options = {.batch = count,
                                       .reads = {0, count},
                                       .cursor = {.position = at},
                                       .read_ahead = left >= 2 * count};
        orth_stream_close(p->stream);
        p->stream = NULL;
        ORTH_TRY(orth_stream_open(p->dataset, &options, &p->stream));
    }
    ORTH_TRY(orth_stream_next(p->stream, p->x, p->finite, found));
    if (p->sae)
        orth_input_normalise(p->sae->recipe.input, p->sae->input_scale, count, d, p->x);
    for (int64_t i = 0; i < count; i++)
        p->factor[i] = p->finite[i] ? 1.0 : 0.0;
    return ORTH_OK;
}

/* The mean of the first blocks: near enough to the mean of all that centring about it loses
 * nothing. */
static orth_status take_centre(pass *p, int64_t count)
{
    int64_t d = orth_dataset_width(p->dataset);
    double *sums = p->sums;
    orth_scatter_sums(p->x, count, d, NULL, p->factor, sums);
    for (int64_t i = 0; i < count; i++)
        sums[d] += p->factor[i];
    ORTH_TRY(orth_alone(p->world, orth_sum_f64(sums, d + 1, p->world)));
    for (int64_t j = 0; j < d; j++)
        p->centre[j] = sums[d] > 0.0 ? sums[j] / sums[d] : 0.0;
    memset(sums, 0, (size_t)(d + 1) * sizeof *sums);
    return ORTH_OK;
}

/* Add every row of the table to `sum`, about a centre that it leaves in p->centre. Afterwards
 * p->sums holds the sums over all ranks. */
static orth_status run(pass *p, orth_outer_sum *sum)
{
    int64_t d = orth_dataset_width(p->dataset), size = orth_range_size(p->rows);
    for (int64_t done = 0; done < p->largest; done += p->block) {
        int64_t begin = done < size ? done : size;
        int64_t count = size - begin < p->block ? size - begin : p->block, bad = 0;
        orth_nonfinite found = {.first_row = -1};
        ORTH_TRY(orth_agree(p->world, read_rows(p, p->rows.begin + begin, count, &found)));
        ORTH_TRY(orth_nonfinite_agree(p->dataset, &found, p->skip, p->world, &bad));
        p->skipped += bad;
        if (done == 0)
            ORTH_TRY(take_centre(p, count));
        orth_scatter_sums(p->x, count, d, p->centre, p->factor, p->sums);
        for (int64_t i = 0; i < count; i++)
            p->sums[d] += p->factor[i];
        ORTH_TRY(orth_outer_sum_add(sum, p->x, count, p->centre, p->factor));
        orth_alive();
    }
    ORTH_TRY(orth_alone(p->world, orth_sum_f64(p->sums, d + 1, p->world)));
    if (p->sums[d] == 0.0)
        return orth_fail(ORTH_ERR_DATA,
                         "%s: no row without NaN or Inf is left; name other activations",
                         orth_dataset_file(p->dataset, 0));
    return ORTH_OK;
}

/* From sums of products about the centre c to the covariance: divided by the number of tokens, less
 * the square of the difference of mean and centre; the centre becomes the mean. */
static void to_covariance(pass *p, orth_outer_sum *sum)
{
    int64_t d = orth_dataset_width(p->dataset);
    double tokens = p->sums[d];
    orth_outer_sum_finish(sum, -1.0 / tokens, p->sums, 1.0 / tokens);
    for (int64_t j = 0; j < d; j++)
        p->centre[j] += p->sums[j] / tokens;
}

/* residual[r] = the energies of the components after the first r, added from the smallest on;
 * `energies` belong to ascending eigenvalues. There are `rank` components: the eigenvectors after
 * those are any basis of what is left, another one on each grid. */
static void add_tails(const double *energies, int64_t d, int64_t rank, double *residual)
{
    residual[d] = 0.0;
    for (int64_t r = d - 1; r >= 0; r--)
        residual[r] = residual[r + 1] + fmax(energies[d - 1 - r], 0.0);
    for (int64_t r = rank + 1; r <= d; r++)
        residual[r] = residual[rank];
}

/* The energies of the tested rows about the mean of the fitted ones: those about their own mean,
 * whose sum is the variance, and the square of the difference of the means. Taken apart, a mean
 * that is far off costs the variance no digits. */
static orth_status find_energies(const pass *fit, pass *p, const double *vectors,
                                 orth_outer_sum *sum, double *energies, orth_pca *out)
{
    const orth_block_grid *grid = sum->grid;
    double variance = 0.0;
    to_covariance(p, sum);
    ORTH_TRY(orth_block_energies(grid, sum->share, vectors, energies));
    for (int64_t j = 0; j < grid->n; j++) {
        variance += energies[j];
        p->centre[j] -= fit->centre[j];
    }
    out->variance = fmax(variance, 0.0);
    out->test_tokens = (int64_t)p->sums[grid->n];
    out->test_skipped = p->skipped;
    orth_outer_sum_finish(sum, 1.0, p->centre, 1.0);
    return orth_block_energies(grid, sum->share, vectors, energies);
}

/* The tested table against eigenvectors and mean of the fitted one. */
static orth_status test_other(pass *fit, orth_dataset *test, const orth_block_grid *grid,
                              const double *vectors, double *energies, orth_pca *out)
{
    pass p = {0};
    orth_outer_sum sum = {0};
    ORTH_TRY(pass_create(test, fit->sae, fit->skip, fit->world, &p));
    orth_status status = orth_outer_sum_create(grid, &sum);
    if (status == ORTH_OK)
        status = run(&p, &sum);
    orth_outer_sum_end_panels(&sum);
    if (status == ORTH_OK)
        status = find_energies(fit, &p, vectors, &sum, energies, out);
    orth_outer_sum_free(&sum);
    pass_free(&p);
    return status;
}

static orth_status fit_on(pass *p, orth_dataset *test, const orth_block_grid *grid,
                          orth_outer_sum *sum, orth_pca *out)
{
    int64_t d = grid->n;
    double *vectors = NULL, *energies = NULL;
    ORTH_TRY(orth_outer_sum_create(grid, sum));
    ORTH_TRY(run(p, sum));
    orth_outer_sum_end_panels(sum);
    to_covariance(p, sum);
    out->tokens = out->test_tokens = (int64_t)p->sums[d];
    out->skipped = out->test_skipped = p->skipped;
    orth_status status = ORTH_ALLOCATE(d + 1, "residuals", &out->residual);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(d, "energies", &energies);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(orth_block_share(grid), "eigenvectors", &vectors);
    status = orth_agree(grid->comm, status);
    if (status == ORTH_OK)
        status = orth_spectrum_of(sum, vectors, &out->covariance);
    orth_outer_sum_free(sum);
    for (int64_t j = 0; status == ORTH_OK && j < d; j++)
        energies[j] = out->covariance.eigenvalues[d - 1 - j];
    if (status == ORTH_OK && test)
        status = test_other(p, test, grid, vectors, energies, out);
    if (status == ORTH_OK) {
        add_tails(energies, d, test ? out->covariance.rank : d, out->residual);
        if (!test)
            out->variance = out->residual[0];
    }
    orth_free(vectors);
    orth_free(energies);
    return status;
}

orth_status orth_pca_fit(orth_dataset *fit, orth_dataset *test, const orth_sae *sae, bool skip,
                         MPI_Comm world, orth_pca *out)
{
    pass p = {0};
    orth_block_grid grid = {0};
    orth_outer_sum sum = {0};
    orth_pca pca = {0};
    if (test && orth_dataset_width(test) != orth_dataset_width(fit))
        return orth_fail(
            ORTH_ERR_DATA,
            "%s: tokens have %lld values, but %lld in %s; use activations of one layer",
            orth_dataset_file(test, 0), (long long)orth_dataset_width(test),
            (long long)orth_dataset_width(fit), orth_dataset_file(fit, 0));
    orth_status status = pass_create(fit, sae, skip, world, &p);
    if (status == ORTH_OK)
        status = orth_block_grid_create(orth_dataset_width(fit), world, &grid);
    if (status == ORTH_OK)
        status = fit_on(&p, test, &grid, &sum, &pca);
    orth_outer_sum_free(&sum);
    orth_block_grid_free(&grid);
    pass_free(&p);
    if (status == ORTH_OK)
        *out = pca;
    else
        orth_pca_free(&pca);
    return status;
}

double orth_pca_fvu(const orth_pca *pca, int64_t r)
{
    return pca->variance > 0.0 ? pca->residual[r] / pca->variance : NAN;
}

double orth_pca_mse(const orth_pca *pca, int64_t r)
{
    return pca->residual[r] / (double)pca->covariance.d;
}

void orth_pca_free(orth_pca *pca)
{
    orth_spectrum_free(&pca->covariance);
    orth_free(pca->residual);
    memset(pca, 0, sizeof *pca);
}
