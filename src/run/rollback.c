/* A step whose loss or gradient is not finite: what is to blame, and the way back. */
#include "trainer_parts.h"

#include <orthant/base/log.h>
#include <orthant/base/memory.h>
#include <orthant/io/shuffle.h>
#include <orthant/par/agree.h>
#include <orthant/par/alive.h>
#include <orthant/par/end_job.h>

#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* The row of token `index` of the batch in hand. */
static void locate(orth_trainer *t, int64_t index)
{
    int64_t rows = orth_dataset_rows(t->dataset), position = t->batch.position + index;
    orth_shuffle order = orth_shuffle_create(
        rows, t->config.recipe.seed, t->batch.epoch + position / rows, t->config.data_shuffle);
    int64_t row = orth_shuffle_row(&order, position % rows);
    t->bad.file = orth_dataset_locate(t->dataset, row, &t->bad.row);
}

/* "step 12: the loss is not finite (...), first in row 35 of bad.h5" */
static const char *describe(const orth_trainer *t, char out[2048])
{
    const orth_bad_step *bad = &t->bad;
    int length = snprintf(out, 2048, "step %lld: %s", (long long)bad->step, bad->blame.what);
    size_t room = 2048 - (size_t)length;
    if (bad->file)
        snprintf(out + length, room, ", first in row %lld of %.1500s", (long long)bad->row,
                 bad->file);
    else if (bad->blame.before)
        snprintf(out + length, room, ", because a weight was not, before this batch");
    else
        snprintf(out + length, room, ", no single row is to blame");
    return out;
}

static bool rollback_left(const orth_trainer *t)
{
    return t->n_skipped < t->config.run_rollback;
}

static void advise(const orth_trainer *t, char out[256])
{
    if (t->bad.blame.before)
        snprintf(out, 256, "lower train.lr");
    else if (t->config.run_rollback > 0)
        snprintf(out, 256,
                 "run.rollback: all %lld are used; take the row out of the data, lower train.lr, "
                 "or raise "
                 "run.rollback and run the same command again",
                 (long long)t->config.run_rollback);
    else
        snprintf(out, 256,
                 "look at the data, lower train.lr, or leave such batches out by run.rollback");
}

orth_status orth_trainer_blame(orth_trainer *t, int64_t step, const orth_step_report *report)
{
    char what[2048], saved[64] = "there is no checkpoint yet", advice[256];
    orth_error_clear();
    t->bad = (orth_bad_step){.step = step, .file = NULL};
    orth_status status = orth_blame_find(&t->sae, &t->workspace, report, &t->bad.blame);
    if (status != ORTH_OK)
        return orth_end_job(t->grid.world, status);
    if (t->bad.blame.token >= 0)
        locate(t, t->bad.blame.token);
    if (t->last_checkpoint_step >= 0)
        snprintf(saved, sizeof saved, "the newest checkpoint is of step %lld",
                 (long long)t->last_checkpoint_step);
    advise(t, advice);
    return orth_fail(ORTH_ERR_NONFINITE, "%s; its batch is at epoch %lld, position %lld; %s; %s",
                     describe(t, what), (long long)t->batch.epoch, (long long)t->batch.position,
                     saved, advice);
}

bool orth_trainer_skips(const orth_trainer *t, orth_cursor batch)
{
    for (int64_t i = 0; i < t->n_skipped; i++)
        if (t->skipped[i].epoch == batch.epoch && t->skipped[i].position == batch.position)
            return true;
    return false;
}

static orth_status skip_batch(orth_trainer *t)
{
    orth_cursor *more = NULL;
    ORTH_TRY(ORTH_ALLOCATE(t->n_skipped + 1, "batches left out", &more));
    if (t->n_skipped > 0)
        memcpy(more, t->skipped, (size_t)t->n_skipped * sizeof *more);
    orth_free(t->skipped);
    t->skipped = more;
    t->skipped[t->n_skipped++] = t->batch;
    return ORTH_OK;
}

/* Records have the step that the run went back to: so they stay where it is resumed from a later
 * checkpoint, which leaves the batch out, and go where it must find the batch again. */
static orth_status record(const orth_trainer *t)
{
    const orth_bad_step *bad = &t->bad;
    if (t->grid.rank != 0)
        return ORTH_OK;
    json_t *value = json_pack("{s:I,s:I,s:I,s:s,s:I,s:I}", "number", (json_int_t)t->n_skipped,
                              "from", (json_int_t)bad->step, "to", (json_int_t)t->sae.step, "what",
                              bad->blame.what, "skipped_epoch", (json_int_t)t->batch.epoch,
                              "skipped_position", (json_int_t)t->batch.position);
    /* A path need not be UTF-8, and is null then. */
    json_t *file = bad->file ? json_string(bad->file) : NULL;
    int failed = !value;
    failed = failed || json_object_set_new(value, "file", file ? file : json_null());
    failed =
        failed || json_object_set_new(value, "row",
                                      bad->file ? json_integer((json_int_t)bad->row) : json_null());
    orth_status status =
        failed ? orth_fail(ORTH_ERR_ENVIRONMENT, "metrics.jsonl: out of memory; free memory")
               : orth_metrics_write_object(t->metrics, t->sae.step, "rollback", value);
    json_decref(value);
    return status;
}

/* Metrics of the steps that are made again go, as for a resumed run. */
static orth_status rewrite_metrics(orth_trainer *t)
{
    orth_metrics_close(t->metrics);
    t->metrics = NULL;
    ORTH_TRY(orth_trainer_open_metrics(t, t->n_skipped - 1));
    return orth_trainer_forgive(t, orth_agree(t->grid.world, record(t)),
                                "the roll-back is not in metrics.jsonl; training goes on");
}

orth_status orth_trainer_roll_back(orth_trainer *t)
{
    char what[2048];
    if (t->bad.blame.before || !rollback_left(t))
        return ORTH_ERR_NONFINITE;
    orth_phase_enter(&t->timer, ORTH_PHASE_CHECKPOINT);
    orth_error_clear();
    orth_progress_clear(&t->progress);
    orth_stream_close(t->stream);
    t->stream = NULL;
    orth_workspace_free(&t->workspace);
    ORTH_TRY(orth_agree(t->grid.world, skip_batch(t)));
    ORTH_TRY(orth_trainer_restart(t));
    orth_alive();
    ORTH_TRY(rewrite_metrics(t));
    orth_log_warning("%s; back to step %lld, and the batch at epoch %lld, position %lld is left "
                     "out (run.rollback: %lld of %lld)",
                     describe(t, what), (long long)t->sae.step, (long long)t->batch.epoch,
                     (long long)t->batch.position, (long long)t->n_skipped,
                     (long long)t->config.run_rollback);
    t->rows_skipped = t->last_checkpoint_rows;
    t->steps_made = 0;
    t->last_try = t->sae.step;
    ORTH_TRY(orth_trainer_open_stream(t));
    orth_phase_enter(&t->timer, ORTH_PHASE_OTHER);
    return ORTH_OK;
}
