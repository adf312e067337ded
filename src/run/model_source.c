#include <orthant/run/model_source.h>

#include <orthant/base/memory.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/run/run_dir.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef enum model_kind { MODEL_FILE, MODEL_RUN, MODEL_FOLDER } model_kind;

/* Whether a file means nothing without the others of its folder. */
static bool is_part(const char *path)
{
    static const char *const names[] = {"sae_weights.safetensors", "sae.safetensors", "cfg.json",
                                        "config.json", "orthant.json"};
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    bool found = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        found = found || strcmp(name, names[i]) == 0;
    return found;
}

static orth_status look(const char *model, bool foreign, model_kind *out)
{
    struct stat info;
    if (stat(model, &info) != 0)
        return orth_fail(
            ORTH_ERR_USAGE,
            "%s: %s; give a checkpoint file, a run directory or another tool's folder", model,
            errno == ENOENT || errno == ENOTDIR ? "there is no such model" : strerror(errno));
    *out = S_ISDIR(info.st_mode) ? MODEL_RUN : MODEL_FILE;
    if (*out == MODEL_FILE && !foreign && is_part(model))
        return orth_fail(ORTH_ERR_USAGE, "%s: is a file of an exported folder; name the folder",
                         model);
    if (*out == MODEL_RUN && orth_run_dir_recognise(model))
        return ORTH_OK;
    if (foreign)
        *out = MODEL_FOLDER;
    if (*out != MODEL_RUN)
        return ORTH_OK;
    return orth_fail(ORTH_ERR_USAGE,
                     "%s: a folder without checkpoints; give a run directory, a checkpoint file or "
                     "another tool's folder",
                     model);
}

/* Rank 0 looks, so that all go the same way. */
static orth_status find_path(const char *model, MPI_Comm comm, bool *foreign, char **out)
{
    int rank, kind = MODEL_FILE;
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    orth_status status = ORTH_OK;
    ORTH_TRY(orth_sae_folder_recognise(model, comm, foreign));
    if (rank == 0) {
        model_kind found = MODEL_FILE;
        status = look(model, *foreign, &found);
        kind = found;
    }
    ORTH_TRY(orth_agree(comm, status));
    ORTH_TRY(orth_broadcast(&kind, 1, MPI_INT, 0, comm));
    *foreign = kind == MODEL_FOLDER;
    if (kind != MODEL_RUN)
        return orth_agree(comm, orth_path_format(out, "%s", model));
    ORTH_TRY(orth_checkpoint_find(model, comm, false, out));
    if (!*out)
        return orth_fail(ORTH_ERR_USAGE,
                         "%s: this run has no checkpoint yet; wait for its first one, or give a "
                         "checkpoint file",
                         model);
    return ORTH_OK;
}

/* What a folder says, as if it were a checkpoint. */
static orth_status describe_folder(orth_model_source *source)
{
    const orth_sae_description *d = orth_sae_folder_description(source->folder);
    orth_config config = {0};
    ORTH_TRY(orth_config_load(NULL, NULL, 0, &config));
    config.recipe.n_latent = d->n_latent;
    config.recipe.selection = d->selection;
    if (orth_selection_uses_k(d->selection))
        config.recipe.k = d->k;
    config.recipe.input = d->input;
    config.recipe.init = ORTH_INIT_FILE;
    orth_status status = orth_path_format(&config.init_file, "%s", source->path);
    if (status == ORTH_OK)
        status = orth_config_text(&config, &source->info.config);
    orth_config_free(&config);
    source->info.n_latent = d->n_latent;
    source->info.d_model = d->d_model;
    source->info.data.d_model = d->d_model;
    source->info.mse_scale = 1.0;
    source->info.input_scale = d->input_scale;
    source->info.has_threshold = d->selection == ORTH_SELECT_JUMPRELU;
    return status;
}

static orth_status open_folder(orth_model_source *source, MPI_Comm comm)
{
    ORTH_TRY(orth_sae_folder_open(source->path, comm, &source->folder));
    return orth_agree(comm, describe_folder(source));
}

