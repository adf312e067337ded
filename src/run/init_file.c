#include "trainer_parts.h"

#include <orthant/base/finite.h>
#include <orthant/base/log.h>
#include <orthant/base/path.h>
#include <orthant/foreign/sae_folder.h>
#include <orthant/io/h5.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/run/run_dir.h>
#include <orthant/sae/init.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* One array of the file: (rows, columns), of which this rank keeps rows [begin, end). */
typedef struct wanted {
    const char *name;
    int rank;
    int64_t rows, columns;
    orth_range own;
    float *out;
} wanted;

static orth_status check_extent(const wanted *w, const char *path, const orth_h5_layout *layout)
{
    bool fits = layout->rank == w->rank && layout->extent[0] == w->rows &&
                (w->rank == 1 || layout->extent[1] == w->columns);
    if (fits && layout->type != ORTH_H5_OTHER)
        return ORTH_OK;
    if (w->rank == 1)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%s: %s has another shape or type than the model's [%lld]; "
                         "check model.n_latent and d_model",
                         path, w->name, (long long)w->rows);
    return orth_fail(ORTH_ERR_CORRUPT,
                     "%s: %s is [%lld, %lld] of %s, the model needs [%lld, %lld]; check "
                     "model.n_latent and d_model",
                     path, w->name, (long long)layout->extent[0], (long long)layout->extent[1],
                     layout->type_name, (long long)w->rows, (long long)w->columns);
}

static orth_status read_array(orth_h5_file *file, const char *group, const wanted *w, bool *found)
{
    char name[64];
    orth_h5_dataset *dataset = NULL;
    snprintf(name, sizeof name, "%s%s", group, w->name);
    ORTH_TRY(orth_h5_exists(file, name, found));
    if (!*found)
        return ORTH_OK;
    ORTH_TRY(orth_h5_dataset_open(file, name, &dataset));
    orth_status status = check_extent(w, orth_h5_path(file), orth_h5_dataset_layout(dataset));
    if (status == ORTH_OK)
        status = orth_h5_read(dataset, w->own.begin, w->own.end, ORTH_H5_FLOAT, w->out);
    orth_h5_dataset_close(dataset);
    return status;
}

static orth_status no_encoder(const orth_h5_file *file)
{
    return orth_fail(ORTH_ERR_CORRUPT,
                     "%s: init.file has no dataset W_enc; name an HDF5 file with W_enc [n_latent, "
                     "d_model], a checkpoint, a run folder or another tool's folder",
                     orth_h5_path(file));
}

static orth_status read_arrays(orth_h5_file *file, orth_sae *sae, MPI_Comm world)
{
    bool nested = false, found[4] = {false};
    int64_t n = sae->recipe.n_latent, d = sae->d_model;
    const wanted arrays[] = {
        {"W_enc", 2, n, d, sae->own, sae->weights.W_enc},
        {"W_dec", 2, n, d, sae->own, sae->weights.W_dec},
        {"b_enc", 1, n, 1, sae->own, sae->weights.b_enc},
        {"b_dec", 1, d, 1, {0, d}, sae->weights.b_dec},
    };
    ORTH_TRY(orth_h5_exists(file, "/model", &nested));
    for (int i = 0; i < 4; i++)
        ORTH_TRY(
            orth_agree(world, read_array(file, nested ? "/model/" : "/", arrays + i, found + i)));
    if (!found[0])
        return no_encoder(file);
    if (!found[1])
        orth_init_decoder(sae);
    if (!sae->recipe.b_enc)
        memset(sae->weights.b_enc, 0, (size_t)orth_range_size(sae->own) * sizeof(float));
    return ORTH_OK;
}

/* What init.file names. */
typedef enum init_kind { INIT_FILE, INIT_RUN, INIT_FOLDER } init_kind;

static orth_status look(const char *path, bool foreign, int *kind)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return orth_fail(ORTH_ERR_USAGE, "init.file: %s: %s; check the path", path,
                         strerror(errno));
    *kind = foreign ? INIT_FOLDER : INIT_FILE;
    if (!S_ISDIR(info.st_mode))
        return ORTH_OK;
    if (orth_run_dir_recognise(path))
        *kind = INIT_RUN;
    else if (!foreign)
        return orth_fail(ORTH_ERR_USAGE,
                         "init.file: %s: a folder without checkpoints; name a run folder, a "
                         "checkpoint, an HDF5 file with W_enc or another tool's folder",
                         path);
    return ORTH_OK;
}

/* The file or foreign folder that init.file stands for, to be freed. Rank 0 looks. */
static orth_status find(const char *path, MPI_Comm world, bool *foreign, char **out)
{
    int rank, kind = INIT_FILE;
    ORTH_MPI(MPI_Comm_rank(world, &rank));
    ORTH_TRY(orth_sae_folder_recognise(path, world, foreign));
    ORTH_TRY(orth_agree(world, rank == 0 ? look(path, *foreign, &kind) : ORTH_OK));
    ORTH_TRY(orth_broadcast(&kind, 1, MPI_INT, 0, world));
    *foreign = kind == INIT_FOLDER;
    if (kind != INIT_RUN)
        return orth_agree(world, orth_path_format(out, "%s", path));
    ORTH_TRY(orth_checkpoint_find(path, world, false, out));
    if (!*out)
        return orth_fail(ORTH_ERR_USAGE,
                         "init.file: %s: this run has no checkpoint yet; wait for its first one, "
                         "or name a checkpoint",
                         path);
    return ORTH_OK;
}

