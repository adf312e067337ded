#include "info.h"

#include <orthant/app/verb.h>
#include <orthant/base/number.h>
#include <orthant/io/h5.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/run/checkpoint.h>
#include <orthant/run/run_dir.h>

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* What a path is, found out before it is opened. */
typedef enum path_kind { PATH_OTHER, PATH_FILE, PATH_RUN_FOLDER, PATH_FOLDER } path_kind;

void orth_info_line(bool speaks, const char *label, const char *format, ...)
{
    if (!speaks)
        return;
    va_list arguments;
    va_start(arguments, format);
    printf("%-22s", label);
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
}

/* Rank 0 looks, so that all go the same way. */
static orth_status look(const char *path, MPI_Comm world, int rank, path_kind *out)
{
    int kind = PATH_OTHER;
    struct stat info;
    bool there = rank == 0 && stat(path, &info) == 0;
    if (there && S_ISREG(info.st_mode)) {
        kind = PATH_FILE;
    } else if (there && S_ISDIR(info.st_mode)) {
        char *inner = NULL;
        kind = PATH_FOLDER;
        if (orth_path_format(&inner, "%s/checkpoints", path) == ORTH_OK &&
            stat(inner, &info) == 0 && S_ISDIR(info.st_mode))
            kind = PATH_RUN_FOLDER;
        free(inner);
    }
    ORTH_TRY(orth_broadcast(&kind, 1, MPI_INT, 0, world));
    *out = (path_kind)kind;
    return ORTH_OK;
}

/* Whether the name says checkpoint: decides what a file that cannot be opened is called. */
static bool named_as_checkpoint(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    return strncmp(name, "step-", 5) == 0;
}

static void print_checkpoint(const char *path, const orth_checkpoint_info *info)
{
    char number[ORTH_NUMBER_ROOM];
    orth_info_line(true, "file", "%s", path);
    orth_info_line(true, "kind", "checkpoint, format version %lld",
                   (long long)info->format_version);
    orth_info_line(true, "step", "%lld", (long long)info->step);
    orth_info_line(true, "tokens seen", "%lld", (long long)info->tokens_seen);
    orth_info_line(true, "n_latent", "%lld", (long long)info->n_latent);
    orth_info_line(true, "d_model", "%lld", (long long)info->d_model);
    orth_info_line(true, "optimizer state", "%s", info->has_optimizer ? "yes" : "no");
    orth_info_line(true, "averaged weights", "%s", info->has_average ? "yes" : "no");
    orth_info_line(true, "mse_scale", "%s", orth_number_write(info->mse_scale, number));
    orth_info_line(true, "input_scale", "%s", orth_number_write(info->input_scale, number));
    orth_info_line(true, "data cursor", "epoch %lld, position %lld", (long long)info->cursor.epoch,
                   (long long)info->cursor.position);
    for (int64_t i = 0; i < info->n_skipped; i++)
        orth_info_line(true, "left out", "the batch at epoch %lld, position %lld",
                       (long long)info->skipped[i].epoch, (long long)info->skipped[i].position);
    orth_info_line(true, "data", "%lld rows of %lld values, fingerprint %016llx",
                   (long long)info->data.rows, (long long)info->data.d_model,
                   (unsigned long long)info->data.hash);
    orth_info_line(true, "written by", "orthant %s, %d ranks as %d groups x %d shards, %d threads",
                   info->program_version, info->ranks, info->n_group, info->n_shard, info->threads);
    orth_info_line(true, "kernels", "%s", info->isa);
    orth_info_line(true, "libraries", "%s", info->libraries);
    printf("configuration:\n");
    for (const char *line = info->config ? info->config : ""; *line;) {
        int length = (int)strcspn(line, "\n");
        printf("  %.*s\n", length, line);
        line += length + (line[length] == '\n');
    }
}

static orth_status show_checkpoint(const char *path, bool verify, MPI_Comm world, bool speaks)
{
    orth_checkpoint_info info = {0};
    ORTH_TRY(orth_checkpoint_read_info(path, world, &info));
    if (speaks)
        print_checkpoint(path, &info);
    orth_checkpoint_info_free(&info);
    if (!verify)
        return ORTH_OK;
    ORTH_TRY(orth_checkpoint_verify(path, world));
    orth_info_line(speaks, "checksums", "all are right");
    return ORTH_OK;
}

static orth_status show_run(const char *path, bool verify, MPI_Comm world, bool speaks)
{
    char *newest = NULL;
    if (verify)
        ORTH_TRY(orth_checkpoint_verify_all(path, world));
    ORTH_TRY(orth_checkpoint_find(path, world, false, &newest));
    if (!newest)
        return orth_fail(ORTH_ERR_DATA,
                         "%.1000s: the run directory has no checkpoint; name a file, or a run "
                         "that has come so far",
                         path);
    orth_status status = show_checkpoint(newest, verify, world, speaks);
    free(newest);
    return status;
}

/* Print a root attribute if it is there, whether text or number. */
static orth_status show_attribute(orth_h5_file *file, const char *name, bool speaks)
{
    bool there = false;
    ORTH_TRY(orth_h5_attribute_exists(file, "/", name, &there));
    if (!there)
        return ORTH_OK;
    char text[256];
    int64_t number;
    if (orth_h5_attribute_read_text(file, "/", name, text, sizeof text) == ORTH_OK) {
        orth_info_line(speaks, name, "%s", text);
        return ORTH_OK;
    }
    orth_error_clear();
    if (orth_h5_attribute_read_int64(file, "/", name, &number) == ORTH_OK)
        orth_info_line(speaks, name, "%lld", (long long)number);
    else
        orth_info_line(speaks, name, "of another type");
    orth_error_clear();
    return ORTH_OK;
}

