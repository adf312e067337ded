#include <orthant/par/watchdog.h>

#include <orthant/base/fault.h>
#include <orthant/base/memory.h>
#include <orthant/par/alive.h>
#include <orthant/par/local_rank.h>

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    TICKS = 32,     ///< the limit in ticks, at least: the line comes at most one too late
    SPEAKERS = 2,   ///< of the ranks of a node that wait: one of them may be what hangs
    SPEAK_MS = 5000 ///< the launcher that reads stderr may hang as well
};

/* Seconds. How much longer a rank has that waits for others; launchers give those that are left
 * behind some 20 s (srun --wait), and all are to leave with the same code. */
static const double LONGEST_TICK = 1.0, LONGEST_GRACE = 10.0;

struct orth_watchdog {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool stop; ///< guarded by the mutex
    double seconds;
    double tick;
    int rank;
    int local_rank; ///< -1: not known
    char host[128];
    const orth_phase_timer *timer;
    _Atomic orth_status code; ///< to exit with
};

/* Whether the line can be written makes no difference any more. */
static void speak(const orth_watchdog *watchdog, bool waiting)
{
    const char *phase =
        watchdog->timer ? orth_phase_name(watchdog->timer->current) : "an unknown phase";
    const char *where = waiting ? ": it waits for other ranks; look at the network and at the "
                                  "nodes that say nothing"
                                : "; look at that node and its file system";
    char line[512];
    int length = snprintf(line, sizeof line,
                          "orthant: error: rank %d on %s: no progress for %.0f s in phase %s%s, or "
                          "raise run.watchdog\n",
                          watchdog->rank, watchdog->host, watchdog->seconds, phase, where);
    struct pollfd end = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (length > 0 && poll(&end, 1, SPEAK_MS) > 0 && write(STDERR_FILENO, line, (size_t)length) < 0)
        return;
}

static void bark(const orth_watchdog *watchdog, bool waiting)
{
    if (!waiting || watchdog->local_rank < SPEAKERS)
        speak(watchdog, waiting);
    _exit((int)watchdog->code);
}

/* For how many ticks the main thread may rest. Where every rank waits, rank 0 is to speak first. */
static int patience(const orth_watchdog *watchdog, bool waiting)
{
    double grace = fmin(watchdog->seconds / 4.0, LONGEST_GRACE);
    double seconds = watchdog->seconds + (waiting ? grace : 0.0);
    return (int)ceil(seconds / watchdog->tick) + (waiting && watchdog->rank > 0 ? 2 : 0);
}

/* Ticks are counted instead of reading a clock, because a clock goes on while a process is stopped
 * and the first look after its continuation would end it. */
static void *watch(void *argument)
{
    orth_watchdog *watchdog = argument;
    uint64_t seen = orth_alive_count();
    int idle = 0;
    pthread_mutex_lock(&watchdog->mutex);
    while (!watchdog->stop) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        int64_t nanoseconds = until.tv_nsec + (int64_t)(watchdog->tick * 1e9);
        until.tv_sec += nanoseconds / 1000000000;
        until.tv_nsec = nanoseconds % 1000000000;
        if (pthread_cond_timedwait(&watchdog->wake, &watchdog->mutex, &until) == 0)
            continue;
        bool waiting = orth_waiting();
        uint64_t now = orth_alive_count();
        idle = now == seen ? idle + 1 : 0;
        seen = now;
        if (idle > patience(watchdog, waiting))
            bark(watchdog, waiting);
    }
    pthread_mutex_unlock(&watchdog->mutex);
    return NULL;
}

static int start_thread(orth_watchdog *watchdog)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&watchdog->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&watchdog->mutex, NULL);
    /* A new thread inherits the mask: signals stay with the main thread. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = orth_fault_fails("watchdog.thread")
                     ? errno
                     : pthread_create(&watchdog->thread, NULL, watch, watchdog);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

orth_status orth_watchdog_start(double seconds, int rank, const orth_phase_timer *timer,
                                orth_watchdog **out)
{
    *out = NULL;
    if (!(seconds > 0))
        return ORTH_OK;
    orth_watchdog *watchdog = NULL;
    ORTH_TRY(ORTH_ALLOCATE(1, "watchdog", &watchdog));
    watchdog->seconds = seconds;
    watchdog->tick = fmin(seconds / TICKS, LONGEST_TICK);
    watchdog->rank = rank;
    watchdog->local_rank = orth_local_rank();
    watchdog->timer = timer;
    watchdog->code = ORTH_STALLED;
    gethostname(watchdog->host, sizeof watchdog->host - 1);
    int failed = start_thread(watchdog);
    if (failed) {
        orth_free(watchdog);
        return orth_fail(
            ORTH_ERR_ENVIRONMENT,
            "watchdog: rank %d cannot start a thread: %s; raise the limit of processes "
            "or set run.watchdog to none",
            rank, strerror(failed));
    }
    *out = watchdog;
    return ORTH_OK;
}

void orth_watchdog_set_code(orth_watchdog *watchdog, orth_status code)
{
    if (watchdog)
        watchdog->code = code;
}

void orth_watchdog_stop(orth_watchdog *watchdog)
{
    if (!watchdog)
        return;
    pthread_mutex_lock(&watchdog->mutex);
    watchdog->stop = true;
    pthread_cond_signal(&watchdog->wake);
    pthread_mutex_unlock(&watchdog->mutex);
    pthread_join(watchdog->thread, NULL);
    pthread_cond_destroy(&watchdog->wake);
    pthread_mutex_destroy(&watchdog->mutex);
    orth_free(watchdog);
}