/* The overrides after those that forget the grid on which the model was trained. */
static orth_status parse_config(orth_model_source *source, const char *const *overrides,
                                int64_t n_override)
{
    static const char *const first[] = {"grid.n_group=auto", "grid.n_shard=auto"};
    const char **all = NULL;
    ORTH_TRY(ORTH_ALLOCATE(n_override + 2, "overrides", &all));
    memcpy(all, first, sizeof first);
    if (n_override > 0)
        memcpy(all + 2, overrides, (size_t)n_override * sizeof *all);
    orth_status status =
        orth_config_parse(source->info.config, (int64_t)strlen(source->info.config), source->path,
                          all, n_override + 2, &source->config);
    orth_free(all);
    ORTH_TRY(status);
    if (source->config.recipe.n_latent == 0)
        source->config.recipe.n_latent = source->info.n_latent;
    if (source->config.recipe.n_latent != source->info.n_latent)
        return orth_fail(ORTH_ERR_USAGE,
                         "model.n_latent: %lld, but %s holds %lld latents; leave the key out",
                         (long long)source->config.recipe.n_latent, source->path,
                         (long long)source->info.n_latent);
    if (source->config.recipe.selection == ORTH_SELECT_JUMPRELU && !source->info.has_threshold)
        return orth_fail(ORTH_ERR_USAGE,
                         "model.selection: %s holds no thresholds, which jumprelu needs; leave the "
                         "key out",
                         source->path);
    if (orth_selection_uses_k(source->config.recipe.selection) &&
        source->config.recipe.k > source->info.n_latent)
        return orth_fail(ORTH_ERR_USAGE, "model.k: %lld is more than the %lld latents; lower it",
                         (long long)source->config.recipe.k, (long long)source->info.n_latent);
    return ORTH_OK;
}

orth_status orth_model_open(const char *model, const char *const *overrides, int64_t n_override,
                            MPI_Comm comm, orth_model_source *out)
{
    orth_model_source source = {0};
    bool foreign = false;
    orth_status status = find_path(model, comm, &foreign, &source.path);
    if (status == ORTH_OK)
        status = foreign ? open_folder(&source, comm)
                         : orth_checkpoint_read_info(source.path, comm, &source.info);
    if (status == ORTH_OK)
        status = orth_agree(comm, parse_config(&source, overrides, n_override));
    if (status == ORTH_OK)
        *out = source;
    else
        orth_model_close(&source);
    return status;
}

orth_status orth_model_grid(const orth_model_source *source, int64_t batch, MPI_Comm comm,
                            orth_grid *out)
{
    int size, n_group, n_shard;
    ORTH_MPI(MPI_Comm_size(comm, &size));
    ORTH_TRY(orth_grid_choose(size, source->info.n_latent, batch, source->config.grid_n_group,
                              source->config.grid_n_shard, &n_group, &n_shard));
    return orth_grid_create(comm, n_group, n_shard, out);
}

orth_status orth_model_load(const orth_model_source *source, const orth_grid *grid, orth_sae *out)
{
    orth_sae sae = {0};
    orth_status status =
        orth_agree(grid->world, orth_sae_create(grid, &source->config.recipe, source->info.d_model,
                                                false, &sae));
    sae.encode = source->config.compute_encode;
    if (status == ORTH_OK)
        status = source->folder ? orth_sae_folder_read(source->folder, &sae)
                                : orth_checkpoint_read(source->path, &sae);
    if (source->folder || !orth_checkpoint_step_known(&source->info))
        sae.step = ORTH_STEP_UNKNOWN;
    if (status == ORTH_OK)
        *out = sae;
    else
        orth_sae_free(&sae);
    return status;
}

const char *orth_model_step_text(int64_t step, char room[ORTH_STEP_ROOM])
{
    room[0] = '\0';
    if (step != ORTH_STEP_UNKNOWN)
        snprintf(room, ORTH_STEP_ROOM, "step %" PRId64 ", ", step);
    return room;
}

void orth_model_close(orth_model_source *source)
{
    free(source->path);
    orth_sae_folder_close(source->folder);
    orth_checkpoint_info_free(&source->info);
    orth_config_free(&source->config);
    memset(source, 0, sizeof *source);
}
