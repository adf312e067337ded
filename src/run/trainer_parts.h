#ifndef ORTHANT_SRC_RUN_TRAINER_PARTS_H
#define ORTHANT_SRC_RUN_TRAINER_PARTS_H

/** The parts of a training run, shared by its preparation (prepare.c), its start (start.c), its
 * loop (trainer.c), what it logs (trainer_log.c) and its way back from a step that was not finite
 * (rollback.c). */

#include <orthant/io/stream.h>
#include <orthant/par/watchdog.h>
#include <orthant/run/checkpoint.h>
#include <orthant/run/config.h>
#include <orthant/run/lock.h>
#include <orthant/run/metrics.h>
#include <orthant/run/progress.h>
#include <orthant/run/time_limit.h>
#include <orthant/sae/blame.h>
#include <orthant/sae/step.h>

/** The step that was not finite. */
typedef struct orth_bad_step {
    int64_t step;
    orth_blame blame;
    const char *file; ///< with the first row to blame, NULL when there is no single one
    int64_t row;      ///< in that file
} orth_bad_step;

typedef struct orth_trainer {
    orth_config config; ///< with the recipe resolved; shares the caller's strings
    char *config_text;
    bool quiet;
    orth_grid grid;
    orth_dataset *dataset;
    orth_dataset *eval_dataset; ///< NULL: none
    orth_stream *stream;
    orth_sae sae;
    orth_workspace workspace;
    orth_fingerprint fingerprint;
    orth_lock *lock;
    FILE *log;                  ///< rank 0
    orth_metrics_file *metrics; ///< rank 0
    orth_progress progress;
    orth_phase_timer timer;
    orth_time_limit limit;
    orth_watchdog *watchdog;
    int64_t steps;          ///< of the whole run
    bool other_schedule;    ///< resumed with another learning-rate schedule than the checkpoint's
    const char *stopped_by; ///< why the run ends early: a signal or whose time limit
    char *origin;           ///< the checkpoint that --resume named, NULL: none
    orth_cursor batch;      ///< the first token of the batch in hand
    orth_cursor cursor;     ///< the first token that no done step has used
    int64_t tokens_seen;    ///< by the steps done
    int64_t unlogged;       ///< logged steps whose metrics could not be written
    int64_t rows_skipped;   ///< rows of weight zero so far, this process's start on
    int64_t steps_made;     ///< since the start or the last roll-back
    orth_cursor *skipped;   ///< (n_skipped) starts of the batches that roll-backs leave out
    int64_t n_skipped;
    orth_bad_step bad;
    double started;
    double last_checkpoint;       ///< when it was written
    int64_t last_checkpoint_step; ///< -1: none yet
    int64_t last_checkpoint_rows; ///< rows_skipped then
    int64_t last_try;             ///< the step at which a checkpoint was last tried
} orth_trainer;

/** Open everything, and initialise or resume the model. Collective; agreed. */
orth_status orth_trainer_prepare(const orth_config *config, const char *resume, bool quiet,
                                 MPI_Comm world, orth_trainer *trainer);

/** That this version can train such sizes; `recipe` has its n_latent. ORTH_ERR_USAGE. Local. */
orth_status orth_trainer_check_sizes(const orth_recipe *recipe, int64_t d_model);

/** Steps of the whole run, whichever way the configuration gives its length; `rows` of the data
 * count where it is by epochs. ORTH_ERR_USAGE. Local. */
orth_status orth_trainer_steps(const orth_config *config, int64_t rows, int64_t batch,
                               int64_t *steps);

/** Close everything. Collective. */
void orth_trainer_close(orth_trainer *trainer);

/** Allocate the model, untrained. Collective; agreed. */
orth_status orth_trainer_create_model(orth_trainer *trainer);

/** The workspace, and the stream of tokens from trainer->cursor on. Collective; agreed. */
orth_status orth_trainer_open_stream(orth_trainer *trainer);

/** metrics.jsonl, cut back to the model's step and to `rollbacks` roll-backs. Collective; agreed.
 */
orth_status orth_trainer_open_metrics(orth_trainer *trainer, int64_t rollbacks);

/** Initialise the model, or read the checkpoint that `resume` (orth_train) stands for. Collective;
 * agreed. */
orth_status orth_trainer_start(orth_trainer *trainer, const char *resume);

/** Back to the newest checkpoint that the run wrote or started from, else to its initial model.
 * Collective; agreed. ORTH_ERR_CORRUPT when there is a checkpoint but none that can be read. */
orth_status orth_trainer_restart(orth_trainer *trainer);

/** What of the storage's failures a run survives: a warning in the place of ORTH_ERR_STORAGE.
 * Collective, with the agreed status. */
orth_status orth_trainer_forgive(orth_trainer *trainer, orth_status status, const char *what);

/** Log a step where it is due, and show the progress. `since` is when the steps since the last
 * logged one began. Rank 0 writes; status local. */
orth_status orth_trainer_log_step(orth_trainer *trainer, const orth_step_report *report,
                                  double rate, bool logged, double *since, int64_t *since_step);

/** The last lines of a run that ended with `status`, which is returned. Collective. */
orth_status orth_trainer_tell_end(orth_trainer *trainer, orth_status status);

/** Find what made step `step` fail, into trainer->bad, and word it: returns ORTH_ERR_NONFINITE.
 * Collective. */
orth_status orth_trainer_blame(orth_trainer *trainer, int64_t step, const orth_step_report *report);

/** [run.rollback] After orth_trainer_blame: go back (orth_trainer_restart) and leave the batch out
 * when it comes again; ORTH_ERR_NONFINITE, with the error standing, when that is not allowed or
 * would not help. Collective; agreed. */
orth_status orth_trainer_roll_back(orth_trainer *trainer);

/** Whether roll-backs leave out the batch that starts there. */
bool orth_trainer_skips(const orth_trainer *trainer, orth_cursor batch);

/** That `init.file` is there, is what orth_init_file reads and has the model's sizes. It is read
 * again when the weights are. ORTH_ERR_USAGE, ORTH_ERR_CORRUPT. Collective; agreed. */
orth_status orth_init_file_check(const char *path, int64_t n_latent, int64_t d_model,
                                 MPI_Comm world);

/** Fill W_enc and what else is there from `init.file`: an HDF5 file with W_enc [n,d] and, each
 * optional, W_dec, b_enc, b_dec, at its root or below /model; of a run folder its newest checkpoint
 * that verifies; or a folder of another tool. Collective; agreed. */
orth_status orth_init_file(const char *path, orth_sae *sae);

/** What wrote a checkpoint, for its attributes and for telling whether a resumed run is bit-exact.
 */
void orth_trainer_describe(const orth_trainer *trainer, orth_checkpoint_info *info);

#endif
