#ifndef ORTHANT_EVAL_LABELS_H
#define ORTHANT_EVAL_LABELS_H

#include <orthant/base/status.h>
#include <orthant/par/partition.h>

#include <mpi.h>
#include <stdint.h>

/**
 * Binary labels of the rows of a table, for one or more tasks: an HDF5 dataset of integers [rows]
 * or [rows, tasks], 0 and 1, a negative value where the row is not labelled. Names of the tasks,
 * where there are any: the attribute `task_names` of the dataset, a list of texts, or one text with
 * commas between the names.
 */
typedef struct orth_labels orth_labels;

/**
 * Open `dataset` of `path`, which must have `rows` rows. ORTH_ERR_DATA: a file that cannot be read,
 * an absent dataset, one that is not of integers, another number of rows, names that are not as
 * many as the tasks. Collective over `comm`; agreed. End with orth_labels_close.
 */
orth_status orth_labels_open(const char *path, const char *dataset, int64_t rows, MPI_Comm comm,
                             orth_labels **out);

/** Number of tasks, and the name of one ("task 3" where it has none), valid until the next call. */
int64_t orth_labels_tasks(const orth_labels *labels);
const char *orth_labels_name(orth_labels *labels, int64_t task);

/**
 * Labels of rows [rows.begin, rows.end) for the tasks [tasks.begin, tasks.end): 0, 1 or -1, to
 * out[(task - tasks.begin) * stride + row - rows.begin]. ORTH_ERR_DATA names row and task of
 * another value. Independent; the status is local.
 */
orth_status orth_labels_read(orth_labels *labels, orth_range rows, orth_range tasks, int64_t stride,
                             int8_t *out);

/** Close. Collective. NULL is allowed. */
void orth_labels_close(orth_labels *labels);

#endif
