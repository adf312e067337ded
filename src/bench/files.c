/* The reader against what a step consumes, a checkpoint against plain writes. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* mkdtemp */
#endif
#include "parts.h"

#include <orthant/base/half.h>
#include <orthant/base/log.h>
#include <orthant/base/memory.h>
#include <orthant/io/h5.h>
#include <orthant/io/stream.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/run/checkpoint.h>
#include <orthant/run/run_dir.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_REPETITIONS = 16, PIECE_BYTES = 4 << 20 };

/* ---- the folder ---- */

static orth_status make_folder(const orth_grid *grid, const char *parent, char folder[PATH_MAX])
{
    orth_status status = ORTH_OK;
    int length = snprintf(folder, PATH_MAX, "%s/orthant-bench-XXXXXX", parent);
    if (length >= PATH_MAX)
        status =
            orth_fail(ORTH_ERR_USAGE, "bench: --dir: the path is too long; give a shorter one");
    else if (grid->rank == 0 && !mkdtemp(folder))
        status = orth_fail(ORTH_ERR_STORAGE,
                           "%s: cannot create a folder in it: %s; give --dir a folder that can be "
                           "written",
                           parent, strerror(errno));
    ORTH_TRY(orth_agree(grid->world, status));
    return orth_broadcast(folder, PATH_MAX, MPI_CHAR, 0, grid->world);
}

orth_status orth_bench_try_folder(const orth_grid *grid, const char *parent)
{
    char folder[PATH_MAX];
    ORTH_TRY(make_folder(grid, parent, folder));
    if (grid->rank == 0)
        rmdir(folder);
    return ORTH_OK;
}

static void remove_in(const char *folder, const char *name)
{
    char path[PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (unlink(path) != 0)
        rmdir(path);
}

/* ---- the reader ---- */

/* A file of half-precision rows: one batch of tokens, again and again. */
static orth_status write_rows(const orth_grid *grid, const orth_bench_options *o, const char *path,
                              int64_t batches)
{
    orth_h5_file *file = NULL;
    orth_h5_dataset *data = NULL;
    orth_range reads = orth_grid_reads(grid, o->batch);
    int64_t count = orth_range_size(reads), d = o->d_model;
    const int64_t extent[] = {batches * o->batch, d};
    float *rows = NULL;
    uint16_t *halves = NULL;
    orth_status status = ORTH_ALLOCATE(count * d, "rows", &rows);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(count * d, "rows", &halves);
    if (status == ORTH_OK) {
        orth_bench_tokens(reads.begin, count, d, rows);
        orth_f32_to_f16(rows, count * d, halves);
    }
    status = orth_agree(grid->world, status);
    if (status == ORTH_OK)
        status = orth_h5_create(path, grid->world, &file);
    if (status == ORTH_OK)
        status = orth_h5_reserve(file, extent[0] * d * 2 + (1 << 20));
    if (status == ORTH_OK)
        status = orth_h5_dataset_create(file, "activations", ORTH_H5_FLOAT16, 2, extent, &data);
    if (status == ORTH_OK) {
        for (int64_t b = 0; b < batches && status == ORTH_OK; b++)
            status = orth_h5_write_raw(data, b * o->batch + reads.begin, b * o->batch + reads.end,
                                       halves);
        status = orth_agree(grid->world, status);
        orth_h5_dataset_close(data);
    }
    orth_status closed = orth_h5_close(file);
    orth_free(halves);
    orth_free(rows);
    return status == ORTH_OK ? closed : status;
}

/* One epoch of the file as training reads it, in random order, a batch after the other. */
static orth_status read_epoch(const orth_grid *grid, const orth_bench_options *o,
                              orth_dataset *dataset, int64_t batches, int64_t epoch,
                              double *seconds)
{
    orth_stream *stream = NULL;
    orth_range reads = orth_grid_reads(grid, o->batch);
    orth_stream_options how = {.batch = o->batch,
                               .reads = reads,
                               .seed = 49,
                               .shuffle = true,
                               .cursor = {epoch, 0},
                               .read_ahead = true};
    float *x = NULL;
    bool *finite = NULL;
    double since;
    orth_nonfinite found;
    int64_t count = orth_range_size(reads);
    orth_status status = ORTH_ALLOCATE(count * o->d_model, "rows", &x);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(count, "rows", &finite);
    status = orth_agree(grid->world, status);
    if (status == ORTH_OK)
        status = orth_bench_begin(grid->world, &since);
    if (status == ORTH_OK) {
        status = orth_stream_open(dataset, &how, &stream);
        for (int64_t b = 0; b < batches && status == ORTH_OK; b++)
            status = orth_stream_next(stream, x, finite, &found);
        status = orth_agree(grid->world, status);
    }
    if (status == ORTH_OK)
        status = orth_bench_end(grid->world, since, seconds);
    orth_stream_close(stream);
    orth_free(finite);
    orth_free(x);
    return status;
}

/* Bring a file to the disk and drop the system's copy of it. */
static void forget_file(const char *path)
{
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0)
        return;
    if (fsync(file) != 0 || posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) != 0)
        orth_log_info("bench: the reader's file may still be in memory");
    close(file);
}

