#include <orthant/eval/geometry.h>

#include "alone.h"
#include "frame.h"
#include "row_sums.h"
#include "shard_block.h"

#include <orthant/base/memory.h>
#include <orthant/kern/gram.h>
#include <orthant/kern/norm.h>
#include <orthant/par/agree.h>
#include <orthant/par/alive.h>
#include <orthant/par/collective.h>

#include <math.h>
#include <stddef.h>
#include <string.h>

typedef struct survey {
    const orth_sae *sae;
    float *visitor;         ///< (ORTH_SHARD_BLOCK, d) a block of another shard
    float *factor;          ///< (n_own) 1 / |w_i|, 0 for a row of zeros; NULL: cosines not wanted
    float *visiting_factor; ///< (ORTH_SHARD_BLOCK) of the visitors
    orth_gram_tiles tiles;
    orth_gram_survey found;
} survey;

static void set_factors(const float *rows, int64_t n_row, int64_t d, float *factor)
{
    for (int64_t i = 0; i < n_row; i++) {
        double square = orth_dot_f64(rows + i * d, rows + i * d, d);
        factor[i] = square > 0.0 ? (float)(1.0 / sqrt(square)) : 0.0f;
    }
}

/* The first `count` rows of the own shard from `begin` on. */
static orth_gram_rows own_rows(const survey *s, int64_t begin, int64_t count)
{
    return (orth_gram_rows){.w = s->sae->weights.W_dec + begin * s->sae->d_model,
                            .factor = s->factor ? s->factor + begin : NULL,
                            .count = count,
                            .first = s->sae->own.begin + begin};
}

/* The own shard against itself: pairs with the lower latent first. */
static void add_own(survey *s)
{
    const orth_sae *sae = s->sae;
    for (int64_t b = 0; b < orth_shard_blocks(sae); b++) {
        orth_range rows = orth_shard_block(sae, sae->grid->shard_index, b);
        int64_t begin = rows.begin - sae->own.begin, count = orth_range_size(rows);
        if (count == 0)
            continue;
        orth_gram_rows before = own_rows(s, 0, begin + count);
        orth_gram_rows block = own_rows(s, begin, count);
        orth_gram_add(&before, &block, sae->d_model, begin, sae->grid->group_index,
                      sae->grid->n_group, &s->tiles, &s->found);
        orth_alive();
    }
}

/*
 * The own shard against the one `offset` places after. Opposite shards meet twice: the lower one
 * takes the first half of its own rows, the higher one the other half of those that visit.
 */
static orth_status add_other(survey *s, int offset)
{
    const orth_sae *sae = s->sae;
    const orth_grid *grid = sae->grid;
    int from = (grid->shard_index + offset) % grid->n_shard;
    bool twice = 2 * offset == grid->n_shard, lower = grid->shard_index < from;
    orth_range shard = orth_partition(sae->recipe.n_latent, grid->n_shard, from);
    int64_t d = sae->d_model, n_own = orth_range_size(sae->own);
    int64_t first = shard.begin + (twice && !lower ? orth_range_size(shard) / 2 : 0);
    orth_gram_rows own = own_rows(s, 0, twice && lower ? n_own / 2 : n_own);
    for (int64_t b = 0; b < orth_shard_blocks(sae); b++) {
        orth_range rows;
        ORTH_TRY(orth_shard_exchange(sae, offset, b, s->visitor, &rows));
        int64_t begin = rows.begin < first ? first : rows.begin;
        if (begin < rows.end && own.count > 0) {
            orth_gram_rows visitors = {.w = s->visitor + (begin - rows.begin) * d,
                                       .factor = s->visiting_factor,
                                       .count = rows.end - begin,
                                       .first = begin};
            if (s->factor)
                set_factors(visitors.w, visitors.count, d, s->visiting_factor);
            orth_gram_add(&own, &visitors, d, own.count, grid->group_index, grid->n_group,
                          &s->tiles, &s->found);
        }
        orth_alive();
    }
    return ORTH_OK;
}

/* The greatest of all ranks; of equal ones that of the lowest latents. */
static orth_status agree_peak(const orth_gram_peak *own, MPI_Comm world, double *value,
                              int64_t *pair)
{
    bool swap = own->a > own->b;
    int64_t i = swap ? own->b : own->a, j = swap ? own->a : own->b;
    *value = own->value;
    ORTH_TRY(orth_allreduce(value, 1, MPI_DOUBLE, MPI_MAX, world));
    pair[0] = own->a >= 0 && own->value == *value ? i : INT64_MAX;
    ORTH_TRY(orth_allreduce(&pair[0], 1, MPI_INT64_T, MPI_MIN, world));
    pair[1] = own->a >= 0 && own->value == *value && i == pair[0] ? j : INT64_MAX;
    return orth_allreduce(&pair[1], 1, MPI_INT64_T, MPI_MIN, world);
}

static orth_status agree_gram(orth_gram *gram, const orth_sae *sae, orth_coherence *out)
{
    double n = (double)sae->recipe.n_latent;
    MPI_Comm world = sae->grid->world;
    ORTH_TRY(agree_peak(&gram->max, world, &out->max, out->max_pair));
    ORTH_TRY(agree_peak(&gram->max_abs, world, &out->max_abs, out->max_abs_pair));
    ORTH_TRY(orth_sum_f64(&gram->sum_abs, 1, world));
    out->mean_abs = gram->sum_abs / (0.5 * n * (n - 1.0));
    return ORTH_OK;
}

