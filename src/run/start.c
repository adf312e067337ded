/* Where a run starts: from nothing, or from a checkpoint. */
#include "checkpoint_parts.h"
#include "trainer_parts.h"

#include <orthant/base/log.h>
#include <orthant/base/memory.h>
#include <orthant/io/shuffle.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/run/restarts.h>
#include <orthant/sae/init.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool sample_needed(const orth_recipe *recipe)
{
    return recipe->input == ORTH_INPUT_SCALE || recipe->init == ORTH_INIT_GAO ||
           (recipe->loss == ORTH_LOSS_MSE_SCALED && recipe->mse_scale == 0.0);
}

/* Read the own rows of the sample and normalise them; rows that are not finite are left out. */
static orth_status fill_sample(const orth_trainer *t, orth_sample *sample)
{
    int64_t n = orth_range_size(sample->own), d = sample->d_model;
    orth_shuffle order = orth_shuffle_create(orth_dataset_rows(t->dataset), t->config.recipe.seed,
                                             0, t->config.data_shuffle);
    int64_t *rows = NULL;
    ORTH_TRY(ORTH_ALLOCATE(n * d, "sample", &sample->x));
    ORTH_TRY(ORTH_ALLOCATE(n, "sample", &sample->valid));
    ORTH_TRY(ORTH_ALLOCATE(n, "sample", &rows));
    for (int64_t i = 0; i < n; i++)
        rows[i] = orth_shuffle_row(&order, sample->own.begin + i);
    orth_status status = orth_dataset_read(t->dataset, rows, n, sample->x);
    for (int64_t i = 0; i < n && status == ORTH_OK; i++) {
        /* A sum is finite only if all its terms are. */
        double sum = 0.0;
        for (int64_t j = 0; j < d; j++)
            sum += (double)sample->x[i * d + j];
        sample->valid[i] = sum - sum == 0.0;
        sample->count += sample->valid[i];
    }
    orth_free(rows);
    if (t->sae.recipe.input != ORTH_INPUT_SCALE)
        orth_input_normalise(t->sae.recipe.input, 1.0, n, d, sample->x);
    return status;
}

static orth_status init_from_sample(orth_trainer *t, orth_sample *sample)
{
    ORTH_TRY(orth_agree(t->grid.world, fill_sample(t, sample)));
    ORTH_TRY(orth_allreduce(&sample->count, 1, MPI_INT64_T, MPI_SUM, t->grid.world));
    if (sample->count == 0)
        return orth_fail(ORTH_ERR_DATA,
                         "data.files: none of the first %lld rows is finite; see "
                         "'orthant info --stats'",
                         (long long)sample->total);
    ORTH_TRY(orth_init_scales(&t->sae, sample));
    return t->sae.recipe.init == ORTH_INIT_FILE ? ORTH_OK : orth_init_random(&t->sae, sample);
}

static orth_status init_fresh(orth_trainer *t)
{
    t->cursor = (orth_cursor){0, 0};
    t->tokens_seen = 0;
    int64_t rows = orth_dataset_rows(t->dataset);
    orth_sample sample = {.comm = t->grid.world,
                          .total = rows < ORTH_SAMPLE_ROWS ? rows : ORTH_SAMPLE_ROWS,
                          .d_model = t->sae.d_model};
    sample.own = orth_sample_rows(sample.total, t->grid.size, t->grid.rank);
    t->sae.mse_scale = t->sae.recipe.loss == ORTH_LOSS_MSE_SCALED ? t->sae.recipe.mse_scale : 1.0;
    if (t->sae.recipe.init == ORTH_INIT_FILE)
        ORTH_TRY(orth_init_file(t->config.init_file, &t->sae));
    orth_status status = ORTH_OK;
    if (sample_needed(&t->sae.recipe))
        status = init_from_sample(t, &sample);
    else if (t->sae.recipe.init != ORTH_INIT_FILE)
        status = orth_init_random(&t->sae, NULL);
    orth_free(sample.x);
    orth_free(sample.valid);
    return status;
}

static orth_status check_data(const orth_trainer *t, const char *path,
                              const orth_checkpoint_info *info)
{
    const orth_fingerprint *now = &t->fingerprint, *then = &info->data;
    if (now->rows == then->rows && now->d_model == then->d_model && now->hash == then->hash)
        return ORTH_OK;
    return orth_fail(ORTH_ERR_DATA,
                     "data.files: not the activations that %s was trained on (%lld rows of %lld "
                     "now, %lld of %lld then, or other values); restore them or start in "
                     "another run.dir",
                     path, (long long)now->rows, (long long)now->d_model, (long long)then->rows,
                     (long long)then->d_model);
}

