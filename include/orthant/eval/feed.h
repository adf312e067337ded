#ifndef ORTHANT_EVAL_FEED_H
#define ORTHANT_EVAL_FEED_H

#include <orthant/io/stream.h>
#include <orthant/sae/step.h>

#include <stdbool.h>

/** A table, once from its first row to its last, in batches of consecutive rows; the last batch has
 * what is left. */
typedef struct orth_feed orth_feed;

/** A batch of the feed. */
typedef struct orth_feed_batch {
    int64_t first_row; ///< in the table
    int64_t n_token;   ///< in the global batch; 0: the table has ended
} orth_feed_batch;

/** ORTH_ERR_DATA, which names the first file, when the table's width is not the model's. Local. */
orth_status orth_feed_check_width(const orth_dataset *dataset, const orth_sae *sae);

/**
 * Start. Each rank reads the part of every batch that orth_grid_reads names. With `skip` rows with
 * NaN or Inf get weight zero, otherwise they are an error. ORTH_ERR_DATA when the table's width is
 * not the model's. Dataset and model outlive the feed. Collective over the grid; agreed.
 */
orth_status orth_feed_open(orth_dataset *dataset, const orth_sae *sae, int64_t batch, bool skip,
                           orth_feed **out);

/**
 * Put the next batch's own part, normalised, and its codes (orth_forward) into the workspace, which
 * has room for the feed's `batch`; none at the end. ORTH_ERR_DATA names file and row of the first
 * value that is not finite. Collective over the grid; agreed, but a rank on which the codes alone
 * fail ends the job (orth_end_job).
 */
orth_status orth_feed_next(orth_feed *feed, orth_workspace *workspace, orth_feed_batch *out);

/** Rows skipped so far, over all ranks. */
int64_t orth_feed_skipped(const orth_feed *feed);

/** Free. NULL is allowed. Not collective. */
void orth_feed_close(orth_feed *feed);

#endif
