#include "rows.h"

#include <orthant/base/fault.h>
#include <orthant/base/memory.h>
#include <orthant/io/shuffle.h>
#include <orthant/io/stream.h>
#include <orthant/par/collective.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

/* Who may touch reader, rows and raw. The main thread hands them over and waits to get them back.
 */
typedef enum turn { TURN_MAIN, TURN_READER, TURN_STOP } turn;

struct orth_stream {
    orth_dataset *dataset;
    orth_stream_options options;
    orth_cursor cursor; ///< first token of the next batch to give
    int64_t count;      ///< rows of a part
    orth_rows *reader;
    int64_t *rows;      ///< (count) global rows of the part
    unsigned char *raw; ///< (count, stride) when reading ahead
    orth_rows_fault fault;
    bool ahead;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    turn turn;
};

/* The global rows of this rank's part of the batch that starts at the cursor. */
static void list_rows(orth_stream *stream)
{
    int64_t total = stream->dataset->rows, epoch = -1;
    orth_shuffle order = {0};
    for (int64_t i = 0; i < stream->count; i++) {
        int64_t position = stream->cursor.position + stream->options.reads.begin + i;
        int64_t its_epoch = stream->cursor.epoch + position / total;
        if (its_epoch != epoch) {
            epoch = its_epoch;
            order =
                orth_shuffle_create(total, stream->options.seed, epoch, stream->options.shuffle);
        }
        stream->rows[i] = orth_shuffle_row(&order, position % total);
    }
}

static void keep_raw(void *context, int64_t index, int64_t row, const unsigned char *raw)
{
    orth_stream *stream = context;
    const orth_table_file *file = orth_table_find(stream->dataset, row);
    memcpy(stream->raw + index * stream->dataset->stride, raw,
           (size_t)(stream->dataset->d_model * file->element_size));
}

/* ---- the thread: preads, nothing of MPI or HDF5, records no error ---- */

static void *read_ahead(void *context)
{
    orth_stream *stream = context;
    pthread_mutex_lock(&stream->mutex);
    for (;;) {
        while (stream->turn == TURN_MAIN)
            pthread_cond_wait(&stream->changed, &stream->mutex);
        if (stream->turn == TURN_STOP)
            break;
        pthread_mutex_unlock(&stream->mutex);
        list_rows(stream);
        orth_rows_fault fault =
            orth_rows_fetch(stream->reader, stream->rows, stream->count, keep_raw, stream);
        pthread_mutex_lock(&stream->mutex);
        stream->fault = fault;
        if (stream->turn == TURN_READER)
            stream->turn = TURN_MAIN;
        pthread_cond_signal(&stream->changed);
    }
    pthread_mutex_unlock(&stream->mutex);
    return NULL;
}

static void give_turn(orth_stream *stream, turn next)
{
    pthread_mutex_lock(&stream->mutex);
    stream->turn = next;
    pthread_cond_signal(&stream->changed);
    pthread_mutex_unlock(&stream->mutex);
}

static void wait_for_turn(orth_stream *stream)
{
    pthread_mutex_lock(&stream->mutex);
    while (stream->turn != TURN_MAIN)
        pthread_cond_wait(&stream->changed, &stream->mutex);
    pthread_mutex_unlock(&stream->mutex);
}