/* The decay of the learning rate ends with the run: with another length it is another schedule. */
static void announce_schedule(orth_trainer *t, int64_t planned)
{
    double share = t->sae.recipe.decay;
    if (share <= 0.0 || planned == t->steps)
        return;
    t->other_schedule = true;
    orth_log_warning("train.decay: the run now has %lld steps, the checkpoint's had %lld: the "
                     "learning rate falls after step %.0f instead of %.0f",
                     (long long)t->steps, (long long)planned,
                     (double)t->steps * (1.0 - share) + 1.0, (double)planned * (1.0 - share) + 1.0);
}

/* Data before the configuration: other defaults follow from another width. */
static orth_status check_resumable(orth_trainer *t, const char *path,
                                   const orth_checkpoint_info *info)
{
    if (!info->has_optimizer)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%s: has weights but no optimizer state; start from it with init.scheme: "
                         "file and init.file",
                         path);
    ORTH_TRY(check_data(t, path, info));
    orth_config saved;
    ORTH_TRY(orth_config_parse(info->config, (int64_t)strlen(info->config), path, NULL, 0, &saved));
    orth_status status = orth_config_compatible(&t->config, &saved, path);
    int64_t planned = 0;
    if (status == ORTH_OK)
        status = orth_trainer_steps(&saved, info->data.rows, saved.recipe.batch, &planned);
    if (status == ORTH_OK)
        announce_schedule(t, planned);
    orth_config_free(&saved);
    return status;
}

/* How the continuation compares with a run that was never stopped. */
static const char *continuation(const orth_trainer *t, const orth_checkpoint_info *info)
{
    orth_checkpoint_info now;
    orth_trainer_describe(t, &now);
    if (info->n_group != t->grid.n_group || info->n_shard != t->grid.n_shard)
        return "exact up to rounding: the grid differs";
    if (info->threads != now.threads || strcmp(info->isa, now.isa) != 0 ||
        strcmp(info->libraries, now.libraries) != 0)
        return "exact up to rounding: threads, kernels or libraries differ";
    return t->other_schedule ? "bit for bit that of this schedule from this checkpoint on"
                             : "bit for bit that of an undisturbed run";
}

static void announce_resume(const orth_trainer *t, const char *path,
                            const orth_checkpoint_info *info)
{
    orth_log_info("resuming from %s: step %lld of %lld, written by %d x %d ranks, %d threads, %s; "
                  "the continuation is %s",
                  path, (long long)info->step, (long long)t->steps, info->n_group, info->n_shard,
                  info->threads, info->isa, continuation(t, info));
    if (info->step >= t->steps)
        orth_log_info(
            "all %lld steps are done already; raise run.steps (or tokens, epochs) to go on",
            (long long)t->steps);
}

/* `own`: the checkpoint is in run.dir, which then has this step. */
static orth_status resume_from(orth_trainer *t, const char *path, bool own)
{
    orth_checkpoint_info info = {0};
    ORTH_TRY(orth_checkpoint_read_info(path, t->grid.world, &info));
    orth_status status = orth_agree(t->grid.world, check_resumable(t, path, &info));
    if (status == ORTH_OK)
        status = orth_checkpoint_read(path, &t->sae);
    if (status == ORTH_OK) {
        t->cursor = info.cursor;
        t->tokens_seen = info.tokens_seen;
        t->skipped = info.skipped;
        t->n_skipped = info.n_skipped;
        info.skipped = NULL;
        t->last_checkpoint_step = own ? info.step : -1;
        announce_resume(t, path, &info);
    }
    orth_checkpoint_info_free(&info);
    return status;
}

/* The checkpoint to go on from; NULL for a fresh start. */
static orth_status choose_checkpoint(const orth_trainer *t, const char *resume, char **path)
{
    if (strcmp(resume, "auto") != 0 && strcmp(resume, "never") != 0) {
        FILE *file = t->grid.rank == 0 ? fopen(resume, "rb") : NULL;
        orth_status status = ORTH_OK;
        if (t->grid.rank == 0 && !file)
            status = orth_fail(ORTH_ERR_USAGE,
                               "--resume %s: there is no such checkpoint; give a path "
                               "of a checkpoint file, auto or never",
                               resume);
        if (file)
            fclose(file);
        ORTH_TRY(orth_agree(t->grid.world, status));
        *path = orth_strdup(resume);
        return *path ? ORTH_OK : orth_fail(ORTH_ERR_ENVIRONMENT, "--resume: out of memory");
    }
    ORTH_TRY(orth_checkpoint_find(t->config.run_dir, t->grid.world, true, path));
    if (*path && !strcmp(resume, "never"))
        return orth_fail(ORTH_ERR_USAGE,
                         "--resume never: run.dir holds the checkpoint %s; choose "
                         "another run.dir or --resume auto",
                         *path);
    return ORTH_OK;
}