static orth_status check_finite(const char *path, const orth_sae *sae)
{
    int64_t n = orth_range_size(sae->own), d = sae->d_model;
    if (orth_all_finite(sae->weights.W_enc, n * d) && orth_all_finite(sae->weights.W_dec, n * d) &&
        orth_all_finite(sae->weights.b_enc, n) && orth_all_finite(sae->weights.b_dec, d))
        return ORTH_OK;
    return orth_fail(ORTH_ERR_CORRUPT, "%s: init.file holds NaN or Inf; give finite weights", path);
}

/* The weights of another tool; the run's own configuration says what is trained. */
static orth_status init_from_folder(const char *path, orth_sae *sae)
{
    orth_sae_folder *folder = NULL;
    ORTH_TRY(orth_sae_folder_open(path, sae->grid->world, &folder));
    orth_input_norm input = orth_sae_folder_description(folder)->input;
    orth_status status = orth_sae_folder_read(folder, sae);
    orth_sae_folder_close(folder);
    ORTH_TRY(status);
    if (input != sae->recipe.input)
        orth_log_warning("init.file: %s was trained with input.norm %s, this run has %s", path,
                         orth_input_names[input], orth_input_names[sae->recipe.input]);
    sae->input_scale = 1.0; /* the run's own is measured on its sample */
    if (!sae->recipe.b_enc)
        memset(sae->weights.b_enc, 0, (size_t)orth_range_size(sae->own) * sizeof(float));
    return ORTH_OK;
}

static orth_status init_from_hdf5(const char *path, orth_sae *sae)
{
    orth_h5_file *file = NULL;
    bool checkpoint = false;
    MPI_Comm world = sae->grid->world;
    ORTH_TRY(orth_h5_open(path, ORTH_H5_READ_INDEPENDENT, ORTH_ERR_CORRUPT, world, &file));
    orth_status status = orth_h5_attribute_exists(file, "/", "format_version", &checkpoint);
    if (status == ORTH_OK)
        status = orth_agree(world, read_arrays(file, sae, world));
    if (status == ORTH_OK)
        status = orth_agree(world, check_finite(path, sae));
    orth_status closed = orth_h5_close(file);
    if (status == ORTH_OK && checkpoint)
        status = orth_checkpoint_verify(path, world);
    return status != ORTH_OK ? status : closed;
}

orth_status orth_init_file(const char *path, orth_sae *sae)
{
    bool foreign = false;
    char *found = NULL;
    ORTH_TRY(find(path, sae->grid->world, &foreign, &found));
    if (strcmp(found, path) != 0)
        orth_log_info("init.file: %s", found);
    orth_status status = foreign ? init_from_folder(found, sae) : init_from_hdf5(found, sae);
    free(found);
    return status;
}

static orth_status check_folder(const char *path, int64_t n_latent, int64_t d_model, MPI_Comm world)
{
    orth_sae_folder *folder = NULL;
    ORTH_TRY(orth_sae_folder_open(path, world, &folder));
    const orth_sae_description *d = orth_sae_folder_description(folder);
    orth_status status = ORTH_OK;
    if (d->n_latent != n_latent || d->d_model != d_model)
        status = orth_fail(ORTH_ERR_CORRUPT,
                           "init.file: %s holds %lld latents of %lld values, the model needs %lld "
                           "of %lld; check model.n_latent and data.files",
                           path, (long long)d->n_latent, (long long)d->d_model, (long long)n_latent,
                           (long long)d_model);
    orth_sae_folder_close(folder);
    return orth_agree(world, status);
}

static orth_status check_hdf5(const char *path, int64_t n_latent, int64_t d_model, MPI_Comm world)
{
    orth_h5_file *file = NULL;
    bool nested = false, found = false;
    /* Nothing of it is read: the range is empty. */
    const wanted encoder = {"W_enc", 2, n_latent, d_model, {0, 0}, NULL};
    ORTH_TRY(orth_h5_open(path, ORTH_H5_READ_INDEPENDENT, ORTH_ERR_CORRUPT, world, &file));
    orth_status status = orth_h5_exists(file, "/model", &nested);
    if (status == ORTH_OK)
        status = read_array(file, nested ? "/model/" : "/", &encoder, &found);
    if (status == ORTH_OK && !found)
        status = no_encoder(file);
    orth_status closed = orth_h5_close(file);
    return orth_agree(world, status != ORTH_OK ? status : closed);
}

orth_status orth_init_file_check(const char *path, int64_t n_latent, int64_t d_model,
                                 MPI_Comm world)
{
    bool foreign = false;
    char *found = NULL;
    ORTH_TRY(find(path, world, &foreign, &found));
    orth_status status = foreign ? check_folder(found, n_latent, d_model, world)
                                 : check_hdf5(found, n_latent, d_model, world);
    free(found);
    return status;
}
