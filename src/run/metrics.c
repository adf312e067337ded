#include <orthant/run/metrics.h>

#include <orthant/base/fault.h>
#include <orthant/base/log.h>
#include <orthant/base/memory.h>
#include <orthant/run/json_value.h>
#include <orthant/run/run_dir.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

struct orth_metrics_file {
    int file;
    char *path;
    off_t torn; ///< where a line begins that could not be written whole nor taken back; -1: none
};

static orth_status refuse(const orth_metrics_file *file, const char *doing)
{
    return orth_fail(ORTH_ERR_STORAGE, "%s: cannot %s: %s; check free space and permissions",
                     file->path, doing, strerror(errno));
}

/* The step of a line, -1 when it is no line of ours; and the number of the roll-back it records, 0
 * when it is of something else. */
static int64_t step_of(const char *line, size_t length, int64_t *rollback)
{
    json_t *object = json_loadb(line, length, 0, NULL);
    json_t *step = json_object_get(object, "step");
    json_t *number = json_object_get(json_object_get(object, "rollback"), "number");
    int64_t value = json_is_integer(step) ? (int64_t)json_integer_value(step) : -1;
    *rollback = json_is_integer(number) ? (int64_t)json_integer_value(number) : 0;
    json_decref(object);
    return value;
}

orth_metrics_kept orth_metrics_keep(FILE *lines, int64_t step, int64_t rollbacks, FILE *copy)
{
    orth_metrics_kept kept = {0};
    char *line = NULL;
    size_t room = 0;
    int64_t at = 0, bad = 0;
    for (ssize_t length; (length = getline(&line, &room, lines)) > 0;) {
        int64_t rollback = 0;
        at += length;
        int64_t found = line[length - 1] == '\n' ? step_of(line, (size_t)length, &rollback) : -1;
        if (found > step || (found >= 0 && rollback > rollbacks))
            break;
        if (found < 0) {
            bad++;
            continue;
        }
        kept = (orth_metrics_kept){.end = at, .lines = kept.lines + 1, .bad = bad};
        if (copy)
            fwrite(line, 1, (size_t)length, copy);
    }
    free(line);
    return kept;
}

/* The good lines into a new file in place of this one. */
static orth_status leave_out_bad(const orth_metrics_file *file, const char *run_dir, int64_t step,
                                 int64_t rollbacks, FILE *lines)
{
    char *text = NULL;
    size_t size = 0;
    rewind(lines);
    FILE *copy = open_memstream(&text, &size);
    bool failed = !copy;
    if (copy) {
        orth_metrics_kept kept = orth_metrics_keep(lines, step, rollbacks, copy);
        failed = ferror(copy) != 0;
        failed = fclose(copy) != 0 || failed;
        orth_log_warning("%s: left out %lld damaged lines", file->path, (long long)kept.bad);
    }
    orth_status status = ORTH_OK;
    if (failed)
        status = orth_fail(ORTH_ERR_ENVIRONMENT, "%s: out of memory; free memory", file->path);
    else
        status = orth_run_dir_write(run_dir, "metrics.jsonl", text, MPI_COMM_SELF);
    free(text);
    return status;
}

/* Only lines that are kept are left in the file. */
static orth_status cut_back(const orth_metrics_file *file, const char *run_dir, int64_t step,
                            int64_t rollbacks)
{
    FILE *lines = orth_fault_fails("metrics.read") ? NULL : fopen(file->path, "re");
    if (!lines)
        return refuse(file, "read");
    orth_metrics_kept kept = orth_metrics_keep(lines, step, rollbacks, NULL);
    orth_status status = ORTH_OK;
    if (ferror(lines))
        status = refuse(file, "read");
    else if (kept.bad)
        status = leave_out_bad(file, run_dir, step, rollbacks, lines);
    else if (orth_fault_fails("metrics.cut") || truncate(file->path, kept.end) != 0)
        status = refuse(file, "cut back");
    fclose(lines);
    return status;
}

