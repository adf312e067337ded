#include <orthant/base/fault.h>

#include <stdlib.h>

#ifndef ORTH_FAULTS

orth_status orth_fault_setup(int rank)
{
    (void)rank;
    if (getenv("ORTHANT_FAULT"))
        return orth_fail(ORTH_ERR_USAGE,
                         "ORTHANT_FAULT: this program was built without fault injection; unset it, "
                         "or use the build of the preset dev");
    return ORTH_OK;
}

#else

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MOST_FAULTS = 16, SLOW_NS = 400000000 };

/* What a point takes besides signals. */
enum {
    ERRORS = 1 << ORTH_FAULT_ERROR,
    SHORT = 1 << ORTH_FAULT_SHORT,
    FLIP = 1 << ORTH_FAULT_FLIP,
    NOT_A_NUMBER = 1 << ORTH_FAULT_NAN
};

static const struct {
    const char *name;
    int takes;
} points[] = {
    /* base */
    {"memory.allocate", ERRORS},
    /* par */
    {"par.collective", ERRORS},
    {"par.gather", SHORT}, /* as if the sum of its bytes were beyond what MPI counts */
    {"watchdog.thread", ERRORS},
    /* io */
    {"batch", NOT_A_NUMBER},
    {"h5.attribute", ERRORS},
    {"h5.close", ERRORS},
    {"h5.create", ERRORS},
    {"h5.dataset", ERRORS},
    {"h5.open", ERRORS},
    {"h5.read", ERRORS | FLIP},
    {"h5.reserve", ERRORS},
    {"h5.write", ERRORS | SHORT | FLIP},
    {"rows.open", ERRORS},
    {"rows.read", ERRORS | SHORT | FLIP},
    {"stream.thread", ERRORS},
    /* foreign */
    {"tensor.create", ERRORS},
    {"tensor.read", ERRORS},
    {"tensor.sync", ERRORS},
    {"tensor.write", ERRORS | SHORT},
    /* eval */
    {"eval.batch", 0},
    /* run */
    {"checkpoint.aside", ERRORS},
    {"checkpoint.clean", 0},
    {"checkpoint.close", 0},
    {"checkpoint.create", ERRORS},
    {"checkpoint.delete", ERRORS},
    {"checkpoint.folder", ERRORS},
    {"checkpoint.read", 0},
    {"checkpoint.rename", ERRORS},
    {"checkpoint.reserve", ERRORS},
    {"checkpoint.sync", ERRORS},
    {"checkpoint.verify", 0},
    {"checkpoint.write", 0},
    {"export.folder", ERRORS},
    {"export.rename", ERRORS},
    {"export.text", ERRORS},
    {"file.rename", ERRORS},
    {"file.sync", ERRORS},
    {"folder.sync", ERRORS},
    {"json.create", ERRORS},
    {"json.rename", ERRORS},
    {"json.sync", ERRORS},
    {"json.write", ERRORS | SHORT},
    {"lock.create", ERRORS},
    {"lock.renew", ERRORS},
    {"lock.thread", ERRORS},
    {"lock.write", ERRORS | SHORT},
    {"metrics.append", ERRORS | SHORT},
    {"metrics.cut", ERRORS},
    {"metrics.open", ERRORS},
    {"metrics.read", ERRORS},
    {"metrics.restore", ERRORS},
    {"memory.room", SHORT}, /* 1 MiB */
    {"prepare.data", 0},
    {"run_dir.create", ERRORS},
    {"run_dir.log", ERRORS},
    {"run_dir.make", ERRORS},
    {"run_dir.rename", ERRORS},
    {"run_dir.sync", ERRORS},
    {"run_dir.try", ERRORS},
    {"run_dir.write", ERRORS | SHORT},
    {"step.begin", 0},
    {"step.gradient", NOT_A_NUMBER},
    {"step.loss", NOT_A_NUMBER},
    {"step.read", 0},
    {"step.reduce", 0},
    /* app */
    {"launch.mpi", ERRORS},
    {"launch.processor", ERRORS},
};

static const struct {
    const char *name;
    orth_fault_effect effect;
    int number; ///< of the error, or of the signal where there is no effect; 0: hang; -1: slow
} actions[] = {
    {"eio", ORTH_FAULT_ERROR, EIO},       {"enospc", ORTH_FAULT_ERROR, ENOSPC},
    {"edquot", ORTH_FAULT_ERROR, EDQUOT}, {"efbig", ORTH_FAULT_ERROR, EFBIG},
    {"erofs", ORTH_FAULT_ERROR, EROFS},   {"eacces", ORTH_FAULT_ERROR, EACCES},
    {"enomem", ORTH_FAULT_ERROR, ENOMEM}, {"eagain", ORTH_FAULT_ERROR, EAGAIN},
    {"short", ORTH_FAULT_SHORT, 0},       {"flip", ORTH_FAULT_FLIP, 0},
    {"nan", ORTH_FAULT_NAN, 0},           {"kill", ORTH_FAULT_NONE, SIGKILL},
    {"stop", ORTH_FAULT_NONE, SIGSTOP},   {"segv", ORTH_FAULT_NONE, SIGSEGV},
    {"term", ORTH_FAULT_NONE, SIGTERM},   {"int", ORTH_FAULT_NONE, SIGINT},
    {"usr1", ORTH_FAULT_NONE, SIGUSR1},   {"usr2", ORTH_FAULT_NONE, SIGUSR2},
    {"hang", ORTH_FAULT_NONE, 0},         {"slow", ORTH_FAULT_NONE, -1},
};

