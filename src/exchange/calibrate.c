/* How often latents fire, and the thresholds at which they would fire as often by themselves. */
#include <orthant/exchange/calibrate.h>

#include <orthant/base/memory.h>
#include <orthant/eval/feed.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/par/end_job.h>
#include <orthant/sae/measure.h>

#include <float.h>
#include <math.h>
#include <string.h>

/* Values are told apart by their bits, which order as positive floats do, a digit at a time. */
enum { DIGIT_BITS = 8, DIGIT_VALUES = 1 << DIGIT_BITS, DIGITS = 4 };

/* Codes of a batch with every positive value in it should stay below so many entries. */
enum { ENTRIES_MOST = 1 << 24 };

/** What is done with the codes of each batch. */
typedef orth_status visit(void *context, const orth_workspace *workspace);

static orth_status visit_batches(const orth_sae *sae, orth_feed *feed, orth_workspace *workspace,
                                 visit *what, void *context)
{
    orth_feed_batch batch;
    for (;;) {
        ORTH_TRY(orth_feed_next(feed, workspace, &batch));
        if (batch.n_token == 0)
            return ORTH_OK;
        orth_status status = what(context, workspace);
        if (status != ORTH_OK)
            return orth_end_job(sae->grid->world, status);
    }
}

/* The codes of all rows, batch by batch. Collective; agreed. */
static orth_status visit_codes(const orth_sae *sae, orth_dataset *dataset,
                               const orth_calibrate_options *options, visit *what, void *context)
{
    orth_feed *feed = NULL;
    orth_workspace workspace = {0};
    int64_t rows = orth_dataset_rows(dataset);
    int64_t batch = options->batch < rows ? options->batch : rows;
    ORTH_TRY(orth_feed_open(dataset, sae, batch, options->skip, &feed));
    orth_status status = orth_workspace_create(sae, batch, false, &workspace);
    if (status == ORTH_OK)
        status = visit_batches(sae, feed, &workspace, what, context);
    orth_workspace_free(&workspace);
    orth_feed_close(feed);
    return status;
}

/* ---- firing ---- */

typedef struct firing_visit {
    orth_firing *firing;
    int64_t n_own;
} firing_visit;

static orth_status add_firing(void *context, const orth_workspace *workspace)
{
    const firing_visit *v = context;
    const orth_code *code = &workspace->code;
    orth_measure_fired(code, v->n_own, v->firing->fired);
    for (int64_t e = 0; e < orth_code_entries(code); e++)
        v->firing->square_sum[code->latent[e]] += (double)code->value[e] * (double)code->value[e];
    v->firing->tokens += workspace->batch.n_valid;
    return ORTH_OK;
}

orth_status orth_firing_measure(const orth_sae *sae, orth_dataset *dataset,
                                const orth_calibrate_options *options, orth_firing *out)
{
    orth_firing firing = {0};
    firing_visit v = {&firing, orth_range_size(sae->own)};
    orth_status status = ORTH_ALLOCATE(v.n_own, "firing counts", &firing.fired);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(v.n_own, "firing counts", &firing.square_sum);
    status = orth_agree(sae->grid->world, status);
    if (status == ORTH_OK)
        status = visit_codes(sae, dataset, options, add_firing, &v);
    if (status == ORTH_OK)
        status = orth_allreduce(firing.fired, v.n_own, MPI_INT64_T, MPI_SUM, sae->grid->peers);
    if (status == ORTH_OK)
        status = orth_sum_f64(firing.square_sum, v.n_own, sae->grid->peers);
    if (status == ORTH_OK && firing.tokens == 0)
        status = orth_fail(ORTH_ERR_DATA, "--data: no row is finite; give other files");
    if (status == ORTH_OK)
        *out = firing;
    else
        orth_firing_free(&firing);
    return status;
}

void orth_firing_free(orth_firing *firing)
{
    orth_free(firing->fired);
    orth_free(firing->square_sum);
    memset(firing, 0, sizeof *firing);
}

/* ---- order statistics ---- */

/** The search for the (c + 1)-th largest value of each column: a latent, or all of them. */
typedef struct search {
    int64_t n_column;
    bool together;
    MPI_Comm comm;    ///< over which a column's values are spread
    int shift;        ///< of the digit that is counted
    uint32_t *prefix; ///< (n_column) the digits found so far
    int64_t *rank;    ///< (n_column) among the values with that prefix; 0: there is no such value
    int64_t *count;   ///< (n_column, DIGIT_VALUES)
    uint32_t *above;  ///< (n_column) the least value above the one found
} search;

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float value_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static orth_status count_digits(void *context, const orth_workspace *workspace)
{
    search *s = context;
    const orth_code *code = &workspace->code;
    int fixed = s->shift + DIGIT_BITS;
    for (int64_t e = 0; e < orth_code_entries(code); e++) {
        int64_t column = s->together ? 0 : code->latent[e];
        uint32_t bits = bits_of(code->value[e]);
        if (fixed == 32 || bits >> fixed == s->prefix[column] >> fixed)
            s->count[column * DIGIT_VALUES + ((bits >> s->shift) & (DIGIT_VALUES - 1))]++;
    }
    return ORTH_OK;
}

