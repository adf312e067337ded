#ifndef ORTHANT_IO_STREAM_H
#define ORTHANT_IO_STREAM_H

#include <orthant/io/dataset.h>
#include <orthant/par/partition.h>

/** Where the next unread token stands: `position` in the order of `epoch`. */
typedef struct orth_cursor {
    int64_t epoch;
    int64_t position;
} orth_cursor;

/**
 * The endless sequence of tokens (epoch after epoch, a batch may span epochs), of which this rank
 * reads a fixed part of every batch, ahead of time where the files allow it: contiguous datasets by
 * a thread that only calls pread on extents whose offsets HDF5 gave, others when asked.
 */
typedef struct orth_stream orth_stream;

typedef struct orth_stream_options {
    int64_t batch;    ///< tokens in the global batch
    orth_range reads; ///< indices in the batch that this rank reads
    int64_t seed;
    bool shuffle;       ///< false: rows in file order
    orth_cursor cursor; ///< the first token to read
    bool read_ahead;
} orth_stream_options;

/** What a read of one batch part found besides finite rows. */
typedef struct orth_nonfinite {
    int64_t count;     ///< rows with NaN or Inf in this rank's part
    int64_t first_row; ///< global row of the first such token in batch order, -1 when none
} orth_nonfinite;

/** Start. The dataset outlives the stream. Not collective. */
orth_status orth_stream_open(orth_dataset *dataset, const orth_stream_options *options,
                             orth_stream **out);

/**
 * The next batch's part: x (size of `reads`, d_model), and finite[i] false where row i holds NaN or
 * Inf (that row of x is then zero). Advances the cursor by `batch`. Not collective; status local.
 */
orth_status orth_stream_next(orth_stream *stream, float *x, bool *finite, orth_nonfinite *found);

/**
 * Agree what the ranks found in their parts of a batch: *count rows in all. Unless `skip`, any such
 * row is ORTH_ERR_DATA, which names the first of them and its file. Collective over `comm`; agreed.
 */
orth_status orth_nonfinite_agree(const orth_dataset *dataset, const orth_nonfinite *found,
                                 bool skip, MPI_Comm comm, int64_t *count);

/** Where the batch after the last one given starts. */
orth_cursor orth_stream_cursor(const orth_stream *stream);

/** Stop reading ahead and free. NULL is allowed. */
void orth_stream_close(orth_stream *stream);

#endif