/* Multiply all pairs; afterwards `found` holds what this rank did. */
static orth_status add_pairs(const orth_sae *sae, survey *s)
{
    int64_t n_own = orth_range_size(sae->own);
    if (s->factor)
        set_factors(sae->weights.W_dec, n_own, sae->d_model, s->factor);
    add_own(s);
    for (int offset = 1; 2 * offset <= sae->grid->n_shard; offset++)
        ORTH_TRY(add_other(s, offset));
    return ORTH_OK;
}

static orth_status survey_create(const orth_sae *sae, bool cosines, survey *out)
{
    int64_t largest = orth_partition_largest(sae->recipe.n_latent, sae->grid->n_shard);
    *out = (survey){.sae = sae, .found = ORTH_GRAM_SURVEY_NONE};
    orth_status status =
        ORTH_ALLOCATE(ORTH_SHARD_BLOCK * sae->d_model, "visiting rows", &out->visitor);
    if (status == ORTH_OK && cosines)
        status = ORTH_ALLOCATE(orth_range_size(sae->own), "lengths of latents", &out->factor);
    if (status == ORTH_OK && cosines)
        status = ORTH_ALLOCATE(ORTH_SHARD_BLOCK, "lengths of latents", &out->visiting_factor);
    if (status == ORTH_OK)
        status = orth_gram_create(largest, ORTH_SHARD_BLOCK, &out->tiles);
    return orth_agree(sae->grid->world, status);
}

static void survey_free(survey *s)
{
    orth_gram_free(&s->tiles);
    orth_free(s->visiting_factor);
    orth_free(s->factor);
    orth_free(s->visitor);
}

static double welch_bound(const orth_sae *sae)
{
    double n = (double)sae->recipe.n_latent, d = (double)sae->d_model;
    return n > d && n > 1.0 ? sqrt((n - d) / (d * (n - 1.0))) : 0.0;
}

orth_status orth_coherence_measure(const orth_sae *sae, orth_coherence *out)
{
    survey s;
    orth_row_sums sums;
    orth_coherence found = {
        .welch = welch_bound(sae), .max_pair = {-1, -1}, .max_abs_pair = {-1, -1}};
    if (sae->recipe.n_latent < 2) {
        *out = found;
        return ORTH_OK;
    }
    ORTH_TRY(orth_row_sums_measure(sae, false, &sums));
    orth_status status = survey_create(sae, false, &s);
    if (status == ORTH_OK)
        status = add_pairs(sae, &s);
    if (status == ORTH_OK)
        status = agree_gram(&s.found.plain, sae, &found);
    survey_free(&s);
    found.mean = sums.mean;
    if (status == ORTH_OK)
        *out = found;
    return status;
}

static orth_status add_and_agree(const orth_sae *sae, survey *s, orth_geometry *out)
{
    ORTH_TRY(add_pairs(sae, s));
    ORTH_TRY(agree_gram(&s->found.plain, sae, &out->stored));
    ORTH_TRY(agree_gram(&s->found.scaled, sae, &out->unit));
    memcpy(out->cosines.counts, s->found.bins, sizeof s->found.bins);
    return orth_allreduce(out->cosines.counts, ORTH_GRAM_BINS, MPI_INT64_T, MPI_SUM,
                          sae->grid->world);
}

static orth_status measure_pairs(const orth_sae *sae, orth_geometry *out)
{
    survey s;
    orth_status status = survey_create(sae, true, &s);
    if (status == ORTH_OK)
        status = orth_alone(sae->grid->world, add_and_agree(sae, &s, out));
    survey_free(&s);
    return status;
}

static orth_coherence coherence_of(const orth_sae *sae, double mean, bool pairs)
{
    double unknown = pairs ? 0.0 : NAN;
    return (orth_coherence){.max = unknown,
                            .mean = mean,
                            .max_abs = unknown,
                            .mean_abs = unknown,
                            .welch = welch_bound(sae),
                            .max_pair = {-1, -1},
                            .max_abs_pair = {-1, -1}};
}

orth_status orth_geometry_measure(const orth_sae *sae, bool pairs, orth_geometry *out)
{
    orth_row_sums sums;
    ORTH_TRY(orth_frame_check(sae, false));
    ORTH_TRY(orth_row_sums_measure(sae, true, &sums));
    orth_geometry found = {.stored = coherence_of(sae, sums.mean, pairs),
                           .unit = coherence_of(sae, sums.mean_unit, pairs),
                           .mean_square = sums.mean_square,
                           .mean_square_unit = sums.mean_square_unit,
                           .pairs = pairs,
                           .norm_min = sums.norm_min,
                           .norm_mean = sums.norm_mean,
                           .norm_max = sums.norm_max,
                           .zero_rows = sums.zero_rows};
    orth_status status = orth_histogram_create(-1.0, 2.0 / ORTH_GRAM_BINS,
                                               pairs ? ORTH_GRAM_BINS : 0, &found.cosines);
    status = orth_agree(sae->grid->world, status);
    if (status == ORTH_OK && pairs && sae->recipe.n_latent > 1)
        status = measure_pairs(sae, &found);
    if (status == ORTH_OK)
        *out = found;
    else
        orth_geometry_free(&found);
    return status;
}

void orth_geometry_free(orth_geometry *geometry)
{
    orth_histogram_free(&geometry->cosines);
    memset(geometry, 0, sizeof *geometry);
}
