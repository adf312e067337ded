#include <orthant/run/trainer.h>

#include "checkpoint_parts.h"
#include "trainer_parts.h"

#include <orthant/base/fault.h>
#include <orthant/base/log.h>
#include <orthant/par/agree.h>
#include <orthant/par/alive.h>
#include <orthant/par/collective.h>
#include <orthant/par/end_job.h>
#include <orthant/par/signals.h>
#include <orthant/run/evaluate.h>

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

/* What the ranks agree before each step. */
typedef struct control {
    bool stop; ///< write a checkpoint and end
    bool save; ///< write a checkpoint
} control;

/* The own part of the next batch that is not left out, normalised and in place. The status is
 * local. */
static orth_status read_batch(orth_trainer *t, orth_nonfinite *found)
{
    bool *valid;
    orth_phase back = orth_phase_enter(&t->timer, ORTH_PHASE_READ);
    int64_t batch = t->sae.recipe.batch, n = orth_range_size(orth_grid_reads(&t->grid, batch));
    float *x = orth_workspace_rows(&t->workspace, &t->sae, batch, &valid);
    orth_fault("step.read");
    do {
        t->batch = orth_stream_cursor(t->stream);
        ORTH_TRY(orth_stream_next(t->stream, x, valid, found));
    } while (orth_trainer_skips(t, t->batch));
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

static bool evaluation_due(const orth_trainer *t, int64_t step)
{
    return t->config.eval_every > 0 && step % t->config.eval_every == 0;
}

/* Whether the time is up. Every start makes at least one step, however short its time: else a job
 * that is requeued would never end. */
static bool time_is_up(const orth_trainer *t)
{
    bool evaluates = evaluation_due(t, t->sae.step + 1);
    double steps_alike =
        evaluates ? (double)orth_dataset_rows(t->eval_dataset) / (double)t->sae.recipe.batch : 0.0;
    return t->steps_made > 0 &&
           orth_time_limit_reached(&t->limit, orth_now(), evaluates, steps_alike);
}

/* Agree on what signals and clocks ask for. Clocks differ: rank 0's counts. Signals may have
 * reached one rank only. When the time seems up but what a checkpoint takes is only guessed, one is
 * written and tells. */
static orth_status agree_control(orth_trainer *t, control *out)
{
    int asked;
    bool save;
    orth_signals_take(&asked, &save);
    bool stop = asked != 0;
    if (t->grid.rank == 0) {
        bool up = time_is_up(t),
             untried = t->sae.step > t->last_checkpoint_step && t->sae.step > t->last_try;
        bool tells = up && untried && !orth_time_limit_measured(&t->limit);
        stop = stop || (up && !tells);
        save = save || tells || (untried && checkpoint_due(t));
    }
    int flags[4] = {stop, save, orth_lock_lost(t->lock), asked};
    ORTH_TRY(orth_allreduce(flags, 4, MPI_INT, MPI_MAX, t->grid.world));
    t->stopped_by = flags[3] ? orth_signals_name(flags[3]) : t->limit.what;
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
    t->last_try = t->sae.step;
    orth_phase back = orth_phase_enter(&t->timer, ORTH_PHASE_CHECKPOINT);
    orth_trainer_describe(t, &info);
    orth_metrics_sync(t->metrics);
    orth_status status = orth_checkpoint_write(
        t->config.run_dir, &t->sae, &info, t->config.checkpoint_verify, t->config.checkpoint_keep);
    orth_phase_enter(&t->timer, back);
    if (status != ORTH_OK)
        return status;
    t->last_checkpoint = orth_now();
    t->last_checkpoint_step = t->sae.step;
    t->last_checkpoint_rows = t->rows_skipped;
    orth_time_limit_checkpoint(&t->limit, t->last_checkpoint - start);
    return ORTH_OK;
}

/* A checkpoint that the run can do without: when the storage fails, say so and try again later. */
static orth_status save_and_go_on(orth_trainer *t)
{
    ORTH_TRY(orth_trainer_forgive(
        t, write_checkpoint(t),
        "the checkpoint was not written; training goes on and tries again later"));
    t->last_checkpoint = orth_now();
    return ORTH_OK;
}

/* The one a start ends with: when the storage fails, what is lost is to be known. */
static orth_status save_last(orth_trainer *t)
{
    if (t->sae.step <= t->last_checkpoint_step)
        return ORTH_OK;
    orth_status status = write_checkpoint(t);
    if (status == ORTH_ERR_STORAGE && t->last_checkpoint_step >= 0)
        orth_log_warning("the newest checkpoint is of step %" PRId64 ": what came after it up to "
                         "step %" PRId64 " is lost, and the same command makes it again",
                         t->last_checkpoint_step, t->sae.step);
    else if (status == ORTH_ERR_STORAGE)
        orth_log_warning("there is no checkpoint: all %" PRId64 " steps are lost", t->sae.step);
    return status;
}

static bool is_power_of_two(int64_t count)
{
    return (count & (count - 1)) == 0;
}

/* On a full disk each logged step would say so: it is said at the first, second, fourth and so on.
 */
static orth_status log_step(orth_trainer *t, const orth_step_report *report, double rate,
                            bool logged, double *since, int64_t *since_step)
{
    orth_status status = orth_agree(
        t->grid.world, orth_trainer_log_step(t, report, rate, logged, since, since_step));
    if (status == ORTH_ERR_STORAGE && !is_power_of_two(++t->unlogged)) {
        orth_error_clear();
        return ORTH_OK;
    }
    return orth_trainer_forgive(t, status,
                                "the metrics of a step were not written; training goes on");
}

/* One step on a batch that is in place. */
static orth_status train_step(orth_trainer *t, bool logged, double *rate, orth_step_report *report)
{
    int64_t step = t->sae.step + 1;
    *rate = orth_learning_rate(&t->sae.recipe, step, t->steps);
    orth_step_options options = {.rate = *rate,
                                 .first_token = t->tokens_seen,
                                 .fvu = logged,
                                 .code_hash = logged && t->config.log_codes};
    orth_status status = orth_step(&t->sae, &t->workspace, &options, &t->timer, report);
    if (status == ORTH_ERR_NONFINITE)
        return orth_trainer_blame(t, step, report);
    if (status == ORTH_ERR_DATA)
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
    if (!evaluation_due(t, t->sae.step))
        return ORTH_OK;
    double start = orth_now();
    orth_evaluation_options options = {.batch = t->sae.recipe.batch,
                                       .skip = t->config.data_nonfinite == ORTH_NONFINITE_SKIP,
                                       .eps = true,
                                       .workspace = &t->workspace,
                                       .timer = &t->timer};
    orth_progress_clear(&t->progress);
    orth_phase back = orth_phase_enter(&t->timer, ORTH_PHASE_EVAL);
    orth_status status =
        orth_evaluate_step(&t->sae, t->eval_dataset, t->config.run_dir, &options, t->metrics);
    orth_phase_enter(&t->timer, back);
    orth_time_limit_evaluation(&t->limit, orth_now() - start);
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
    ORTH_TRY(log_step(t, &report, rate, logged, since, since_step));
    t->steps_made++;
    orth_time_limit_step(&t->limit, orth_now() - start);
    orth_status evaluated =
        orth_trainer_forgive(t, evaluate(t), "an evaluation was not written; training goes on");
    if (evaluated != ORTH_OK) {
        /* The steps done are worth a checkpoint, even though the run ends here. */
        write_checkpoint(t);
        return evaluated;
    }
    orth_alive();
    orth_signals_describe(t->grid.rank, t->sae.step);
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
            ORTH_TRY(save_last(t));
            return ORTH_STOPPED;
        }
        if (asked.save) {
            ORTH_TRY(save_and_go_on(t));
            continue;
        }
        orth_status status = one_step(t, &since, &since_step);
        if (status == ORTH_ERR_NONFINITE) {
            status = orth_trainer_roll_back(t);
            since = orth_now();
            since_step = t->sae.step;
        }
        ORTH_TRY(status);
    }
    return save_last(t);
}