static orth_status open_to_append(orth_metrics_file *file)
{
    file->file = open(file->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    return file->file < 0 ? refuse(file, "open") : ORTH_OK;
}

static orth_status open_and_cut(orth_metrics_file *file, const char *run_dir, int64_t step,
                                int64_t rollbacks)
{
    ORTH_TRY(orth_path_format(&file->path, "%s/metrics.jsonl", run_dir));
    if (orth_fault_fails("metrics.open"))
        return refuse(file, "open");
    ORTH_TRY(open_to_append(file));
    ORTH_TRY(cut_back(file, run_dir, step, rollbacks));
    /* Again, since it may be another file now. */
    close(file->file);
    return open_to_append(file);
}

orth_status orth_metrics_open(const char *run_dir, int64_t step, orth_metrics_file **out)
{
    return orth_metrics_resume(run_dir, step, INT64_MAX, out);
}

orth_status orth_metrics_resume(const char *run_dir, int64_t step, int64_t rollbacks,
                                orth_metrics_file **out)
{
    orth_metrics_file *file = NULL;
    ORTH_TRY(ORTH_ALLOCATE(1, "metrics file", &file));
    file->file = -1;
    file->torn = -1;
    orth_status status = open_and_cut(file, run_dir, step, rollbacks);
    if (status == ORTH_OK)
        *out = file;
    else
        orth_metrics_close(file);
    return status;
}

void orth_metrics_sync(orth_metrics_file *file)
{
    if (file)
        fsync(file->file);
}

void orth_metrics_close(orth_metrics_file *file)
{
    if (!file)
        return;
    if (file->file >= 0)
        close(file->file);
    free(file->path);
    orth_free(file);
}

/* Take a line back that is not whole: it would spoil the next one too. */
static bool take_back(orth_metrics_file *file, off_t begin)
{
    bool failed = orth_fault_fails("metrics.restore") || ftruncate(file->file, begin) != 0;
    file->torn = failed ? begin : -1;
    return !failed;
}

/* One write for the line; what came of a failed one is taken back, so that lines stay whole. */
static orth_status append_line(orth_metrics_file *file, char *text)
{
    if (file->torn >= 0 && !take_back(file, file->torn))
        return refuse(file, "cut back");
    size_t length = strlen(text);
    text[length] = '\n'; /* in place of the final NUL */
    off_t before = lseek(file->file, 0, SEEK_END);
    orth_fault_effect fault = orth_fault("metrics.append");
    size_t some = fault == ORTH_FAULT_SHORT ? length / 2 : length + 1;
    ssize_t written = fault == ORTH_FAULT_ERROR ? -1 : write(file->file, text, some);
    if (before >= 0 && written == (ssize_t)length + 1)
        return ORTH_OK;
    if (written >= 0)
        errno = ENOSPC;
    orth_status status = refuse(file, "write");
    /* If this fails too, before the next line or at the next opening. */
    if (before >= 0 && written > 0)
        take_back(file, before);
    return status;
}

/* Takes the object over. */
static orth_status append_object(orth_metrics_file *file, json_t *object)
{
    char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(object);
    if (!text)
        return orth_fail(ORTH_ERR_ENVIRONMENT, "%s: out of memory; free memory", file->path);
    orth_status status = append_line(file, text);
    free(text);
    return status;
}

static json_t *phase_object(const double *seconds)
{
    json_t *phase = json_object();
    for (int i = 0; phase && i < ORTH_PHASE_COUNT; i++)
        json_object_set_new(phase, orth_phase_name((orth_phase)i), orth_json_number(seconds[i]));
    return phase;
}

orth_status orth_metrics_write(orth_metrics_file *file, const orth_metrics *m)
{
    const struct {
        const char *name;
        double value;
    } reals[] = {{"loss", m->loss},
                 {"mse", m->mse},
                 {"aux", m->aux},
                 {"afa", m->afa},
                 {"l0", m->l0}},
      rates[] = {{"grad_norm", m->grad_norm},
                 {"lr", m->lr},
                 {"fvu", m->fvu},
                 {"tokens_per_s", m->tokens_per_s},
                 {"time", m->time}};
    json_t *object = json_pack("{s:I,s:I,s:I}", "step", (json_int_t)m->step, "tokens",
                               (json_int_t)m->tokens, "epoch", (json_int_t)m->epoch);
    int failed = !object;
    for (size_t i = 0; !failed && i < sizeof reals / sizeof *reals; i++)
        failed = json_object_set_new(object, reals[i].name, orth_json_number(reals[i].value));
    failed = failed || json_object_set_new(object, "n_dead", json_integer((json_int_t)m->n_dead));
    for (size_t i = 0; !failed && i < sizeof rates / sizeof *rates; i++)
        failed = json_object_set_new(object, rates[i].name, orth_json_number(rates[i].value));
    failed = failed || json_object_set_new(object, "phase", phase_object(m->phase));
    if (m->has_code_hash) {
        char digits[32];
        snprintf(digits, sizeof digits, "%016" PRIx64, m->code_hash);
        failed = failed || json_object_set_new(object, "code_hash", json_string(digits));
    }
    if (failed) {
        json_decref(object);
        object = NULL;
    }
    return append_object(file, object);
}

orth_status orth_metrics_write_object(orth_metrics_file *file, int64_t step, const char *name,
                                      struct json_t *value)
{
    json_t *object = json_pack("{s:I,s:O}", "step", (json_int_t)step, name, value);
    return append_object(file, object);
}