enum { POINTS = sizeof points / sizeof *points, ACTIONS = sizeof actions / sizeof *actions };

typedef struct fault {
    int point;
    int action;
    long occurrence;
    bool later; ///< and at all visits after it
    _Atomic long visits;
} fault;

static fault faults[MOST_FAULTS];
static int count;
static int own_rank;

static orth_status refuse(const char *text, const char *why)
{
    char names[2048] = "";
    size_t used = 0;
    for (int i = 0; i < POINTS && used < sizeof names; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, " %s", points[i].name);
    return orth_fail(ORTH_ERR_USAGE,
                     "ORTHANT_FAULT: '%s': %s; give point:occurrence:action[@rank], points:%s",
                     text, why, names);
}

static orth_status parse(const char *text)
{
    char point[64], action[16], end;
    char occurrence[32];
    int rank = own_rank;
    int words =
        sscanf(text, "%63[^:]:%31[0-9+]:%15[a-z0-9]@%d%c", point, occurrence, action, &rank, &end);
    if (words < 3 || words > 4 || (words == 3 && strchr(text, '@')))
        return refuse(text, "it cannot be read");
    char *rest;
    fault new = {.point = -1, .action = -1, .occurrence = strtol(occurrence, &rest, 10)};
    new.later = strcmp(rest, "+") == 0;
    if (new.occurrence < 1 || (*rest && !new.later))
        return refuse(text, "the occurrence is a number from 1 on, with or without a +");
    for (int i = 0; i < POINTS; i++)
        if (strcmp(points[i].name, point) == 0)
            new.point = i;
    if (new.point < 0)
        return refuse(text, "there is no such point");
    for (int i = 0; i < ACTIONS; i++)
        if (strcmp(actions[i].name, action) == 0)
            new.action = i;
    if (new.action < 0)
        return refuse(text, "there is no such action");
    orth_fault_effect effect = actions[new.action].effect;
    if (effect != ORTH_FAULT_NONE && !(points[new.point].takes & 1 << effect))
        return refuse(text, "its point does not take this action");
    if (count == MOST_FAULTS)
        return refuse(text, "there are too many faults");
    if (rank == own_rank)
        memcpy(&faults[count++], &new, sizeof new);
    return ORTH_OK;
}

orth_status orth_fault_setup(int rank)
{
    const char *all = getenv("ORTHANT_FAULT");
    count = 0;
    own_rank = rank < 0 ? 0 : rank;
    if (!all)
        return ORTH_OK;
    char *copy = strdup(all), *rest = copy;
    orth_status status = copy ? ORTH_OK : refuse(all, "there is no memory");
    for (char *text; status == ORTH_OK && (text = strtok_r(rest, ",", &rest));)
        status = parse(text);
    free(copy);
    return status;
}

static void tell(const fault *found, long visit)
{
    char line[256];
    int length = snprintf(line, sizeof line, "orthant: fault: %s:%ld:%s on rank %d\n",
                          points[found->point].name, visit, actions[found->action].name, own_rank);
    ssize_t written = write(STDERR_FILENO, line, (size_t)length);
    (void)written;
}

static orth_fault_effect act(const fault *found, long visit)
{
    int number = actions[found->action].number;
    orth_fault_effect effect = actions[found->action].effect;
    tell(found, visit);
    if (effect == ORTH_FAULT_ERROR)
        errno = number;
    else if (effect == ORTH_FAULT_NONE && number > 0)
        kill(getpid(), number);
    else if (effect == ORTH_FAULT_NONE && number < 0)
        nanosleep(&(struct timespec){.tv_nsec = SLOW_NS}, NULL);
    else if (effect == ORTH_FAULT_NONE)
        for (;;)
            pause();
    return effect;
}

orth_fault_effect orth_fault(const char *point)
{
    orth_fault_effect effect = ORTH_FAULT_NONE;
    for (int i = 0; i < count; i++) {
        fault *found = &faults[i];
        if (strcmp(points[found->point].name, point) != 0)
            continue;
        long visit = atomic_fetch_add(&found->visits, 1) + 1;
        if (visit == found->occurrence || (found->later && visit > found->occurrence))
            effect = act(found, visit);
    }
    return effect;
}

#endif
