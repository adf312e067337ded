#include "trainer_parts.h"

#include <orthant/base/log.h>
#include <orthant/base/memory.h>
#include <orthant/io/shuffle.h>
#include <orthant/kern/library.h>
#include <orthant/kern/table.h>
#include <orthant/kern/threads.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/run/plan.h>
#include <orthant/run/run_dir.h>
#include <orthant/sae/init.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

orth_status orth_trainer_check_sizes(const orth_recipe *recipe, int64_t d_model)
{
    if (recipe->k > recipe->n_latent && recipe->selection != ORTH_SELECT_TOPAFA)
        return orth_fail(ORTH_ERR_USAGE, "model.k: %lld is more than the %lld latents; lower it",
                         (long long)recipe->k, (long long)recipe->n_latent);
    if (recipe->selection == ORTH_SELECT_TOPAFA && recipe->n_latent > INT64_C(1) << 24)
        return orth_fail(ORTH_ERR_USAGE,
                         "model.n_latent: %lld is out of range: topafa allows at most 2^24; give a "
                         "smaller dictionary",
                         (long long)recipe->n_latent);
    if (recipe->n_latent >= UINT32_MAX || d_model > INT_MAX / 2 || recipe->batch > INT_MAX)
        return orth_fail(ORTH_ERR_USAGE,
                         "model.n_latent, d_model or train.batch: %lld, %lld, %lld are too large; "
                         "at most 2^32 - 2, 2^30, 2^31 - 1",
                         (long long)recipe->n_latent, (long long)d_model, (long long)recipe->batch);
    return ORTH_OK;
}

orth_status orth_trainer_steps(const orth_config *config, int64_t rows, int64_t batch,
                               int64_t *steps)
{
    int64_t tokens = config->run_tokens;
    *steps = config->run_steps;
    if (*steps > 0)
        return ORTH_OK;
    if (tokens == 0 && __builtin_mul_overflow(config->run_epochs, rows, &tokens))
        return orth_fail(ORTH_ERR_USAGE,
                         "run.epochs: %lld epochs of %lld tokens are more than 64 bits count; give "
                         "fewer",
                         (long long)config->run_epochs, (long long)rows);
    *steps = tokens / batch + (tokens % batch != 0);
    return ORTH_OK;
}

static orth_status open_data(orth_trainer *t, const orth_config *config, MPI_Comm world)
{
    ORTH_TRY(orth_dataset_open((const char *const *)config->data_files.items,
                               config->data_files.count, config->data_dataset, world, &t->dataset));
    ORTH_TRY(orth_dataset_fingerprint(t->dataset, &t->fingerprint));
    if (config->eval_every == 0 || config->data_eval_files.count == 0)
        return ORTH_OK;
    ORTH_TRY(orth_dataset_open((const char *const *)config->data_eval_files.items,
                               config->data_eval_files.count, config->data_dataset, world,
                               &t->eval_dataset));
    if (orth_dataset_width(t->eval_dataset) != orth_dataset_width(t->dataset))
        return orth_fail(ORTH_ERR_DATA,
                         "data.eval_files: %lld values a token, data.files have %lld; "
                         "use activations of the same model and layer",
                         (long long)orth_dataset_width(t->eval_dataset),
                         (long long)orth_dataset_width(t->dataset));
    return ORTH_OK;
}

static orth_status create_grid(orth_trainer *t, const orth_recipe *recipe, MPI_Comm world)
{
    int size, n_group, n_shard;
    ORTH_MPI(MPI_Comm_size(world, &size));
    ORTH_TRY(orth_grid_choose(size, recipe->n_latent, recipe->batch, t->config.grid_n_group,
                              t->config.grid_n_shard, &n_group, &n_shard));
    ORTH_TRY(orth_grid_create(world, n_group, n_shard, &t->grid));
    return orth_grid_agree_threads(&t->grid, orth_threads_count());
}