static orth_status read_file(const orth_grid *grid, orth_bench_report *report, const char *path,
                             int64_t batches)
{
    const orth_bench_options *o = &report->options;
    orth_dataset *dataset = NULL;
    double warm[MAX_REPETITIONS], cold = 0.0,
                                  bytes = 2.0 * (double)(batches * o->batch * o->d_model);
    int64_t repetitions = o->repetitions < MAX_REPETITIONS ? o->repetitions : MAX_REPETITIONS;
    ORTH_TRY(orth_dataset_open(&path, 1, "activations", grid->world, &dataset));
    orth_status status = read_epoch(grid, o, dataset, batches, 0, &cold);
    for (int64_t r = 0; r < repetitions && status == ORTH_OK; r++)
        status = read_epoch(grid, o, dataset, batches, r + 1, warm + r);
    if (grid->rank == 0)
        forget_file(path);
    if (status == ORTH_OK)
        status = read_epoch(grid, o, dataset, batches, repetitions + 1, &cold);
    orth_dataset_close(dataset);
    ORTH_TRY(status);
    report->reader_warm = bytes / orth_bench_median(warm, repetitions);
    report->reader_cold = bytes / cold;
    return ORTH_OK;
}

static orth_status bench_reader(const orth_grid *grid, const char *folder,
                                orth_bench_report *report)
{
    const orth_bench_options *o = &report->options;
    char path[PATH_MAX + 64];
    int64_t batches = o->bytes / (2 * o->batch * o->d_model);
    batches = batches < 4 ? 4 : batches;
    snprintf(path, sizeof path, "%s/rows.h5", folder);
    orth_log_info("bench: reader");
    orth_status status = write_rows(grid, o, path, batches);
    if (status == ORTH_OK)
        status = read_file(grid, report, path, batches);
    if (grid->rank == 0)
        unlink(path);
    return status;
}

/* ---- the checkpoint ---- */

/* As many bytes as the rank's share of a checkpoint, one write after the other, then fsync. */
static orth_status write_plainly(const char *path, const char *data, int64_t room, int64_t bytes)
{
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    bool good = file >= 0;
    for (int64_t at = 0; good && at < bytes;) {
        int64_t from = at % room, most = room - from < PIECE_BYTES ? room - from : PIECE_BYTES;
        ssize_t n = write(file, data + from, (size_t)(bytes - at < most ? bytes - at : most));
        good = n > 0 || (n < 0 && errno == EINTR);
        at += n > 0 ? n : 0;
    }
    good = good && fsync(file) == 0;
    int reason = errno;
    if (file >= 0)
        close(file);
    unlink(path);
    if (good)
        return ORTH_OK;
    return orth_fail(ORTH_ERR_STORAGE, "%s: cannot be written: %s; free some space", path,
                     strerror(reason));
}

static orth_status time_plain(const orth_sae *sae, const char *folder, int64_t bytes,
                              double *seconds)
{
    char path[PATH_MAX + 64];
    double since;
    const orth_grid *grid = sae->grid;
    int64_t own = orth_range_size(orth_partition(bytes, grid->size, grid->rank));
    int64_t room = orth_range_size(sae->own) * sae->d_model * (int64_t)sizeof(float);
    snprintf(path, sizeof path, "%s/plain-%d", folder, grid->rank);
    ORTH_TRY(orth_bench_begin(grid->world, &since));
    ORTH_TRY(orth_agree(grid->world, write_plainly(path, (const char *)sae->weights.W_enc,
                                                   room > 0 ? room : 1, room > 0 ? own : 0)));
    return orth_bench_end(grid->world, since, seconds);
}

