#include "trainer_parts.h"

#include <orthant/base/fault.h>
#include <orthant/base/log.h>
#include <orthant/base/memory.h>
#include <orthant/kern/library.h>
#include <orthant/kern/table.h>
#include <orthant/kern/threads.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/run/memory_room.h>
#include <orthant/run/plan.h>
#include <orthant/run/restarts.h>
#include <orthant/run/run_dir.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* Before run.dir is made, for a start that has nothing to resume from: what the weights come from.
 */
static orth_status check_init_file(const orth_config *config, const orth_recipe *recipe,
                                   const char *resume, int64_t d_model, MPI_Comm world)
{
    int rank;
    if (recipe->init != ORTH_INIT_FILE ||
        (strcmp(resume, "auto") != 0 && strcmp(resume, "never") != 0))
        return ORTH_OK;
    ORTH_MPI(MPI_Comm_rank(world, &rank));
    int fresh = rank == 0 && !orth_run_dir_recognise(config->run_dir);
    ORTH_TRY(orth_broadcast(&fresh, 1, MPI_INT, 0, world));
    return fresh ? orth_init_file_check(config->init_file, recipe->n_latent, d_model, world)
                 : ORTH_OK;
}

/* Whether the ranks can be arranged as asked does not depend on the data, nor on these sizes. */
static orth_status check_grid(const orth_config *config, MPI_Comm world)
{
    int size, n_group, n_shard;
    ORTH_MPI(MPI_Comm_size(world, &size));
    return orth_grid_choose(size, 1, config->recipe.batch, config->grid_n_group,
                            config->grid_n_shard, &n_group, &n_shard);
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
static double describe_memory(const orth_trainer *t, char *out, size_t size)
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
    if (orth_plan_memory_of(&problem, t->grid.n_group, t->grid.n_shard, &memory) != ORTH_OK) {
        orth_error_clear();
        return 0.0;
    }
    snprintf(out, size, ", encode %s; memory of a rank at most about %.0f MiB%s",
             orth_encode_names[memory.encode], memory.most / 1048576.0,
             fixed ? "" : " at a density of 50 %");
    return memory.most;
}

/* What every trainer of its kind would announce first. */
static orth_status announce(const orth_trainer *t)
{
    const orth_recipe *r = &t->sae.recipe;
    int usable;
    char core[200];
    orth_blas_core_describe(core, sizeof core);
    char memory[128];
    double bytes = describe_memory(t, memory, sizeof memory);
    orth_log_info("%s, %lld latents of %lld values, batch %lld, %lld steps; grid %d x %d (groups x "
                  "shards), %d thread%s a rank, kernels %s%s%s%s",
                  orth_selection_names[r->selection], (long long)r->n_latent,
                  (long long)t->sae.d_model, (long long)r->batch, (long long)t->steps,
                  t->grid.n_group, t->grid.n_shard, orth_threads_count(),
                  orth_threads_count() == 1 ? "" : "s", orth_kernels_reason(&usable),
                  core[0] ? ", BLAS " : "", core, memory);
    return orth_memory_room_check(bytes, t->grid.world);
}

orth_status orth_trainer_open_metrics(orth_trainer *t, int64_t rollbacks)
{
    orth_status status = ORTH_OK;
    if (t->grid.rank == 0)
        status = orth_metrics_resume(t->config.run_dir, t->sae.step, rollbacks, &t->metrics);
    return orth_agree(t->grid.world, status);
}

static orth_status open_outputs(orth_trainer *t)
{
    /* A shorter length than what is done changes nothing. */
    if (t->sae.step <= t->steps)
        ORTH_TRY(
            orth_run_dir_write(t->config.run_dir, "config.yaml", t->config_text, t->grid.world));
    return orth_trainer_open_metrics(t, t->n_skipped);
}

orth_status orth_trainer_open_stream(orth_trainer *t)
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

/* Before anything that may hang, as opening a file does where the file system is dead. */
static orth_status start_watchdog(orth_trainer *t, MPI_Comm world)
{
    int rank;
    orth_phase_start(&t->timer);
    orth_phase_enter(&t->timer, ORTH_PHASE_PREPARE);
    ORTH_MPI(MPI_Comm_rank(world, &rank));
    return orth_watchdog_start(t->config.run_watchdog, rank, &t->timer, &t->watchdog);
}

/* A start that stands still before it is counted must not be requeued again and again. */
static orth_status limit_uncounted(orth_trainer *t, MPI_Comm world)
{
    bool last = false;
    ORTH_TRY(orth_restarts_last(world, &last));
    if (last)
        orth_watchdog_set_code(t->watchdog, ORTH_ERR_ENVIRONMENT);
    return ORTH_OK;
}

static orth_status count_start(orth_trainer *t, MPI_Comm world)
{
    if (t->sae.step >= t->steps)
        return ORTH_OK;
    ORTH_TRY(orth_restarts_check(t->config.run_dir, t->sae.step, world));
    orth_watchdog_set_code(t->watchdog, ORTH_STALLED);
    return ORTH_OK;
}

orth_status orth_trainer_prepare(const orth_config *config, const char *resume, bool quiet,
                                 MPI_Comm world, orth_trainer *t)
{
    t->config = *config;
    t->quiet = quiet;
    t->started = orth_now();
    ORTH_TRY(orth_agree(world, start_watchdog(t, world)));
    ORTH_TRY(limit_uncounted(t, world));
    ORTH_TRY(check_grid(config, world));
    ORTH_TRY(orth_run_dir_try(config->run_dir, world));
    orth_phase_enter(&t->timer, ORTH_PHASE_READ);
    orth_fault("prepare.data");
    ORTH_TRY(open_data(t, config, world));
    orth_phase_enter(&t->timer, ORTH_PHASE_PREPARE);
    orth_recipe recipe = config->recipe;
    if (recipe.n_latent == 0)
        recipe.n_latent = 16 * orth_dataset_width(t->dataset);
    ORTH_TRY(orth_agree(world, orth_trainer_check_sizes(&recipe, orth_dataset_width(t->dataset))));
    ORTH_TRY(check_init_file(config, &recipe, resume, orth_dataset_width(t->dataset), world));
    ORTH_TRY(create_grid(t, &recipe, world));
    ORTH_TRY(open_run_dir(t, world));
    ORTH_TRY(orth_trainer_create_model(t));
    t->config.recipe = t->sae.recipe;
    ORTH_TRY(orth_agree(world, orth_trainer_steps(config, orth_dataset_rows(t->dataset),
                                                  t->sae.recipe.batch, &t->steps)));
    ORTH_TRY(orth_agree(world, orth_config_text(&t->config, &t->config_text)));
    ORTH_TRY(announce(t));
    ORTH_TRY(orth_trainer_start(t, resume));
    orth_phase_enter(&t->timer, ORTH_PHASE_PREPARE);
    ORTH_TRY(count_start(t, world));
    ORTH_TRY(open_outputs(t));
    return orth_trainer_open_stream(t);
}

void orth_trainer_close(orth_trainer *t)
{
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
    free(t->origin);
    orth_free(t->skipped);
    orth_grid_free(&t->grid);
    orth_watchdog_stop(t->watchdog);
}
