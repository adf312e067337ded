/* What `orthant info` says of a checkpoint and of a run directory. */
#include "info.h"

#include <orthant/base/number.h>
#include <orthant/run/checkpoint.h>
#include <orthant/run/json_value.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_checkpoint(const char *path, const orth_checkpoint_info *info)
{
    char number[ORTH_NUMBER_ROOM];
    orth_info_line(true, "file", "%s", path);
    orth_info_line(true, "kind", "checkpoint, format version %lld",
                   (long long)info->format_version);
    if (orth_checkpoint_step_known(info)) {
        orth_info_line(true, "step", "%lld", (long long)info->step);
        orth_info_line(true, "tokens seen", "%lld", (long long)info->tokens_seen);
    } else {
        orth_info_line(true, "step", "not known, as of what was imported");
    }
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

static void describe(const char *path, const orth_checkpoint_info *info, json_t *json)
{
    const struct {
        const char *name;
        int64_t value;
    } counts[] = {{"format_version", info->format_version},
                  {"step", info->step},
                  {"tokens_seen", info->tokens_seen},
                  {"n_latent", info->n_latent},
                  {"d_model", info->d_model},
                  {"epoch", info->cursor.epoch},
                  {"position", info->cursor.position},
                  {"data_rows", info->data.rows}};
    orth_json_set_text(json, "file", path);
    json_object_set_new(json, "kind", json_string("checkpoint"));
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        json_object_set_new(json, counts[i].name, json_integer(counts[i].value));
    if (!orth_checkpoint_step_known(info)) {
        json_object_set_new(json, "step", json_null());
        json_object_set_new(json, "tokens_seen", json_null());
    }
    json_object_set_new(json, "mse_scale", json_real(info->mse_scale));
    json_object_set_new(json, "input_scale", json_real(info->input_scale));
    json_object_set_new(json, "optimizer", json_boolean(info->has_optimizer));
    json_object_set_new(json, "ema", json_boolean(info->has_average));
    json_object_set_new(json, "config", json_string(info->config ? info->config : ""));
}

orth_status orth_info_checkpoint(const char *path, bool verify, MPI_Comm world, bool speaks,
                                 json_t *json)
{
    orth_checkpoint_info info = {0};
    ORTH_TRY(orth_checkpoint_read_info(path, world, &info));
    if (speaks)
        print_checkpoint(path, &info);
    if (speaks && json)
        describe(path, &info, json);
    orth_checkpoint_info_free(&info);
    if (!verify)
        return ORTH_OK;
    ORTH_TRY(orth_checkpoint_verify(path, world));
    orth_info_line(speaks, "checksums", "all are right");
    return ORTH_OK;
}

orth_status orth_info_run(const char *path, bool verify, MPI_Comm world, bool speaks, json_t *json)
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
    orth_status status = orth_info_checkpoint(newest, verify, world, speaks, json);
    free(newest);
    return status;
}