static orth_status show_layout(orth_h5_file *file, const char *dataset, bool speaks)
{
    orth_h5_dataset *data = NULL;
    ORTH_TRY(orth_h5_dataset_open(file, dataset, &data));
    const orth_h5_layout *layout = orth_h5_dataset_layout(data);
    orth_info_line(speaks, "dataset", "%s", dataset);
    orth_info_line(speaks, "rows", "%lld", (long long)layout->extent[0]);
    orth_info_line(speaks, "width", "%lld", (long long)layout->extent[1]);
    orth_info_line(speaks, "type", "%s", layout->type_name);
    if (layout->chunk_rows)
        orth_info_line(speaks, "layout", "chunks of %lld rows", (long long)layout->chunk_rows);
    else
        orth_info_line(speaks, "layout", "contiguous");
    orth_h5_dataset_close(data);
    return ORTH_OK;
}

static orth_status show_activations(orth_h5_file *file, const char *dataset, bool speaks)
{
    static const char *const attributes[] = {"model", "hook", "layer", "tokenizer", "context"};
    char names[1024];
    orth_info_line(speaks, "file", "%s", orth_h5_path(file));
    orth_info_line(speaks, "kind", "activations");
    ORTH_TRY(show_layout(file, dataset, speaks));
    for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++)
        ORTH_TRY(show_attribute(file, attributes[i], speaks));
    ORTH_TRY(orth_h5_names(file, "/", names, sizeof names));
    orth_info_line(speaks, "datasets", "%s", names);
    return ORTH_OK;
}

/* Reading every row checks whatever checksums the file's own filters keep. */
static orth_status read_activations(const char *path, const char *dataset, bool stats, bool verify,
                                    MPI_Comm world, bool speaks)
{
    orth_activation_stats figures = {0};
    orth_status status = orth_activation_stats_read(path, dataset, world, &figures);
    if (status == ORTH_ERR_DATA && verify) {
        char text[2048];
        snprintf(text, sizeof text, "%s", orth_error_text());
        orth_error_clear();
        return text[0] ? orth_fail(ORTH_ERR_CORRUPT, "%s", text) : ORTH_ERR_CORRUPT;
    }
    ORTH_TRY(status);
    if (stats && speaks)
        status = orth_activation_stats_print(&figures);
    orth_activation_stats_free(&figures);
    if (verify)
        orth_info_line(speaks, "checksums", "none in this file; every row was read");
    return orth_agree(world, status);
}

static orth_status is_checkpoint(const char *path, MPI_Comm world, bool *out)
{
    orth_h5_file *file = NULL;
    ORTH_TRY(orth_h5_open(path, ORTH_H5_READ, ORTH_ERR_DATA, world, &file));
    char format[64] = "";
    bool there = false;
    orth_status status = orth_h5_attribute_exists(file, "/", "format", &there);
    if (status == ORTH_OK && there)
        status = orth_h5_attribute_read_text(file, "/", "format", format, sizeof format);
    orth_h5_close(file);
    *out = strcmp(format, "orthant-checkpoint") == 0;
    return status;
}

static orth_status info(const orth_call *call, MPI_Comm world)
{
    const char *path = orth_call_argument(call, 0);
    const char *dataset = orth_call_text(call, "dataset");
    bool verify = orth_call_flag(call, "verify"), stats = orth_call_flag(call, "stats");
    int rank;
    path_kind kind;
    ORTH_MPI(MPI_Comm_rank(world, &rank));
    ORTH_TRY(look(path, world, rank, &kind));
    if (kind == PATH_RUN_FOLDER)
        return show_run(path, verify, world, rank == 0);
    if (kind == PATH_FOLDER)
        return orth_info_folder(path, verify, world, rank == 0);
    bool checkpoint = kind == PATH_FILE && named_as_checkpoint(path);
    if (!checkpoint)
        ORTH_TRY(is_checkpoint(path, world, &checkpoint));
    if (checkpoint)
        return show_checkpoint(path, verify, world, rank == 0);
    orth_h5_file *file = NULL;
    ORTH_TRY(orth_h5_open(path, ORTH_H5_READ_INDEPENDENT, ORTH_ERR_DATA, world, &file));
    orth_status status = show_activations(file, dataset, rank == 0);
    orth_h5_close(file);
    ORTH_TRY(orth_agree(world, status));
    if (stats || verify)
        return read_activations(path, dataset, stats, verify, world, rank == 0);
    return ORTH_OK;
}

static const orth_option options[] = {
    {"stats", ORTH_OPTION_FLAG, NULL, NULL,
     "Read all activations: mean norm, std, rows with NaN or Inf, outlier dimensions."},
    {"verify", ORTH_OPTION_FLAG, NULL, NULL, "Read all checksums; exit 5 when one fails."},
    {"dataset", ORTH_OPTION_TEXT, "NAME", "activations", "Dataset of an activation file."},
    {NULL, ORTH_OPTION_FLAG, NULL, NULL, NULL},
};

const orth_verb orth_verb_info = {
    .name = "info",
    .usage = "FILE [--stats] [--verify]",
    .summary = "Shows what a checkpoint, a run directory, another tool's folder or an activation "
               "file holds.",
    .min_argument = 1,
    .max_argument = 1,
    .options = options,
    .run = info,
};
