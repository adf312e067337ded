#include <orthant/par/watchdog.h>

#include <orthant/base/fault.h>
#include <orthant/base/memory.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The limit is counted in this many ticks: the line comes at most 1/TICKS of it too late. */
enum { TICKS = 32 };

struct orth_watchdog {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool stop; ///< guarded by the mutex
    _Atomic uint64_t beats;
    double seconds;
    int rank;
    char host[128];
    const orth_phase_timer *timer;
};

static void bark(const orth_watchdog *watchdog)
{
    const char *phase =
        watchdog->timer ? orth_phase_name(watchdog->timer->current) : "an unknown phase";
    char line[512];
    int length = snprintf(line, sizeof line,
                          "orthant: error: rank %d on %s: no progress for %.0f s in phase %s; look "
                          "at that node and its file system, or raise run.watchdog\n",
                          watchdog->rank, watchdog->host, watchdog->seconds, phase);
    /* Whether the line could be written makes no difference any more. */
    ssize_t written = write(STDERR_FILENO, line, length > 0 ? (size_t)length : 0);
    (void)written;
    _exit(ORTH_ERR_ENVIRONMENT);
}

/* Ticks are counted instead of reading a clock, because a clock goes on while a process is stopped
 * and the first look after its continuation would end it. */
static void *watch(void *argument)
{
    orth_watchdog *watchdog = argument;
    double tick = watchdog->seconds / TICKS;
    uint64_t seen = atomic_load(&watchdog->beats);
    int idle = 0;
    pthread_mutex_lock(&watchdog->mutex);
    while (!watchdog->stop) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        int64_t nanoseconds = until.tv_nsec + (int64_t)(tick * 1e9);
        until.tv_sec += nanoseconds / 1000000000;
        until.tv_nsec = nanoseconds % 1000000000;
        if (pthread_cond_timedwait(&watchdog->wake, &watchdog->mutex, &until) == 0)
            continue;
        uint64_t now = atomic_load(&watchdog->beats);
        idle = now == seen ? idle + 1 : 0;
        seen = now;
        if (idle > TICKS)
            bark(watchdog);
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
    watchdog->rank = rank;
    watchdog->timer = timer;
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

void orth_watchdog_beat(orth_watchdog *watchdog)
{
    if (watchdog)
        atomic_fetch_add_explicit(&watchdog->beats, 1, memory_order_relaxed);
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
