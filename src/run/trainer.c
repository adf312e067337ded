#include <orthant/run/trainer.h>

#include "trainer_parts.h"

#include <orthant/base/fault.h>
#include <orthant/base/log.h>
#include <orthant/base/memory.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/par/end_job.h>
#include <orthant/par/signals.h>
#include <orthant/run/evaluate.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* What the ranks agree before each step. */
typedef struct control {
    bool stop; ///< write a checkpoint and end
    bool save; ///< write a checkpoint
} control;

/* The next batch's own part, normalised and in place. The status is local. */
static orth_status read_batch(orth_trainer *t, orth_nonfinite *found)
{
    bool *valid;
    orth_phase back = orth_phase_enter(&t->timer, ORTH_PHASE_READ);
    int64_t batch = t->sae.recipe.batch, n = orth_range_size(orth_grid_reads(&t->grid, batch));
    float *x = orth_workspace_rows(&t->workspace, &t->sae, batch, &valid);
    orth_fault("step.read");
    ORTH_TRY(orth_stream_next(t->stream, x, valid, found));
    orth_input_normalise(t->sae.recipe.input, t->sae.input_scale, n, t->sae.d_model, x);
    orth_phase_enter(&t->timer, back);
    return ORTH_OK;
}

static bool checkpoint_due(const orth_trainer *t)
{
    const orth_interval *every = &t->config.checkpoint_every;
    if (every->steps > 0)
        return t->sae.step - t->last_checkpoint_step >= every->steps &&
               t->sae.step % every->steps == 0;
    return every->seconds > 0.0 && orth_now() - t->last_checkpoint >= every->seconds;
}

/* Agree on what signals and clocks ask for. Clocks differ: rank 0's counts. Signals may have
 * reached one rank only. Every start makes at least one step, however short its time: else a job
 * that is requeued would never end. */
static orth_status agree_control(orth_trainer *t, control *out)
{
    bool asked, save;
    orth_signals_take(&asked, &save);
    bool stop = asked;
    if (t->grid.rank == 0) {
        bool began = t->sae.step > t->progress.first_step;
        stop = stop || (began && orth_time_limit_reached(&t->limit, orth_now()));
        save = save || (t->sae.step > t->last_checkpoint_step && checkpoint_due(t));
    }
    int flags[4] = {stop, save, orth_lock_lost(t->lock), asked};
    ORTH_TRY(orth_allreduce(flags, 4, MPI_INT, MPI_MAX, t->grid.world));
    t->stopped_by = flags[3] ? "a signal" : "run.max_time";
    *out = (control){flags[0] != 0, flags[1] != 0};
    if (flags[2])
        return orth_fail(ORTH_ERR_ENVIRONMENT,
                         "%s: another job has taken this run over; look at its lock file",
                         t->config.run_dir);
    return ORTH_OK;
}

static orth_status write_checkpoint(orth_trainer *t)
{
    orth_checkpoint_info info;
    double start = orth_now();
    orth_phase back = orth_phase_enter(&t->timer, ORTH_PHASE_CHECKPOINT);
    orth_trainer_describe(t, &info);
    orth_status status =
        orth_checkpoint_write(t->config.run_dir, &t->sae, &info, t->config.checkpoint_verify,
                              t->config.checkpoint_keep, t->watchdog);
    orth_phase_enter(&t->timer, back);
    if (status != ORTH_OK)
        return status;
    t->last_checkpoint = orth_now();
    t->last_checkpoint_step = t->sae.step;
    orth_time_limit_checkpoint(&t->limit, t->last_checkpoint - start);
    return ORTH_OK;
}

/* What a full disk takes from the records of a run is not worth the run. */
static orth_status forgive(orth_trainer *t, orth_status status, const char *what)
{
    if (status != ORTH_ERR_STORAGE)
        return status;
    orth_progress_clear(&t->progress);
    orth_checkpoint_forgive(t->grid.world, status, what);
    return ORTH_OK;
}

/* A checkpoint that the run can do without: when the storage fails, say so and try again later. */
static orth_status save_and_go_on(orth_trainer *t)
{
    ORTH_TRY(forgive(t, write_checkpoint(t),
                     "the checkpoint was not written; training goes on and tries again later"));
    t->last_checkpoint = orth_now();
    return ORTH_OK;
}

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