/* --resume PATH and never are meant for the first start of a job: one that is requeued goes on from
 * what the starts before it saved. NULL: they saved nothing. */
static orth_status choose_requeued(const orth_trainer *t, const char *resume, char **path)
{
    bool continues = false;
    if (strcmp(resume, "auto") == 0)
        return ORTH_OK;
    ORTH_TRY(orth_restarts_continues(t->config.run_dir, t->grid.world, &continues));
    return continues ? orth_checkpoint_find(t->config.run_dir, t->grid.world, true, path) : ORTH_OK;
}

/* A requeued start could not tell later checkpoints, of a continuation given up, from its own. */
static orth_status check_no_later(const orth_trainer *t)
{
    int64_t *steps = NULL, count = 0;
    if (t->grid.rank != 0)
        return ORTH_OK;
    ORTH_TRY(orth_checkpoint_list_steps(t->config.run_dir, &steps, &count));
    int64_t newest = count > 0 ? steps[0] : -1;
    orth_free(steps);
    if (newest <= t->sae.step)
        return ORTH_OK;
    return orth_fail(ORTH_ERR_USAGE,
                     "--resume: run.dir holds a checkpoint of the later step %lld, from which this "
                     "job would go on when it is requeued; move the later ones away or use another "
                     "run.dir",
                     (long long)newest);
}

static orth_status check_origin(const orth_trainer *t)
{
    bool possible = false;
    ORTH_TRY(orth_restarts_possible(t->grid.world, &possible));
    return possible ? orth_agree(t->grid.world, check_no_later(t)) : ORTH_OK;
}

orth_status orth_trainer_start(orth_trainer *t, const char *resume)
{
    char *path = NULL;
    t->last_checkpoint_step = t->last_try = -1;
    orth_phase_enter(&t->timer, ORTH_PHASE_CHECKPOINT);
    orth_status status = orth_agree(t->grid.world, choose_requeued(t, resume, &path));
    bool own = path || strcmp(resume, "auto") == 0;
    if (status == ORTH_OK && !path)
        status = orth_agree(t->grid.world, choose_checkpoint(t, resume, &path));
    if (!path)
        orth_phase_enter(&t->timer, ORTH_PHASE_PREPARE);
    if (status == ORTH_OK)
        status = path ? resume_from(t, path, own) : init_fresh(t);
    if (status == ORTH_OK && !own && path)
        status = check_origin(t);
    if (own)
        free(path);
    else
        t->origin = path;
    return orth_agree(t->grid.world, status);
}

/* The same run's checkpoint: nothing to compare. What is left out is known here already. */
static orth_status reload(orth_trainer *t, const char *path)
{
    orth_checkpoint_info info = {0};
    ORTH_TRY(orth_checkpoint_read_info(path, t->grid.world, &info));
    orth_status status = orth_checkpoint_read(path, &t->sae);
    t->cursor = info.cursor;
    t->tokens_seen = info.tokens_seen;
    orth_checkpoint_info_free(&info);
    return status;
}

/* The run's newest checkpoint cannot be read: the one before. Later ones are of a continuation that
 * was given up. */
static orth_status reload_older(orth_trainer *t)
{
    char *path = NULL;
    orth_error_clear();
    ORTH_TRY(orth_checkpoint_find_up_to(t->config.run_dir, t->last_checkpoint_step, t->grid.world,
                                        true, &path));
    orth_status status = ORTH_OK;
    if (path)
        status = reload(t, path);
    else
        status = orth_fail(ORTH_ERR_CORRUPT,
                           "%s: the checkpoint of step %lld is gone, and there is none before it; "
                           "start the run again",
                           t->config.run_dir, (long long)t->last_checkpoint_step);
    free(path);
    return status;
}

orth_status orth_trainer_restart(orth_trainer *t)
{
    char *path = NULL;
    orth_status status = ORTH_OK;
    if (t->last_checkpoint_step < 0 && t->origin)
        return reload(t, t->origin);
    if (t->last_checkpoint_step < 0) {
        orth_sae_free(&t->sae);
        ORTH_TRY(orth_trainer_create_model(t));
        return orth_agree(t->grid.world, init_fresh(t));
    }
    status = orth_agree(t->grid.world, orth_checkpoint_path(t->config.run_dir,
                                                            t->last_checkpoint_step, false, &path));
    if (status == ORTH_OK)
        status = reload(t, path);
    free(path);
    if (status == ORTH_ERR_CORRUPT || status == ORTH_ERR_USAGE)
        status = reload_older(t);
    if (status == ORTH_OK)
        t->last_checkpoint_step = t->sae.step;
    return status;
}
