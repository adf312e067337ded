#include <orthant/eval/dictionary_match.h>

#include "alone.h"

#include <orthant/base/finite.h>
#include <orthant/base/memory.h>
#include <orthant/kern/match.h>
#include <orthant/par/agree.h>
#include <orthant/par/alive.h>
#include <orthant/par/collective.h>
#include <orthant/par/transfer.h>

#include <math.h>
#include <string.h>

/* Rows of B that travel at a time, and bins of the histogram. */
enum { BLOCK_ROWS = 1024, BINS = 128 };

/* The part of a dictionary that this rank answers for: every latent is one rank's. */
typedef struct own_part {
    int64_t n_latent;
    orth_match_rows rows;
    float *factor;
    orth_match_best *nearest;
} own_part;

typedef struct matching {
    MPI_Comm world;
    int rank, size;
    int64_t d;
    own_part a, b;
    float *visitor;           ///< (BLOCK_ROWS, d)
    float *visiting_factor;   ///< (BLOCK_ROWS)
    orth_match_best *answers; ///< (2, BLOCK_ROWS) for the visitors, and about the own rows
    orth_match_tiles tiles;
    orth_range *parts_of_b; ///< (size) of each rank
    int64_t blocks;         ///< of the largest part of B
} matching;

static orth_status check_rows(const orth_sae *sae, const float *rows, const char *which)
{
    int64_t d = sae->d_model;
    for (int64_t i = sae->part.begin; i < sae->part.end; i++)
        if (!orth_all_finite(rows + (i - sae->part.begin) * d, d))
            return orth_fail(ORTH_ERR_CORRUPT,
                             "model %s: latent %lld has weights that are NaN or infinite; use an "
                             "earlier checkpoint",
                             which, (long long)i);
    return ORTH_OK;
}

static orth_status part_create(const orth_sae *sae, bool encoder, const char *which, own_part *out)
{
    int64_t d = sae->d_model, n_row = orth_range_size(sae->part);
    const float *rows = encoder ? sae->weights.W_enc : sae->weights.W_dec;
    rows += (sae->part.begin - sae->own.begin) * d;
    out->n_latent = sae->recipe.n_latent;
    ORTH_TRY(check_rows(sae, rows, which));
    ORTH_TRY(ORTH_ALLOCATE(n_row, "lengths of latents", &out->factor));
    ORTH_TRY(ORTH_ALLOCATE(n_row, "nearest latents", &out->nearest));
    orth_match_factors(rows, n_row, d, out->factor);
    for (int64_t i = 0; i < n_row; i++)
        out->nearest[i] = ORTH_MATCH_NONE;
    out->rows = (orth_match_rows){rows, out->factor, n_row, sae->part.begin};
    return ORTH_OK;
}

static void part_free(own_part *part)
{
    orth_free(part->factor);
    orth_free(part->nearest);
}

static orth_status allocate(matching *m, const orth_sae *a, const orth_sae *b, bool encoder)
{
    ORTH_TRY(part_create(a, encoder, "A", &m->a));
    ORTH_TRY(part_create(b, encoder, "B", &m->b));
    ORTH_TRY(ORTH_ALLOCATE(BLOCK_ROWS * m->d, "visiting rows", &m->visitor));
    ORTH_TRY(ORTH_ALLOCATE(BLOCK_ROWS, "lengths of latents", &m->visiting_factor));
    ORTH_TRY(ORTH_ALLOCATE(2 * BLOCK_ROWS, "nearest latents", &m->answers));
    ORTH_TRY(ORTH_ALLOCATE(m->size, "parts", &m->parts_of_b));
    return orth_match_create(m->a.rows.count, BLOCK_ROWS, &m->tiles);
}

static orth_status gather_parts(matching *m, const orth_sae *b)
{
    int64_t counts[m->size];
    for (int r = 0; r < m->size; r++)
        counts[r] = 1;
    ORTH_TRY(orth_allgather(&b->part, counts, sizeof b->part, m->parts_of_b, m->world));
    for (int r = 0; r < m->size; r++) {
        int64_t rows = orth_range_size(m->parts_of_b[r]);
        int64_t blocks = orth_partition_largest(rows, BLOCK_ROWS);
        m->blocks = blocks > m->blocks ? blocks : m->blocks;
    }
    return ORTH_OK;
}

static orth_range block_of(orth_range part, int64_t block)
{
    int64_t begin = part.begin + block * BLOCK_ROWS, end = begin + BLOCK_ROWS;
    return (orth_range){begin < part.end ? begin : part.end, end < part.end ? end : part.end};
}

