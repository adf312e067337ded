/* What a run logs: its steps, and how it ended. */
#include "trainer_parts.h"

#include <orthant/base/log.h>
#include <orthant/base/memory.h>
#include <orthant/par/collective.h>

#include <inttypes.h>
#include <string.h>

static void fill_metrics(const orth_trainer *t, const orth_step_report *report, double rate,
                         double seconds, int64_t steps, orth_metrics *out)
{
    *out = (orth_metrics){.step = t->sae.step,
                          .tokens = t->tokens_seen,
                          .epoch = t->cursor.epoch,
                          .loss = report->loss,
                          .mse = report->terms.mse,
                          .aux = report->terms.aux,
                          .afa = report->terms.afa,
                          .l0 = report->l0,
                          .n_dead = report->n_dead,
                          .grad_norm = report->grad_norm,
                          .lr = rate,
                          .fvu = report->fvu,
                          .tokens_per_s = (double)(steps * t->sae.recipe.batch) / seconds,
                          .time = orth_now() - t->started,
                          .has_code_hash = t->config.log_codes,
                          .code_hash = report->code_hash};
    memcpy(out->phase, t->timer.seconds, sizeof out->phase);
}

orth_status orth_trainer_log_step(orth_trainer *t, const orth_step_report *report, double rate,
                                  bool logged, double *since, int64_t *since_step)
{
    orth_metrics metrics;
    orth_status status = ORTH_OK;
    if (t->grid.rank != 0)
        return ORTH_OK;
    double now = orth_now();
    fill_metrics(t, report, rate, now - *since, t->sae.step - *since_step, &metrics);
    if (logged) {
        status = orth_metrics_write(t->metrics, &metrics);
        *since = now;
        *since_step = t->sae.step;
    }
    orth_progress_step(&t->progress, &metrics, logged);
    return status;
}

orth_status orth_trainer_tell_end(orth_trainer *t, orth_status status)
{
    orth_progress_clear(&t->progress);
    if (t->rows_skipped > 0)
        orth_log_warning("data.files: %lld rows with NaN or Inf were left out",
                         (long long)t->rows_skipped);
    orth_phase_enter(&t->timer, ORTH_PHASE_OTHER);
    orth_progress_phases(t->timer.seconds);
    int64_t memory = orth_peak_memory();
    ORTH_TRY(orth_allreduce(&memory, 1, MPI_INT64_T, MPI_MAX, t->grid.world));
    orth_log_info("peak memory of a rank %.0f MiB", (double)memory / 1048576.0);
    if (status == ORTH_STOPPED)
        orth_log_info("stopped by %s at step %" PRId64 " of %" PRId64
                      " with a checkpoint; run the same command again to go on",
                      t->stopped_by, t->sae.step, t->steps);
    else
        orth_log_info("done: %" PRId64 " steps, %" PRId64 " tokens; the model is in %s/checkpoints",
                      t->sae.step, t->tokens_seen, t->config.run_dir);
    return status;
}

/* What a full disk takes from the records of a run is not worth the run. */
orth_status orth_trainer_forgive(orth_trainer *t, orth_status status, const char *what)
{
    if (status != ORTH_ERR_STORAGE)
        return status;
    orth_progress_clear(&t->progress);
    orth_checkpoint_forgive(t->grid.world, status, what);
    return ORTH_OK;
}