static orth_status time_checkpoint(orth_sae *sae, const char *folder, bool verify, double *seconds)
{
    orth_checkpoint_info info = {.threads = 1};
    double since;
    sae->step++;
    ORTH_TRY(orth_bench_begin(sae->grid->world, &since));
    ORTH_TRY(orth_checkpoint_write(folder, sae, &info, verify, 1));
    return orth_bench_end(sae->grid->world, since, seconds);
}

/* Memory that was never written to is not there, and costs other than a run's. */
static void touch_moments(orth_sae *sae)
{
    int64_t count = orth_range_size(sae->part) * sae->d_model;
    const orth_params *w = &sae->weights, *moments[] = {&sae->moment1, &sae->moment2};
    for (int i = 0; i < 2; i++) {
        memcpy(moments[i]->W_enc, w->W_enc, (size_t)count * sizeof(float));
        memcpy(moments[i]->W_dec, w->W_dec, (size_t)count * sizeof(float));
    }
}

/* In turn, since the speed of a disk changes by the minute. */
static orth_status compare_writes(orth_sae *sae, const char *folder, orth_bench_report *report)
{
    double plain[MAX_REPETITIONS], written[MAX_REPETITIONS], verified[MAX_REPETITIONS];
    double ratio[MAX_REPETITIONS], bytes = (double)report->checkpoint_bytes;
    int64_t repetitions = report->options.repetitions;
    repetitions = repetitions < MAX_REPETITIONS ? repetitions : MAX_REPETITIONS;
    for (int64_t r = 0; r < repetitions; r++) {
        ORTH_TRY(time_plain(sae, folder, report->checkpoint_bytes, plain + r));
        ORTH_TRY(time_checkpoint(sae, folder, false, written + r));
        ORTH_TRY(time_checkpoint(sae, folder, true, verified + r));
        ratio[r] = plain[r] / written[r];
    }
    report->write = bytes / orth_bench_median(plain, repetitions);
    report->checkpoint = bytes / orth_bench_median(written, repetitions);
    report->checkpoint_verified = bytes / orth_bench_median(verified, repetitions);
    report->checkpoint_of_write = orth_bench_median(ratio, repetitions);
    return ORTH_OK;
}

static void remove_checkpoints(const char *folder, int64_t last)
{
    char name[64];
    for (int64_t step = 1; step <= last; step++) {
        snprintf(name, sizeof name, "checkpoints/step-%09lld.h5", (long long)step);
        remove_in(folder, name);
    }
    remove_in(folder, "checkpoints");
    remove_in(folder, "eval");
}

static orth_status bench_checkpoint(const orth_grid *grid, const char *folder,
                                    orth_bench_report *report)
{
    const orth_bench_options *o = &report->options;
    orth_recipe recipe = {.seed = 49, .n_latent = o->n_latent, .init = ORTH_INIT_KAIMING};
    orth_sae sae = {0};
    orth_log_info("bench: checkpoint");
    report->checkpoint_bytes = o->n_latent * (o->d_model * 24 + 20);
    ORTH_TRY(orth_run_dir_create(folder, grid->world));
    orth_status status = orth_bench_model(grid, &recipe, o->d_model, &sae);
    if (status == ORTH_OK)
        touch_moments(&sae);
    if (status == ORTH_OK)
        status = compare_writes(&sae, folder, report);
    if (grid->rank == 0)
        remove_checkpoints(folder, sae.step);
    orth_sae_free(&sae);
    return status;
}

orth_status orth_bench_files(const orth_grid *grid, orth_bench_report *report)
{
    char folder[PATH_MAX];
    ORTH_TRY(make_folder(grid, report->options.folder, folder));
    orth_status status = ORTH_OK;
    if (orth_bench_wanted(report, "reader"))
        status = bench_reader(grid, folder, report);
    if (status == ORTH_OK && orth_bench_wanted(report, "checkpoint"))
        status = bench_checkpoint(grid, folder, report);
    if (grid->rank == 0)
        rmdir(folder);
    return status;
}
