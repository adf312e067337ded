#include <orthant/run/restarts.h>

#include <orthant/base/log.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/run/checkpoint.h>
#include <orthant/run/run_dir.h>

#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Starts without progress after which the next one is refused. */
enum { MOST_STARTS = 3, ROOM = 256 };
#define FILE_NAME "restarts.json"

typedef struct restarts {
    char job[64]; ///< "-" outside SLURM
    int64_t step; ///< that the last start went on from
    int64_t starts;
} restarts;

static long count_of(const char *variable)
{
    const char *text = getenv(variable);
    return text ? strtol(text, NULL, 10) : 0;
}

/* How often the job was started before, with progress or without. */
static long starts_before(void)
{
    long slurm = count_of("SLURM_RESTART_COUNT"), loop = count_of("ORTHANT_RESTART_COUNT");
    return slurm > loop ? slurm : loop;
}

/* Whether anything may start this job again: then the first start is remembered too. */
static bool may_be_requeued(void)
{
    return getenv("SLURM_JOB_ID") || getenv("SLURM_RESTART_COUNT") ||
           getenv("ORTHANT_RESTART_COUNT");
}

static void describe_job(char out[64])
{
    const char *job = getenv("SLURM_JOB_ID");
    snprintf(out, 64, "%s", job && *job ? job : "-");
}

/* What the file says; false when it is not there or not ours. */
static bool read_file(const char *path, restarts *out)
{
    json_t *object = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
    json_t *job = json_object_get(object, "job"), *step = json_object_get(object, "step"),
           *starts = json_object_get(object, "starts");
    bool good = json_is_string(job) && json_is_integer(step) && json_is_integer(starts) &&
                json_integer_value(step) >= 0 && json_integer_value(starts) >= 0 &&
                json_integer_value(starts) < INT32_MAX;
    if (good) {
        snprintf(out->job, sizeof out->job, "%s", json_string_value(job));
        out->step = (int64_t)json_integer_value(step);
        out->starts = (int64_t)json_integer_value(starts);
    }
    json_decref(object);
    return good;
}

/* What the start before this one left, if it was of the same job. */
static bool earlier_start(const char *path, restarts *before)
{
    char job[sizeof before->job];
    describe_job(job);
    return starts_before() > 0 && read_file(path, before) && strcmp(before->job, job) == 0;
}

/* This start's entry, from that of the one before. */
static restarts count_start(const char *path, int64_t step)
{
    restarts before, now = {.step = step};
    describe_job(now.job);
    if (earlier_start(path, &before) && step <= before.step)
        now.starts = before.starts < MOST_STARTS ? before.starts + 1 : MOST_STARTS;
    return now;
}

static orth_status write_file(const char *run_dir, const restarts *now, MPI_Comm comm)
{
    char text[ROOM] = "";
    json_t *object = json_pack("{s:s,s:I,s:I}", "job", now->job, "step", (json_int_t)now->step,
                               "starts", (json_int_t)now->starts);
    size_t length = object ? json_dumpb(object, text, ROOM - 2, JSON_COMPACT) : 0;
    json_decref(object);
    snprintf(text + (length < ROOM - 2 ? length : 0), 2, "\n");
    orth_status status = orth_run_dir_write(run_dir, FILE_NAME, text, comm);
    if (status != ORTH_ERR_STORAGE)
        return status;
    orth_checkpoint_forgive(comm, status, "restarts are not counted");
    return ORTH_OK;
}

static orth_status tell_all(bool here, MPI_Comm comm, bool *out)
{
    int flag = here;
    ORTH_MPI(MPI_Bcast(&flag, 1, MPI_INT, 0, comm));
    *out = flag != 0;
    return ORTH_OK;
}

orth_status orth_restarts_continues(const char *run_dir, MPI_Comm comm, bool *continues)
{
    int rank;
    bool same = false;
    char *path = NULL;
    orth_status status = ORTH_OK;
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    if (rank == 0)
        status = orth_path_format(&path, "%s/" FILE_NAME, run_dir);
    if (path) {
        restarts before;
        same = earlier_start(path, &before);
        free(path);
    }
    ORTH_TRY(orth_agree(comm, status));
    return tell_all(same, comm, continues);
}

orth_status orth_restarts_possible(MPI_Comm comm, bool *possible)
{
    return tell_all(may_be_requeued(), comm, possible);
}

orth_status orth_restarts_last(MPI_Comm comm, bool *last)
{
    return tell_all(starts_before() >= MOST_STARTS, comm, last);
}

orth_status orth_restarts_check(const char *run_dir, int64_t step, MPI_Comm comm)
{
    int rank;
    bool kept;
    char *path = NULL;
    restarts now = {.step = step};
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    ORTH_TRY(orth_restarts_possible(comm, &kept));
    orth_status status = ORTH_OK;
    if (rank == 0)
        status = orth_path_format(&path, "%s/" FILE_NAME, run_dir);
    if (path && kept)
        now = count_start(path, step);
    else if (path)
        remove(path);
    free(path);
    ORTH_TRY(orth_agree(comm, status));
    if (!kept)
        return ORTH_OK;
    ORTH_TRY(write_file(run_dir, &now, comm));
    if (now.starts >= MOST_STARTS)
        status = orth_fail(ORTH_ERR_ENVIRONMENT,
                           "%s: %" PRId64 " starts made no progress beyond step %" PRId64
                           ", the job is not requeued any more; see why in %s/orthant.log, mend "
                           "it, then submit a new job",
                           run_dir, now.starts, step, run_dir);
    return orth_agree(comm, status);
}