/* Log where it is due. `since` is when the steps since the last logged one began. */
static orth_status log_step(orth_trainer *t, const orth_step_report *report, double rate,
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

/* One step on a batch that is in place. */
static orth_status train_step(orth_trainer *t, bool logged, double *rate, orth_step_report *report)
{
    *rate = orth_learning_rate(&t->sae.recipe, t->sae.step + 1, t->steps);
    orth_step_options options = {.rate = *rate,
                                 .first_token = t->tokens_seen,
                                 .fvu = logged,
                                 .code_hash = logged && t->config.log_codes};
    orth_status status = orth_step(&t->sae, &t->workspace, &options, &t->timer, report);
    if (status == ORTH_ERR_NONFINITE || status == ORTH_ERR_DATA)
        return status;
    if (status != ORTH_OK)
        return orth_end_job(t->grid.world, status);
    t->cursor = orth_stream_cursor(t->stream);
    t->tokens_seen += t->sae.recipe.batch;
    return ORTH_OK;
}

/* Held-out quality, in the workspace that training uses between steps. */
static orth_status evaluate(orth_trainer *t)
{
    if (t->config.eval_every == 0 || t->sae.step % t->config.eval_every != 0)
        return ORTH_OK;
    orth_evaluation_options options = {.batch = t->sae.recipe.batch,
                                       .skip = t->config.data_nonfinite == ORTH_NONFINITE_SKIP,
                                       .eps = true,
                                       .workspace = &t->workspace,
                                       .timer = &t->timer,
                                       .watchdog = t->watchdog};
    orth_progress_clear(&t->progress);
    orth_phase back = orth_phase_enter(&t->timer, ORTH_PHASE_EVAL);
    orth_status status =
        orth_evaluate_step(&t->sae, t->eval_dataset, t->config.run_dir, &options, t->metrics);
    orth_phase_enter(&t->timer, back);
    return status;
}

/* Read, agree, step, log, evaluate. */
static orth_status one_step(orth_trainer *t, double *since, int64_t *since_step)
{
    orth_step_report report;
    double start = orth_now(), rate;
    int64_t skipped = 0, step = t->sae.step + 1;
    orth_nonfinite found = {0, -1};
    bool logged = step % t->config.log_every == 0 || step == t->steps;
    orth_fault("step.begin");
    ORTH_TRY(orth_agree(t->grid.world, read_batch(t, &found)));
    ORTH_TRY(orth_nonfinite_agree(t->dataset, &found,
                                  t->config.data_nonfinite == ORTH_NONFINITE_SKIP, t->grid.world,
                                  &skipped));
    t->rows_skipped += skipped;
    ORTH_TRY(train_step(t, logged, &rate, &report));
    ORTH_TRY(
        forgive(t, orth_agree(t->grid.world, log_step(t, &report, rate, logged, since, since_step)),
                "the metrics of a step were not written; training goes on"));
    orth_status evaluated =
        forgive(t, evaluate(t), "an evaluation was not written; training goes on");
    if (evaluated != ORTH_OK) {
        /* The steps done are worth a checkpoint, even though the run ends here. */
        write_checkpoint(t);
        return evaluated;
    }
    orth_watchdog_beat(t->watchdog);
    orth_signals_describe(t->grid.rank, t->sae.step);
    orth_time_limit_step(&t->limit, orth_now() - start);
    return ORTH_OK;
}

static orth_status loop(orth_trainer *t)
{
    double since = orth_now();
    int64_t since_step = t->sae.step;
    while (t->sae.step < t->steps) {
        control asked;
        ORTH_TRY(agree_control(t, &asked));
        if (asked.stop) {
            if (t->sae.step > t->last_checkpoint_step)
                ORTH_TRY(write_checkpoint(t));
            return ORTH_STOPPED;
        }
        if (asked.save)
            ORTH_TRY(save_and_go_on(t));
        ORTH_TRY(one_step(t, &since, &since_step));
    }
    if (t->sae.step > t->last_checkpoint_step)
        ORTH_TRY(write_checkpoint(t));
    return ORTH_OK;
}

static orth_status tell_end(orth_trainer *t, orth_status status)
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

static orth_status run(orth_trainer *t)
{
    int64_t bytes = t->sae.recipe.n_latent * t->sae.d_model * 4 * (t->sae.recipe.ema > 0.0 ? 8 : 6);
    orth_time_limit_start(&t->limit, t->started, t->config.run_max_time, bytes);
    orth_progress_start(&t->progress, t->grid.rank == 0, t->quiet, t->sae.step, t->steps);
    orth_phase_enter(&t->timer, ORTH_PHASE_OTHER);
    t->last_checkpoint = orth_now();
    orth_status status = loop(t);
    if (status == ORTH_OK || status == ORTH_STOPPED)
        return tell_end(t, status);
    orth_progress_clear(&t->progress);
    return status;
}

orth_status orth_train(const orth_config *config, const char *resume, bool quiet, MPI_Comm world)
{
    orth_trainer trainer = {0};
    orth_status status = orth_trainer_prepare(config, resume, quiet, world, &trainer);
    if (status == ORTH_OK)
        status = run(&trainer);
    orth_trainer_close(&trainer);
    return orth_agree(world, status);
}
