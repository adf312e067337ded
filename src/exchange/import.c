#include <orthant/exchange/import.h>

#include <orthant/base/log.h>
#include <orthant/base/path.h>
#include <orthant/kern/threads.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/run/model_source.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Memory for a model that is read for a moment does not ask for a grid of its own. */
enum { ANY_BATCH = 4096 };

/* Before the work: whether the file can be made where it is wanted. Rank 0 tries. */
static orth_status try_file(const char *file, MPI_Comm comm)
{
    int rank = 0;
    char *partial = NULL;
    struct stat info;
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    orth_status status = rank == 0 ? orth_path_format(&partial, "%s.partial", file) : ORTH_OK;
    if (partial && stat(file, &info) == 0 && !S_ISREG(info.st_mode)) {
        status = orth_fail(ORTH_ERR_STORAGE, "%s: is no plain file; name another", file);
    } else if (partial) {
        FILE *tried = fopen(partial, "ab");
        if (!tried)
            status = orth_fail(ORTH_ERR_STORAGE,
                               "%s: cannot create: %s; give a file in an existing folder that can "
                               "be written",
                               file, strerror(errno));
        else if (fclose(tried) == 0)
            unlink(partial);
    }
    free(partial);
    return orth_agree(comm, status);
}

/* What is read must not be lost. */
static orth_status check_not_read(const orth_model_source *source, const char *file)
{
    const char *read = source->path;
    if (source->folder)
        read = orth_tensor_file_path(orth_sae_folder_tensors(source->folder));
    return orth_same_file(file, read)
               ? orth_fail(ORTH_ERR_USAGE,
                           "--out %s: is a file that this command reads and would be lost; name "
                           "another file",
                           file)
               : ORTH_OK;
}

static orth_status write_checkpoint(const orth_model_source *source, const orth_sae *sae,
                                    const char *file)
{
    orth_checkpoint_info info = source->info;
    char *config = NULL;
    ORTH_TRY(orth_agree(sae->grid->world, orth_config_text(&source->config, &config)));
    info.config = config;
    info.threads = orth_threads_count();
    snprintf(info.program_version, sizeof info.program_version, "%s", ORTH_VERSION);
    orth_status status = orth_checkpoint_write_file(file, sae, &info);
    free(config);
    return status;
}

static orth_status read_and_write(const orth_model_source *source, const char *file, MPI_Comm comm)
{
    orth_grid grid = {0};
    orth_sae sae = {0};
    ORTH_TRY(orth_model_grid(source, ANY_BATCH, comm, &grid));
    orth_status status = orth_model_load(source, &grid, &sae);
    /* A checkpoint has no word for a step that is not known: it is 0, without moments. */
    if (sae.step == ORTH_STEP_UNKNOWN)
        sae.step = 0;
    if (status == ORTH_OK)
        status = write_checkpoint(source, &sae, file);
    if (status == ORTH_OK)
        orth_log_info("%s: %lld latents of %lld values, selection %s, from %s", file,
                      (long long)sae.recipe.n_latent, (long long)sae.d_model,
                      orth_selection_names[sae.recipe.selection], source->path);
    orth_sae_free(&sae);
    orth_grid_free(&grid);
    return status;
}

orth_status orth_import(const char *folder, const char *const *overrides, int64_t n_override,
                        const char *file, MPI_Comm comm)
{
    orth_model_source source = {0};
    ORTH_TRY(try_file(file, comm));
    ORTH_TRY(orth_model_open(folder, overrides, n_override, comm, &source));
    orth_status status = orth_agree(comm, check_not_read(&source, file));
    if (status == ORTH_OK)
        status = read_and_write(&source, file, comm);
    orth_model_close(&source);
    return status;
}
