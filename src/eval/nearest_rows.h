#ifndef ORTHANT_SRC_EVAL_NEAREST_ROWS_H
#define ORTHANT_SRC_EVAL_NEAREST_ROWS_H

#include <orthant/kern/nearest.h>
#include <orthant/sae/model.h>

/**
 * Of each row of W_dec in the own part (sae->part) the `count` rows of the whole dictionary with
 * the largest cosines: nearest (size of the part, count), row -1 at first. Every shard's rows visit
 * every rank, in blocks. Equal on every grid. Collective over the grid; a failure ends the run.
 */
orth_status orth_nearest_rows(const orth_sae *sae, int64_t count, orth_near *nearest);

#endif