/* Once, here: later the clocks of the wall may jump. */
static void respect_slurm(orth_time_limit *limit)
{
    const char *text = getenv("SLURM_JOB_END_TIME");
    char left[32];
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    double now = orth_now();
    const char *why = orth_time_limit_slurm(limit, text, (double)wall.tv_sec, now);
    if (why)
        orth_log_warning("SLURM_JOB_END_TIME is '%.40s': %s; SLURM's time limit is not respected",
                         text, why);
    if (limit->end == 0)
        return;
    orth_progress_duration(limit->end - now, left, sizeof left);
    orth_log_info("%s ends the run in %s", limit->what, left);
}

/* Found when the disk is full, it costs steps. */
static void warn_of_space(const orth_trainer *t)
{
    orth_checkpoint_info info;
    if (t->grid.rank != 0 || t->sae.step >= t->steps)
        return;
    orth_trainer_describe(t, &info);
    orth_checkpoint_warn_of_space(t->config.run_dir, &t->sae, &info, t->config.checkpoint_keep);
}

static orth_status run(orth_trainer *t)
{
    int64_t bytes = t->sae.recipe.n_latent * t->sae.d_model * 4 * (t->sae.recipe.ema > 0.0 ? 8 : 6);
    orth_time_limit_start(&t->limit, t->started, t->config.run_max_time, bytes);
    if (t->grid.rank == 0)
        respect_slurm(&t->limit);
    orth_progress_start(&t->progress, t->grid.rank == 0, t->quiet, t->sae.step, t->steps);
    warn_of_space(t);
    orth_phase_enter(&t->timer, ORTH_PHASE_OTHER);
    t->last_checkpoint = orth_now();
    orth_status status = loop(t);
    if (status == ORTH_OK || status == ORTH_STOPPED)
        return orth_trainer_tell_end(t, status);
    orth_progress_clear(&t->progress);
    return status;
}

/* The error is told on stderr when the run is closed: its log has it too. */
static void keep_error(const orth_trainer *t, orth_status status, MPI_Comm world)
{
    char *text = NULL;
    if (orth_checkpoint_error_text(world, status, &text) == ORTH_OK && t->log && text)
        fprintf(t->log, "orthant: error: %s\n", text);
    free(text);
}

orth_status orth_train(const orth_config *config, const char *resume, bool quiet, MPI_Comm world)
{
    orth_trainer trainer = {0};
    orth_status status = orth_trainer_prepare(config, resume, quiet, world, &trainer);
    if (status == ORTH_OK)
        status = run(&trainer);
    status = orth_agree(world, status);
    if (status != ORTH_OK && status != ORTH_STOPPED)
        keep_error(&trainer, status, world);
    orth_trainer_close(&trainer);
    return status;
}