static orth_status open_run_dir(orth_trainer *t, MPI_Comm world)
{
    ORTH_TRY(orth_run_dir_create(t->config.run_dir, world));
    ORTH_TRY(orth_lock_acquire(t->config.run_dir, world, &t->lock));
    orth_status status = ORTH_OK;
    if (t->grid.rank == 0)
        status = orth_run_dir_open_log(t->config.run_dir, &t->log);
    if (status == ORTH_OK)
        orth_log_file(t->log);
    return orth_agree(world, status);
}

/* The encoder, and what a rank will take at most, as `orthant plan` tells it. How much top-AFA
 * selects is not known yet: half of the latents, as after a usual initialisation. */
static void describe_memory(const orth_trainer *t, char *out, size_t size)
{
    const orth_recipe *r = &t->config.recipe;
    bool fixed = r->selection != ORTH_SELECT_TOPAFA;
    double entries = fixed ? (double)r->k : 0.5 * (double)r->n_latent;
    orth_plan_memory memory;
    orth_plan_problem problem = {
        .config = t->config,
        .options = {.ranks = t->grid.size, .threads = orth_threads_count()},
        .d_model = t->sae.d_model,
        .rows = orth_dataset_rows(t->dataset),
        .row_bytes = orth_dataset_row_bytes(t->dataset),
        .entries = entries,
        .most_entries = entries,
        .program = (double)orth_peak_memory()};
    out[0] = '\0';
    if (orth_plan_memory_of(&problem, t->grid.n_group, t->grid.n_shard, &memory) == ORTH_OK)
        snprintf(out, size, ", encode %s; memory of a rank at most about %.0f MiB%s",
                 orth_encode_names[memory.encode], memory.most / 1048576.0,
                 fixed ? "" : " at a density of 50 %");
    else
        orth_error_clear();
}

/* What every trainer of its kind would announce first. */
static void announce(const orth_trainer *t)
{
    const orth_recipe *r = &t->sae.recipe;
    int usable;
    char core[200];
    orth_blas_core_describe(core, sizeof core);
    char memory[128];
    describe_memory(t, memory, sizeof memory);
    orth_log_info("%s, %lld latents of %lld values, batch %lld, %lld steps; grid %d x %d (groups x "
                  "shards), %d thread%s a rank, kernels %s%s%s%s",
                  orth_selection_names[r->selection], (long long)r->n_latent,
                  (long long)t->sae.d_model, (long long)r->batch, (long long)t->steps,
                  t->grid.n_group, t->grid.n_shard, orth_threads_count(),
                  orth_threads_count() == 1 ? "" : "s", orth_kernels_reason(&usable),
                  core[0] ? ", BLAS " : "", core, memory);
}

void orth_trainer_describe(const orth_trainer *t, orth_checkpoint_info *info)
{
    char mpi[MPI_MAX_LIBRARY_VERSION_STRING] = "", blas[160] = "";
    int length = 0;
    MPI_Get_library_version(mpi, &length);
    mpi[strcspn(mpi, ",\n")] = '\0';
    orth_blas_library(blas, sizeof blas);
    *info = (orth_checkpoint_info){.tokens_seen = t->tokens_seen,
                                   .cursor = t->cursor,
                                   .data = t->fingerprint,
                                   .threads = orth_threads_count(),
                                   .config = t->config_text};
    snprintf(info->program_version, sizeof info->program_version, "%s", ORTH_VERSION);
    snprintf(info->isa, sizeof info->isa, "%s", orth_kernels_get()->name);
    snprintf(info->libraries, sizeof info->libraries, "%.90s; %s", mpi, blas);
}

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