/* `send` goes to rank `to`, `receive` comes from rank `from`. */
static orth_status swap(matching *m, const void *send, int64_t out, int to, void *receive,
                        int64_t in, int from)
{
    orth_transfer transfer = {.comm = m->world};
    orth_status status = orth_transfer_receive(&transfer, receive, in, from, 0);
    if (status == ORTH_OK)
        status = orth_transfer_send(&transfer, send, out, to, 0);
    orth_status finished = orth_transfer_finish(&transfer);
    orth_transfer_free(&transfer);
    return status == ORTH_OK ? finished : status;
}

/* The own part of A against block `b` of the part of B `offset` ranks after: the rows come, the
 * answers go back to their owner. */
static orth_status match_block(matching *m, int offset, int64_t b)
{
    int from = (m->rank + offset) % m->size, to = (m->rank - offset + m->size) % m->size;
    orth_range out = block_of(m->parts_of_b[m->rank], b), in = block_of(m->parts_of_b[from], b);
    int64_t n_out = orth_range_size(out), n_in = orth_range_size(in);
    int64_t row_bytes = m->d * (int64_t)sizeof(float);
    int64_t place = out.begin - m->parts_of_b[m->rank].begin;
    orth_match_best *own = m->b.nearest + place;
    orth_match_rows visitors = {m->b.rows.w + place * m->d, m->b.rows.factor + place, n_in,
                                in.begin};
    if (offset == 0) {
        orth_match_add(&m->a.rows, &visitors, m->d, &m->tiles, m->a.nearest, own);
        return ORTH_OK;
    }
    ORTH_TRY(swap(m, visitors.w, n_out * row_bytes, to, m->visitor, n_in * row_bytes, from));
    orth_match_factors(m->visitor, n_in, m->d, m->visiting_factor);
    visitors.w = m->visitor;
    visitors.factor = m->visiting_factor;
    orth_match_best *theirs = m->answers, *ours = m->answers + BLOCK_ROWS;
    for (int64_t j = 0; j < n_in; j++)
        theirs[j] = ORTH_MATCH_NONE;
    orth_match_add(&m->a.rows, &visitors, m->d, &m->tiles, m->a.nearest, theirs);
    int64_t size = (int64_t)sizeof *ours;
    ORTH_TRY(swap(m, theirs, n_in * size, from, ours, n_out * size, to));
    for (int64_t j = 0; j < n_out; j++)
        if (ours[j].cosine > own[j].cosine ||
            (ours[j].cosine == own[j].cosine && ours[j].row < own[j].row))
            own[j] = ours[j];
    return ORTH_OK;
}

static orth_status match_all(matching *m)
{
    for (int offset = 0; offset < m->size; offset++)
        for (int64_t b = 0; b < m->blocks; b++) {
            ORTH_TRY(match_block(m, offset, b));
            orth_alive();
        }
    return ORTH_OK;
}

/* ---- what was found ---- */

/* Quantiles are of values that are not negative: 1 + cosine. */
static orth_status take_quantiles(const own_part *part, MPI_Comm world, orth_match *out)
{
    static const double shares[] = {0.05, 0.25, 0.5, 0.75, 0.95};
    enum { MOST_EXACT = 1 << 24 };
    orth_values values = {0};
    orth_status status =
        orth_values_create(part->rows.count, part->n_latent <= MOST_EXACT, &values);
    ORTH_TRY(orth_agree(world, status));
    for (int64_t i = 0; i < part->rows.count; i++)
        orth_values_add(&values, fmax(0.0, 1.0 + part->nearest[i].cosine));
    status = orth_alone(world, orth_values_quantiles(&values, shares, 5, world, out->quantiles));
    orth_values_free(&values);
    for (int q = 0; q < 5; q++)
        out->quantiles[q] -= 1.0;
    return status;
}

static orth_status summarise(const own_part *part, MPI_Comm world, orth_match *out)
{
    double sum = 0.0, extremes[2] = {-INFINITY, -INFINITY}; /* of -cosine and cosine */
    int64_t above[2] = {0, 0};
    out->n_latent = part->n_latent;
    orth_status status = orth_histogram_create(-1.0, 2.0 / BINS, BINS, &out->histogram);
    ORTH_TRY(orth_agree(world, status));
    for (int64_t i = 0; i < part->rows.count; i++) {
        double cosine = part->nearest[i].cosine;
        sum += cosine;
        extremes[0] = fmax(extremes[0], -cosine);
        extremes[1] = fmax(extremes[1], cosine);
        above[0] += cosine > 0.7;
        above[1] += cosine > 0.9;
        orth_histogram_add(&out->histogram, cosine);
    }
    ORTH_TRY(orth_alone(world, orth_sum_f64(&sum, 1, world)));
    ORTH_TRY(orth_alone(world, orth_allreduce(extremes, 2, MPI_DOUBLE, MPI_MAX, world)));
    ORTH_TRY(orth_alone(world, orth_allreduce(above, 2, MPI_INT64_T, MPI_SUM, world)));
    ORTH_TRY(orth_alone(world,
                        orth_allreduce(out->histogram.counts, BINS, MPI_INT64_T, MPI_SUM, world)));
    out->mean = sum / (double)part->n_latent;
    out->min = -extremes[0];
    out->max = extremes[1];
    out->above_07 = above[0];
    out->above_09 = above[1];
    return take_quantiles(part, world, out);
}