static orth_status start_thread(orth_stream *stream)
{
    ORTH_TRY(orth_allocate(stream->count, stream->dataset->stride, "read-ahead buffer",
                           (void **)&stream->raw));
    pthread_mutex_init(&stream->mutex, NULL);
    pthread_cond_init(&stream->changed, NULL);
    stream->turn = TURN_READER;
    /* Signals are for the main thread. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = orth_fault_fails("stream.thread")
                   ? errno
                   : pthread_create(&stream->thread, NULL, read_ahead, stream);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code != 0)
        return orth_fail(ORTH_ERR_ENVIRONMENT,
                         "the read-ahead thread cannot start: %s; raise the limit of processes "
                         "(ulimit -u)",
                         strerror(code));
    stream->ahead = true;
    return ORTH_OK;
}

/* ---- the stream ---- */

orth_status orth_stream_open(orth_dataset *dataset, const orth_stream_options *options,
                             orth_stream **out)
{
    orth_stream *stream = NULL;
    ORTH_TRY(ORTH_ALLOCATE(1, "token stream", &stream));
    stream->dataset = dataset;
    stream->options = *options;
    stream->cursor = options->cursor;
    stream->count = orth_range_size(options->reads);
    orth_status status = orth_rows_create(dataset, stream->count, &stream->reader);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(stream->count, "rows of a batch", &stream->rows);
    if (status == ORTH_OK && options->read_ahead && dataset->plain && stream->count > 0)
        status = start_thread(stream);
    if (status != ORTH_OK) {
        orth_stream_close(stream);
        return status;
    }
    *out = stream;
    return ORTH_OK;
}

void orth_stream_close(orth_stream *stream)
{
    if (!stream)
        return;
    if (stream->ahead) {
        give_turn(stream, TURN_STOP);
        pthread_join(stream->thread, NULL);
    }
    orth_rows_free(stream->reader);
    orth_free(stream->rows);
    orth_free(stream->raw);
    orth_free(stream);
}

typedef struct batch_part {
    const orth_stream *stream;
    float *x;
    bool *finite;
    bool spoil; ///< a fault: the first row holds a NaN
} batch_part;

static void convert_row(void *context, int64_t index, int64_t row, const unsigned char *raw)
{
    const batch_part *part = context;
    const orth_dataset *dataset = part->stream->dataset;
    float *x = part->x + index * dataset->d_model;
    part->finite[index] =
        orth_rows_convert(orth_table_find(dataset, row), raw, dataset->d_model, x) &&
        !(part->spoil && index == 0);
    if (!part->finite[index])
        memset(x, 0, (size_t)dataset->d_model * sizeof *x);
}

static orth_nonfinite count_nonfinite(const orth_stream *stream, const bool *finite)
{
    orth_nonfinite found = {.count = 0, .first_row = -1};
    for (int64_t i = 0; i < stream->count; i++)
        if (!finite[i] && found.count++ == 0)
            found.first_row = stream->rows[i];
    return found;
}

orth_status orth_stream_next(orth_stream *stream, float *x, bool *finite, orth_nonfinite *found)
{
    batch_part part = {stream, x, finite, orth_fault("batch") == ORTH_FAULT_NAN};
    if (stream->ahead) {
        wait_for_turn(stream);
        ORTH_TRY(orth_rows_status(stream->dataset, stream->fault));
        for (int64_t i = 0; i < stream->count; i++)
            convert_row(&part, i, stream->rows[i], stream->raw + i * stream->dataset->stride);
    } else {
        list_rows(stream);
        ORTH_TRY(
            orth_rows_status(stream->dataset, orth_rows_fetch(stream->reader, stream->rows,
                                                              stream->count, convert_row, &part)));
    }
    *found = count_nonfinite(stream, finite);
    int64_t position = stream->cursor.position + stream->options.batch;
    stream->cursor.epoch += position / stream->dataset->rows;
    stream->cursor.position = position % stream->dataset->rows;
    if (stream->ahead)
        give_turn(stream, TURN_READER);
    return ORTH_OK;
}

orth_cursor orth_stream_cursor(const orth_stream *stream)
{
    return stream->cursor;
}

orth_status orth_nonfinite_agree(const orth_dataset *dataset, const orth_nonfinite *found,
                                 bool skip, MPI_Comm comm, int64_t *count)
{
    int64_t first = found->count > 0 ? found->first_row : INT64_MAX, in_file;
    *count = found->count;
    ORTH_TRY(orth_allreduce(count, 1, MPI_INT64_T, MPI_SUM, comm));
    if (*count == 0 || skip)
        return ORTH_OK;
    ORTH_TRY(orth_allreduce(&first, 1, MPI_INT64_T, MPI_MIN, comm));
    const char *path = orth_dataset_locate(dataset, first, &in_file);
    return orth_fail(ORTH_ERR_DATA,
                     "%s: row %lld holds NaN or Inf (%lld such rows in its batch); clean the data, "
                     "or set data.nonfinite=skip",
                     path, (long long)in_file, (long long)*count);
}
