/* A folder for another tool: each rank writes its shard into tensor files in `<folder>.partial`,
 * which then gets its name. */
#include "sae_folder_parts.h"

#include <orthant/base/fault.h>
#include <orthant/base/memory.h>
#include <orthant/base/path.h>
#include <orthant/par/agree.h>
#include <orthant/par/alive.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static orth_status refuse(const char *path, const char *doing)
{
    return orth_fail(ORTH_ERR_STORAGE,
                     "%s: cannot %s: %s; choose a folder that can be written, "
                     "with room",
                     path, doing, strerror(errno));
}

/* ---- the folder ---- */

/* Remove what a killed export left; only plain files are ever in there. */
static void remove_partial(const char *partial)
{
    DIR *folder = opendir(partial);
    for (struct dirent *entry; folder && (entry = readdir(folder)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(dirfd(folder), entry->d_name, 0);
    if (folder)
        closedir(folder);
    rmdir(partial);
}

static orth_status check_empty(const char *path)
{
    struct stat info;
    bool empty = true;
    if (lstat(path, &info) != 0)
        return errno == ENOENT ? ORTH_OK : refuse(path, "look at");
    if (!S_ISDIR(info.st_mode))
        return orth_fail(ORTH_ERR_USAGE, "--out %s: is there and no folder; name a new one", path);
    DIR *folder = opendir(path);
    if (!folder)
        return refuse(path, "open the folder");
    for (struct dirent *entry; empty && (entry = readdir(folder)) != NULL;)
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    closedir(folder);
    return empty ? ORTH_OK
                 : orth_fail(ORTH_ERR_USAGE,
                             "--out %s: this folder holds something already; name a new one, or "
                             "empty it",
                             path);
}

static orth_status make_partial(const char *partial)
{
    remove_partial(partial);
    bool failed = orth_fault_fails("export.folder") || mkdir(partial, 0777) != 0;
    int reason = errno;
    const char *slash = strrchr(partial, '/');
    if (failed && reason == ENOENT && slash)
        return orth_fail(ORTH_ERR_STORAGE,
                         "--out: cannot make the folder: %.*s is not there; make it first",
                         (int)(slash - partial), partial);
    errno = reason;
    return failed ? refuse(partial, "make the folder") : ORTH_OK;
}

/* Without the slashes at its end, to which no ending can be put. */
static orth_status tidy(const char *folder, char **path, char **partial)
{
    size_t length = strlen(folder);
    while (length > 1 && folder[length - 1] == '/')
        length--;
    ORTH_TRY(orth_path_format(path, "%.*s", (int)length, folder));
    return orth_path_format(partial, "%s.partial", *path);
}

orth_status orth_sae_export_try(const char *folder, MPI_Comm comm)
{
    int rank = 0;
    char *path = NULL, *partial = NULL;
    MPI_Comm_rank(comm, &rank);
    orth_status status = tidy(folder, &path, &partial);
    if (status == ORTH_OK && rank == 0) {
        status = check_empty(path);
        if (status == ORTH_OK)
            status = make_partial(partial);
        if (status == ORTH_OK)
            remove_partial(partial);
    }
    free(partial);
    free(path);
    return orth_agree(comm, status);
}

/* ---- tensors ---- */

typedef struct writing {
    const orth_sae_export *what;
    orth_tensor_writer *file;
    float *piece;   ///< (SAE_SLAB_ROWS * SAE_SLAB_LATENTS, at least d_model)
    int64_t *steps; ///< (SAE_SLAB_LATENTS)
    double encoder; ///< factors of W_enc, and of W_dec and b_dec: a constant scale of the input
    double decoder;
} writing;

static float scaled(float value, double factor)
{
    return factor == 1.0 ? value : (float)((double)value * factor);
}

static orth_status write_rows(const writing *w, int64_t index, const float *data, double factor)
{
    const orth_sae *sae = w->what->sae;
    int64_t d = sae->d_model, n_own = orth_range_size(sae->own);
    for (int64_t i = 0; i < n_own; i++) {
        int64_t at = (sae->own.begin + i) * d;
        if (factor == 1.0) {
            /* As many rows at once as there are. */
            int64_t rows = n_own - i < SAE_SLAB_LATENTS ? n_own - i : SAE_SLAB_LATENTS;
            ORTH_TRY(orth_tensor_write_f32(w->file, index, at, at + rows * d, data + i * d));
            i += rows - 1;
            orth_alive();
            continue;
        }
        for (int64_t j = 0; j < d; j++)
            w->piece[j] = scaled(data[i * d + j], factor);
        ORTH_TRY(orth_tensor_write_f32(w->file, index, at, at + d, w->piece));
    }
    return ORTH_OK;
}

static orth_status write_columns(const writing *w, int64_t index, const float *data, double factor)
{
    const orth_sae *sae = w->what->sae;
    int64_t d = sae->d_model, n = sae->recipe.n_latent;
    for (int64_t i = sae->own.begin; i < sae->own.end; i += SAE_SLAB_LATENTS) {
        int64_t width = i + SAE_SLAB_LATENTS < sae->own.end ? SAE_SLAB_LATENTS : sae->own.end - i;
        for (int64_t j = 0; j < d; j += SAE_SLAB_ROWS) {
            int64_t rows = j + SAE_SLAB_ROWS < d ? SAE_SLAB_ROWS : d - j;
            for (int64_t c = 0; c < width; c++)
                for (int64_t r = 0; r < rows; r++)
                    w->piece[r * width + c] =
                        scaled(data[(i - sae->own.begin + c) * d + j + r], factor);
            for (int64_t r = 0; r < rows; r++)
                ORTH_TRY(orth_tensor_write_f32(w->file, index, (j + r) * n + i,
                                               (j + r) * n + i + width, w->piece + r * width));
        }
        orth_alive();
    }
    return ORTH_OK;
}

/* W (x - b_dec) + b_enc = W x + (b_enc - W b_dec); a constant factor of the input cancels. */
static orth_status write_uncentred(const writing *w, int64_t index)
{
    const orth_sae *sae = w->what->sae;
    const orth_params *p = &sae->weights;
    for (int64_t i = sae->own.begin; i < sae->own.end; i += SAE_SLAB_LATENTS) {
        int64_t end = i + SAE_SLAB_LATENTS < sae->own.end ? i + SAE_SLAB_LATENTS : sae->own.end;
        for (int64_t k = i; k < end; k++) {
            const float *row = p->W_enc + (k - sae->own.begin) * sae->d_model;
            double sum = (double)p->b_enc[k - sae->own.begin];
            for (int64_t j = 0; j < sae->d_model; j++)
                sum -= (double)row[j] * (double)p->b_dec[j];
            w->piece[k - i] = (float)sum;
        }
        ORTH_TRY(orth_tensor_write_f32(w->file, index, i, end, w->piece));
    }
    return ORTH_OK;
}

static orth_status write_part(const writing *w, int64_t index, const sae_item *item)
{
    const orth_sae *sae = w->what->sae;
    const orth_params *p = &sae->weights;
    orth_range own = sae->own;
    bool encoder = item->part == SAE_W_ENC;
    const float *matrix = encoder ? p->W_enc : p->W_dec;
    switch (item->part) {
    case SAE_W_ENC:
    case SAE_W_DEC:
        return (item->transposed ? write_columns : write_rows)(w, index, matrix,
                                                               encoder ? w->encoder : w->decoder);
    case SAE_B_ENC:
        if (item->uncentred)
            return write_uncentred(w, index);
        return orth_tensor_write_f32(w->file, index, own.begin, own.end, p->b_enc);
    case SAE_THRESHOLD:
        return orth_tensor_write_f32(w->file, index, own.begin, own.end, sae->threshold);
    case SAE_B_DEC:
        if (sae->grid->rank != 0)
            return ORTH_OK;
        for (int64_t j = 0; j < sae->d_model; j++)
            w->piece[j] = scaled(p->b_dec[j], w->decoder);
        return orth_tensor_write_f32(w->file, index, 0, sae->d_model, w->piece);
    case SAE_PARTS:
        break;
    }
    return ORTH_OK;
}

/* What the data has shown of a latent; the tools' own starting values where it is not known. */
static double measure(const orth_sae_export *what, sae_value value, int64_t i)
{
    double tokens = (double)what->tokens;
    double share = what->fired && what->tokens > 0 ? (double)what->fired[i] / tokens : 1.0;
    if (value == SAE_VALUE_FREQUENCY)
        return share;
    if (value == SAE_VALUE_LOG_FREQUENCY)
        return log10(share + 1e-10);
    return what->square_sum && what->tokens > 0 ? what->square_sum[i] / tokens : 0.0;
}

/* Batches of training since a latent was active, that one included. Without the state of training
 * it is not known: 0, the tool's own starting value. */
static int64_t last_active(const orth_sae *sae, int64_t i)
{
    if (!sae->steps_since_fired)
        return 0;
    return sae->steps_since_fired[i] + (sae->recipe.dead == ORTH_DEAD_BATCHES);
}

static orth_status write_vector(const writing *w, int64_t index, sae_value value)
{
    orth_range own = w->what->sae->own;
    bool steps = value == SAE_VALUE_LAST_ACTIVE;
    for (int64_t i = own.begin; i < own.end; i += SAE_SLAB_LATENTS) {
        int64_t end = i + SAE_SLAB_LATENTS < own.end ? i + SAE_SLAB_LATENTS : own.end;
        for (int64_t k = i; k < end; k++) {
            if (steps)
                w->steps[k - i] = last_active(w->what->sae, k - own.begin);
            else
                w->piece[k - i] = (float)measure(w->what, value, k - own.begin);
        }
        ORTH_TRY(steps ? orth_tensor_write_i64(w->file, index, i, end, w->steps)
                       : orth_tensor_write_f32(w->file, index, i, end, w->piece));
    }
    return ORTH_OK;
}

static orth_status write_item(const writing *w, int64_t index, const sae_item *item)
{
    const orth_sae *sae = w->what->sae;
    bool speaks = sae->grid->rank == 0;
    double real = item->entry.real;
    switch (item->value) {
    case SAE_VALUE_PART:
        return write_part(w, index, item);
    case SAE_VALUE_ONE_THRESHOLD:
        real = sae->threshold && orth_range_size(sae->own) > 0 ? (double)sae->threshold[0] : 0.0;
        return speaks ? orth_tensor_write_f64(w->file, index, 0, 1, &real) : ORTH_OK;
    case SAE_VALUE_REAL:
        return speaks ? orth_tensor_write_f64(w->file, index, 0, 1, &real) : ORTH_OK;
    case SAE_VALUE_INTEGER:
        return speaks ? orth_tensor_write_i64(w->file, index, 0, 1, &item->entry.integer) : ORTH_OK;
    case SAE_VALUE_PLAIN:
        return ORTH_OK;
    case SAE_VALUE_FREQUENCY:
    case SAE_VALUE_LOG_FREQUENCY:
    case SAE_VALUE_MEAN_SQUARE:
    case SAE_VALUE_LAST_ACTIVE:
        break;
    }
    return write_vector(w, index, item->value);
}

static orth_status write_file(const char *partial, const sae_file *file, writing *w)
{
    const orth_grid *grid = w->what->sae->grid;
    orth_tensor_entry entries[SAE_ITEMS];
    char *path = NULL;
    for (int i = 0; i < file->count; i++)
        entries[i] = file->items[i].entry;
    ORTH_TRY(orth_agree(grid->world, orth_path_format(&path, "%s/%s", partial, file->name)));
    orth_status status =
        orth_tensor_writer_open(path, file->format, entries, file->count, grid->world, &w->file);
    if (status == ORTH_OK) {
        /* One token group holds everything. */
        for (int i = 0; status == ORTH_OK && i < file->count && grid->group_index == 0; i++)
            status = write_item(w, i, file->items + i);
        status = orth_agree(grid->world, status);
    }
    if (status == ORTH_OK)
        status = orth_tensor_writer_commit(w->file);
    orth_tensor_writer_close(w->file);
    w->file = NULL;
    free(path);
    return status;
}

/* ---- texts ---- */

static orth_status write_text(const char *folder, const char *name, const char *text)
{
    char *path = NULL;
    ORTH_TRY(orth_path_format(&path, "%s/%s", folder, name));
    orth_status status = ORTH_OK;
    FILE *file = orth_fault_fails("export.text") ? NULL : fopen(path, "wb");
    if (!file)
        status = refuse(path, "create");
    bool written = file && fputs(text, file) >= 0 && fputc('\n', file) != EOF &&
                   fflush(file) == 0 && fsync(fileno(file)) == 0;
    if (file && !written)
        status = refuse(path, "write");
    if (file && fclose(file) != 0 && status == ORTH_OK)
        status = refuse(path, "write");
    free(path);
    return status;
}

/* Where the folder comes from, and what was done to the model on the way. */
static orth_status add_provenance(const orth_sae_export *what, sae_target *target)
{
    const orth_recipe *recipe = &what->sae->recipe;
    json_t *loss = what->loss_json ? json_loads(what->loss_json, 0, NULL) : NULL;
    json_t *model = json_string(what->model); /* a path that is not UTF-8 is not told */
    int64_t trained = what->sae->step;
    json_t *step = trained == ORTH_STEP_UNKNOWN ? json_null() : json_integer((json_int_t)trained);
    json_t *object = json_pack(
        "{sssssosssIsIsIsssssfso}", "format", "orthant-export", "tool", what->tool, "model",
        model ? model : json_null(), "selection", orth_selection_names[recipe->selection],
        "n_latent", (json_int_t)recipe->n_latent, "d_model", (json_int_t)what->sae->d_model, "k",
        (json_int_t)(orth_selection_uses_k(recipe->selection) ? recipe->k : 0), "target",
        orth_target_names[recipe->target], "input_norm", orth_input_names[recipe->input],
        "input_scale_folded_in", what->sae->input_scale, "step", step);
    if (object && loss)
        json_object_set(object, "calibration", loss);
    json_decref(loss);
    return sae_add_json(target, "orthant.json", object);
}

static void free_texts(sae_target *target)
{
    for (int i = 0; i < target->n_text; i++)
        free(target->texts[i].text);
}

static orth_status publish(const char *partial, const char *path, const sae_target *target)
{
    for (int i = 0; i < target->n_text; i++)
        ORTH_TRY(write_text(partial, target->texts[i].name, target->texts[i].text));
    ORTH_TRY(orth_folder_sync(partial));
    if (orth_fault_fails("export.rename") || rename(partial, path) != 0)
        return refuse(path, "rename to it");
    return ORTH_OK;
}

static orth_status write_folder(const orth_sae_export *what, const char *path, const char *partial,
                                const sae_target *target)
{
    const orth_sae *sae = what->sae;
    MPI_Comm world = sae->grid->world;
    bool speaks = sae->grid->rank == 0, scale = sae->recipe.input == ORTH_INPUT_SCALE;
    int64_t piece = (int64_t)SAE_SLAB_ROWS * SAE_SLAB_LATENTS;
    writing w = {.what = what,
                 .encoder = scale ? sae->input_scale : 1.0,
                 .decoder = scale ? 1.0 / sae->input_scale : 1.0};
    orth_status status =
        ORTH_ALLOCATE(piece > sae->d_model ? piece : sae->d_model, "piece of a tensor", &w.piece);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(SAE_SLAB_LATENTS, "piece of a tensor", &w.steps);
    if (status == ORTH_OK && speaks)
        status = check_empty(path);
    if (status == ORTH_OK && speaks)
        status = make_partial(partial);
    status = orth_agree(world, status);
    for (int i = 0; status == ORTH_OK && i < target->n_file; i++)
        status = write_file(partial, target->files + i, &w);
    if (status == ORTH_OK)
        status = orth_agree(world, speaks ? publish(partial, path, target) : ORTH_OK);
    if (status != ORTH_OK && speaks)
        remove_partial(partial);
    orth_free(w.steps);
    orth_free(w.piece);
    return status;
}

orth_status orth_sae_export_check(const char *tool, const orth_sae *sae, bool *calibrate)
{
    const sae_format *format = sae_format_named(tool);
    if (!format || !format->check)
        return orth_fail(ORTH_ERR_USAGE, "--format %.100s: is none of %s; give one of them", tool,
                         orth_sae_folder_tools());
    return format->check(sae, calibrate);
}

orth_status orth_sae_export_write(const orth_sae_export *what)
{
    sae_target target = {.n_file = 0};
    char *path = NULL, *partial = NULL;
    bool calibrate;
    orth_status status = orth_sae_export_check(what->tool, what->sae, &calibrate);
    if (status == ORTH_OK)
        status = tidy(what->folder, &path, &partial);
    if (status == ORTH_OK)
        status = sae_format_named(what->tool)->plan(what, &target);
    if (status == ORTH_OK)
        status = add_provenance(what, &target);
    status = orth_agree(what->sae->grid->world, status);
    if (status == ORTH_OK)
        status = write_folder(what, path, partial, &target);
    free_texts(&target);
    free(partial);
    free(path);
    return status;
}