static orth_status find_above(void *context, const orth_workspace *workspace)
{
    search *s = context;
    const orth_code *code = &workspace->code;
    for (int64_t e = 0; e < orth_code_entries(code); e++) {
        int64_t column = s->together ? 0 : code->latent[e];
        uint32_t bits = bits_of(code->value[e]);
        if (bits > s->prefix[column] && bits < s->above[column])
            s->above[column] = bits;
    }
    return ORTH_OK;
}

/* Take the digit in which the wanted value lies. */
static void narrow(search *s)
{
    for (int64_t i = 0; i < s->n_column; i++) {
        const int64_t *count = s->count + i * DIGIT_VALUES;
        int value = DIGIT_VALUES - 1;
        int64_t rank = s->rank[i];
        while (value >= 0 && rank > count[value])
            rank -= count[value--];
        if (value < 0 || s->rank[i] == 0) {
            s->rank[i] = 0;
            continue;
        }
        s->rank[i] = rank;
        s->prefix[i] |= (uint32_t)value << s->shift;
    }
}

static orth_status find_values(const orth_sae *relu, orth_dataset *dataset,
                               const orth_calibrate_options *options, search *s)
{
    for (s->shift = 32 - DIGIT_BITS; s->shift >= 0; s->shift -= DIGIT_BITS) {
        memset(s->count, 0, (size_t)(s->n_column * DIGIT_VALUES) * sizeof *s->count);
        ORTH_TRY(visit_codes(relu, dataset, options, count_digits, s));
        ORTH_TRY(
            orth_allreduce(s->count, s->n_column * DIGIT_VALUES, MPI_INT64_T, MPI_SUM, s->comm));
        narrow(s);
    }
    for (int64_t i = 0; i < s->n_column; i++)
        s->above[i] = bits_of(FLT_MAX);
    ORTH_TRY(visit_codes(relu, dataset, options, find_above, s));
    return orth_allreduce(s->above, s->n_column, MPI_UINT32_T, MPI_MIN, s->comm);
}

/* Half-way between the value found and the next above it. */
static float threshold_of(const search *s, int64_t column, int64_t fired)
{
    float low = value_of(s->prefix[column]), high = value_of(s->above[column]);
    if (fired == 0)
        return FLT_MAX;
    if (s->rank[column] == 0)
        return 0.0f;
    float middle = (float)(0.5 * ((double)low + (double)high));
    return middle < high ? middle : low;
}

static orth_status search_create(const orth_sae *sae, bool together, search *s)
{
    *s = (search){.n_column = together ? 1 : orth_range_size(sae->own),
                  .together = together,
                  .comm = together ? sae->grid->world : sae->grid->peers};
    ORTH_TRY(ORTH_ALLOCATE(s->n_column, "thresholds", &s->prefix));
    ORTH_TRY(ORTH_ALLOCATE(s->n_column, "thresholds", &s->rank));
    ORTH_TRY(ORTH_ALLOCATE(s->n_column, "thresholds", &s->above));
    return ORTH_ALLOCATE(s->n_column * DIGIT_VALUES, "thresholds", &s->count);
}

static void search_free(search *s)
{
    orth_free(s->prefix);
    orth_free(s->rank);
    orth_free(s->above);
    orth_free(s->count);
}

/* The same model with every positive pre-activation in its codes, in batches that fit. */
static orth_status as_relu(const orth_sae *sae, const orth_calibrate_options *options,
                           orth_sae *relu, orth_calibrate_options *how)
{
    int64_t most = ENTRIES_MOST / sae->recipe.n_latent + 1;
    *relu = *sae;
    *how = *options;
    if (how->batch > most * sae->grid->n_group)
        how->batch = most * sae->grid->n_group;
    relu->recipe.selection = ORTH_SELECT_JUMPRELU;
    relu->recipe.multi_k = 0;
    relu->threshold = NULL;
    return ORTH_ALLOCATE(orth_range_size(sae->own), "thresholds", &relu->threshold);
}

orth_status orth_calibrate(const orth_sae *sae, orth_dataset *dataset, const orth_firing *firing,
                           bool together, const orth_calibrate_options *options, float *threshold)
{
    search s;
    orth_sae relu;
    orth_calibrate_options how;
    int64_t n_own = orth_range_size(sae->own), total = 0;
    for (int64_t i = 0; i < n_own; i++)
        total += firing->fired[i];
    /* Of a token group's shards: its peers counted the same tokens. */
    ORTH_TRY(orth_allreduce(&total, 1, MPI_INT64_T, MPI_SUM, sae->grid->group));
    orth_status status = as_relu(sae, options, &relu, &how);
    orth_status created = search_create(sae, together, &s);
    status = orth_agree(sae->grid->world, status == ORTH_OK ? created : status);
    for (int64_t i = 0; i < s.n_column && status == ORTH_OK; i++)
        s.rank[i] = (together ? total : firing->fired[i]) + 1;
    if (status == ORTH_OK)
        status = find_values(&relu, dataset, &how, &s);
    for (int64_t i = 0; i < n_own && status == ORTH_OK; i++)
        threshold[i] =
            together ? threshold_of(&s, 0, total) : threshold_of(&s, i, firing->fired[i]);
    search_free(&s);
    orth_free(relu.threshold);
    return status;
}
