#include <orthant/eval/feed.h>

#include <orthant/base/memory.h>
#include <orthant/par/agree.h>
#include <orthant/par/alive.h>
#include <orthant/par/collective.h>
#include <orthant/par/end_job.h>

#include <stddef.h>

struct orth_feed {
    orth_dataset *dataset;
    const orth_sae *sae;
    int64_t batch;
    int64_t rows;
    int64_t next_row;
    int64_t skipped;
    bool skip;
    orth_stream *stream; ///< for batches of one size: the last, shorter one needs another
};

orth_status orth_feed_check_width(const orth_dataset *dataset, const orth_sae *sae)
{
    int64_t in_file;
    if (orth_dataset_width(dataset) == sae->d_model)
        return ORTH_OK;
    return orth_fail(ORTH_ERR_DATA,
                     "%s: tokens have %lld values, the model takes %lld; use activations of the "
                     "layer that it was trained on",
                     orth_dataset_locate(dataset, 0, &in_file),
                     (long long)orth_dataset_width(dataset), (long long)sae->d_model);
}

static orth_status open_stream(orth_feed *feed, int64_t batch)
{
    orth_stream_options options = {
        .batch = batch,
        .reads = orth_grid_reads(feed->sae->grid, batch),
        .cursor = {.position = feed->next_row},
        .read_ahead = batch < feed->rows - feed->next_row,
    };
    orth_stream_close(feed->stream);
    feed->stream = NULL;
    return orth_stream_open(feed->dataset, &options, &feed->stream);
}

static int64_t size_of_next(const orth_feed *feed)
{
    int64_t left = feed->rows - feed->next_row;
    return left < feed->batch ? left : feed->batch;
}

orth_status orth_feed_open(orth_dataset *dataset, const orth_sae *sae, int64_t batch, bool skip,
                           orth_feed **out)
{
    orth_feed *feed = NULL;
    orth_status status = orth_feed_check_width(dataset, sae);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(1, "feed", &feed);
    if (status == ORTH_OK) {
        *feed = (orth_feed){.dataset = dataset,
                            .sae = sae,
                            .batch = batch,
                            .rows = orth_dataset_rows(dataset),
                            .skip = skip};
        status = open_stream(feed, size_of_next(feed));
    }
    status = orth_agree(sae->grid->world, status);
    if (status == ORTH_OK)
        *out = feed;
    else
        orth_feed_close(feed);
    return status;
}

static orth_status read_part(orth_feed *feed, int64_t size, orth_workspace *workspace,
                             orth_nonfinite *found)
{
    const orth_sae *sae = feed->sae;
    bool *valid;
    float *x = orth_workspace_rows(workspace, sae, size, &valid);
    if (size < feed->batch && feed->next_row > 0)
        ORTH_TRY(open_stream(feed, size));
    ORTH_TRY(orth_stream_next(feed->stream, x, valid, found));
    orth_input_normalise(sae->recipe.input, sae->input_scale,
                         orth_range_size(orth_grid_reads(sae->grid, size)), sae->d_model, x);
    return ORTH_OK;
}

orth_status orth_feed_next(orth_feed *feed, orth_workspace *workspace, orth_feed_batch *out)
{
    int64_t size = size_of_next(feed);
    orth_nonfinite found = {.first_row = -1};
    orth_status status = ORTH_OK;
    if (size > 0)
        status = read_part(feed, size, workspace, &found);
    ORTH_TRY(orth_agree(feed->sae->grid->world, status));
    int64_t count = 0;
    ORTH_TRY(
        orth_nonfinite_agree(feed->dataset, &found, feed->skip, feed->sae->grid->world, &count));
    feed->skipped += count;
    *out = (orth_feed_batch){.first_row = feed->next_row, .n_token = size};
    feed->next_row += size;
    orth_alive();
    if (size > 0)
        status = orth_forward(feed->sae, size, workspace, NULL);
    return status == ORTH_OK ? status : orth_end_job(feed->sae->grid->world, status);
}

int64_t orth_feed_skipped(const orth_feed *feed)
{
    return feed->skipped;
}

void orth_feed_close(orth_feed *feed)
{
    if (!feed)
        return;
    orth_stream_close(feed->stream);
    orth_free(feed);
}
