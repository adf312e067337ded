#ifndef ORTHANT_SRC_RUN_TRAINER_PARTS_H
#define ORTHANT_SRC_RUN_TRAINER_PARTS_H

/** The parts of a training run, shared by its preparation (prepare.c) and its loop (trainer.c). */

#include <orthant/io/stream.h>
#include <orthant/par/watchdog.h>
#include <orthant/run/checkpoint.h>
#include <orthant/run/config.h>
#include <orthant/run/lock.h>
#include <orthant/run/metrics.h>
#include <orthant/run/progress.h>
#include <orthant/run/time_limit.h>
#include <orthant/sae/step.h>

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
    const char *stopped_by; ///< why the run ends early: a signal or the time limit
    orth_cursor cursor;     ///< the first token that no done step has used
    int64_t tokens_seen;    ///< by the steps done
    int64_t rows_skipped;   ///< rows of weight zero so far, this process's start on
    double started;
    double last_checkpoint;       ///< when it was written
    int64_t last_checkpoint_step; ///< -1: none yet
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

/** Fill W_enc and what else is there from `init.file`: an HDF5 file with W_enc [n,d] and, each
 * optional, W_dec, b_enc, b_dec, at its root or below /model. Collective; agreed. */
orth_status orth_init_file(const char *path, orth_sae *sae);

/** What wrote a checkpoint, for its attributes and for telling whether a resumed run is bit-exact.
 */
void orth_trainer_describe(const orth_trainer *trainer, orth_checkpoint_info *info);

#endif