/* Data first: other defaults follow from another width. */
static orth_status check_resumable(orth_trainer *t, const char *path,
                                   const orth_checkpoint_info *info)
{
    ORTH_TRY(check_data(t, path, info));
    if (!info->has_optimizer)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%s: has weights but no optimizer state; start from it with init.scheme: "
                         "file and init.file",
                         path);
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
        orth_log_info("all %lld steps are done already; ask for more to go on",
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

static orth_status init_or_resume(orth_trainer *t, const char *resume)
{
    char *path = NULL;
    t->last_checkpoint_step = -1;
    orth_status status = orth_agree(t->grid.world, choose_checkpoint(t, resume, &path));
    if (status == ORTH_OK)
        status = path ? resume_from(t, path, !strcmp(resume, "auto")) : init_fresh(t);
    free(path);
    return orth_agree(t->grid.world, status);
}

static orth_status open_outputs(orth_trainer *t)
{
    orth_status status = ORTH_OK;
    /* A shorter length than what is done changes nothing. */
    if (t->sae.step <= t->steps)
        ORTH_TRY(
            orth_run_dir_write(t->config.run_dir, "config.yaml", t->config_text, t->grid.world));
    if (t->grid.rank == 0)
        status = orth_metrics_open(t->config.run_dir, t->sae.step, &t->metrics);
    return orth_agree(t->grid.world, status);
}

static orth_status open_stream(orth_trainer *t)
{
    const orth_config *config = &t->config;
    orth_stream_options options = {.batch = t->sae.recipe.batch,
                                   .reads = orth_grid_reads(&t->grid, t->sae.recipe.batch),
                                   .seed = config->recipe.seed,
                                   .shuffle = config->data_shuffle,
                                   .cursor = t->cursor,
                                   .read_ahead = true};
    ORTH_TRY(orth_workspace_create(&t->sae, t->sae.recipe.batch, true, &t->workspace));
    return orth_agree(t->grid.world, orth_stream_open(t->dataset, &options, &t->stream));
}

static orth_status create_model(orth_trainer *t)
{
    int64_t d = orth_dataset_width(t->dataset);
    orth_status status = orth_sae_create(&t->grid, &t->config.recipe, d, true, &t->sae);
    t->sae.encode = t->config.compute_encode;
    if (status == ORTH_OK)
        status = orth_trainer_check_sizes(&t->sae.recipe, d);
    return orth_agree(t->grid.world, status);
}

orth_status orth_trainer_prepare(const orth_config *config, const char *resume, bool quiet,
                                 MPI_Comm world, orth_trainer *t)
{
    t->config = *config;
    t->quiet = quiet;
    t->started = orth_now();
    orth_phase_start(&t->timer);
    ORTH_TRY(orth_run_dir_check(config->run_dir, world));
    ORTH_TRY(open_data(t, config, world));
    orth_recipe recipe = config->recipe;
    if (recipe.n_latent == 0)
        recipe.n_latent = 16 * orth_dataset_width(t->dataset);
    ORTH_TRY(orth_agree(world, orth_trainer_check_sizes(&recipe, orth_dataset_width(t->dataset))));
    ORTH_TRY(create_grid(t, &recipe, world));
    ORTH_TRY(open_run_dir(t, world));
    ORTH_TRY(create_model(t));
    t->config.recipe = t->sae.recipe;
    ORTH_TRY(orth_agree(world, orth_trainer_steps(config, orth_dataset_rows(t->dataset),
                                                  t->sae.recipe.batch, &t->steps)));
    ORTH_TRY(orth_agree(world, orth_config_text(&t->config, &t->config_text)));
    announce(t);
    ORTH_TRY(init_or_resume(t, resume));
    ORTH_TRY(open_outputs(t));
    return open_stream(t);
}

void orth_trainer_close(orth_trainer *t)
{
    orth_watchdog_stop(t->watchdog);
    orth_stream_close(t->stream);
    orth_workspace_free(&t->workspace);
    orth_sae_free(&t->sae);
    orth_metrics_close(t->metrics);
    orth_dataset_close(t->eval_dataset);
    orth_dataset_close(t->dataset);
    orth_lock_release(t->lock);
    orth_log_file(NULL);
    if (t->log)
        fclose(t->log);
    free(t->config_text);
    orth_grid_free(&t->grid);
}