/* Every rank's nearest latents, in the order of the latents, on rank 0. */
static orth_status gather_each(const own_part *part, const matching *m, orth_match_best *all)
{
    orth_transfer transfer = {.comm = m->world};
    int64_t own[2] = {part->rows.first, part->rows.count}, places[2 * m->size], counts[m->size];
    for (int r = 0; r < m->size; r++)
        counts[r] = 1;
    ORTH_TRY(orth_allgather(own, counts, sizeof own, places, m->world));
    int64_t size = (int64_t)sizeof *all;
    for (int r = 1; m->rank == 0 && r < m->size; r++)
        ORTH_TRY(
            orth_transfer_receive(&transfer, all + places[2 * r], places[2 * r + 1] * size, r, 0));
    if (m->rank == 0)
        memcpy(all + own[0], part->nearest, (size_t)(own[1] * size));
    else
        ORTH_TRY(orth_transfer_send(&transfer, part->nearest, own[1] * size, 0, 0));
    orth_status status = orth_transfer_finish(&transfer);
    orth_transfer_free(&transfer);
    return status;
}

static orth_status take_each(const own_part *part, const matching *m, orth_match *out)
{
    orth_match_best *all = NULL;
    int64_t count = m->rank == 0 ? part->n_latent : 0;
    orth_status status = ORTH_ALLOCATE(count, "nearest latents", &all);
    if (status == ORTH_OK && m->rank == 0)
        status = ORTH_ALLOCATE(count, "nearest latents", &out->nearest);
    if (status == ORTH_OK && m->rank == 0)
        status = ORTH_ALLOCATE(count, "nearest latents", &out->cosines);
    status = orth_agree(m->world, status);
    if (status == ORTH_OK)
        status = orth_alone(m->world, gather_each(part, m, all));
    for (int64_t i = 0; status == ORTH_OK && i < count; i++) {
        out->nearest[i] = all[i].row;
        out->cosines[i] = all[i].cosine;
    }
    orth_free(all);
    return status;
}

static orth_status measure(matching *m, const orth_sae *b, bool each, orth_dictionary_match *out)
{
    ORTH_TRY(orth_alone(m->world, gather_parts(m, b)));
    ORTH_TRY(orth_alone(m->world, match_all(m)));
    ORTH_TRY(summarise(&m->a, m->world, &out->a_to_b));
    ORTH_TRY(summarise(&m->b, m->world, &out->b_to_a));
    if (!each)
        return ORTH_OK;
    ORTH_TRY(take_each(&m->a, m, &out->a_to_b));
    return take_each(&m->b, m, &out->b_to_a);
}

orth_status orth_dictionary_match_measure(const orth_sae *a, const orth_sae *b, bool encoder,
                                          bool each, orth_dictionary_match *out)
{
    matching m = {
        .world = a->grid->world, .rank = a->grid->rank, .size = a->grid->size, .d = a->d_model};
    orth_dictionary_match found = {0};
    if (a->d_model != b->d_model)
        return orth_fail(ORTH_ERR_USAGE,
                         "dictionaries of %lld and %lld dimensions cannot be compared; give models "
                         "of one layer of one language model",
                         (long long)a->d_model, (long long)b->d_model);
    orth_status status = orth_agree(m.world, allocate(&m, a, b, encoder));
    if (status == ORTH_OK)
        status = measure(&m, b, each, &found);
    part_free(&m.a);
    part_free(&m.b);
    orth_free(m.visitor);
    orth_free(m.visiting_factor);
    orth_free(m.answers);
    orth_free(m.parts_of_b);
    orth_match_free(&m.tiles);
    if (status == ORTH_OK)
        *out = found;
    else
        orth_dictionary_match_free(&found);
    return status;
}

void orth_dictionary_match_free(orth_dictionary_match *match)
{
    orth_match *ways[] = {&match->a_to_b, &match->b_to_a};
    for (int i = 0; i < 2; i++) {
        orth_histogram_free(&ways[i]->histogram);
        orth_free(ways[i]->nearest);
        orth_free(ways[i]->cosines);
    }
    memset(match, 0, sizeof *match);
}
