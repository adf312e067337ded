#include <orthant/run/lock.h>

#include <orthant/base/fault.h>
#include <orthant/base/log.h>
#include <orthant/base/memory.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/par/phase.h>
#include <orthant/run/run_dir.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    RENEW_SECONDS = 30,
    STALE_SECONDS = 600,
    /* A lock without content is being written right now, or its writer died at that instant. */
    EMPTY_SECONDS = 60,
    MOST_ATTEMPTS = 4
};

struct orth_lock {
    char *path;
    int file;
    struct stat own;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool stop;      ///< guarded by the mutex
    double renewed; ///< when it was last; of the thread
    _Atomic bool lost;
};

/* The start time of a process, 0 when there is no such process or it is dead but not reaped. */
static unsigned long long process_start(long long pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%lld/stat", pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = '\0';
    /* The name, in parentheses, may hold anything; state and start are fields 3 and 22. */
    char *at = strrchr(text, ')'), state = 'Z';
    unsigned long long start = 0;
    if (!at || sscanf(at + 1,
                      " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
                      "%*d %*d %llu",
                      &state, &start) != 2)
        return 0;
    return state == 'Z' || state == 'X' ? 0 : start;
}

static void describe_self(orth_lock_holder *self)
{
    memset(self, 0, sizeof *self);
    gethostname(self->host, sizeof self->host - 1);
    self->pid = getpid();
    self->start = process_start(self->pid);
    const char *job = getenv("SLURM_JOB_ID");
    snprintf(self->job, sizeof self->job, "%s", job && *job ? job : "-");
}

bool orth_lock_parse(const char *text, orth_lock_holder *out)
{
    orth_lock_holder found = {.pid = 0};
    int n = sscanf(text, "host %127s pid %lld start %llu job %63s", found.host, &found.pid,
                   &found.start, found.job);
    /* 0 and below stand for groups of processes, beyond an int for none. */
    if (n != 4 || found.pid < 1 || found.pid > INT_MAX)
        return false;
    *out = found;
    return true;
}

static bool read_holder(const char *path, orth_lock_holder *out)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    char text[512];
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = '\0';
    return orth_lock_parse(text, out);
}

/* Seconds since the lock was renewed, by the clock of the file server: clocks of nodes differ. */
static double age(const char *path, const struct stat *lock)
{
    char *probe = NULL;
    struct stat now = *lock;
    if (orth_path_format(&probe, "%s-clock-XXXXXX", path) != ORTH_OK)
        return 0;
    int file = mkstemp(probe);
    if (file >= 0) {
        fstat(file, &now);
        close(file);
        unlink(probe);
    }
    free(probe);
    return (double)(now.st_mtim.tv_sec - lock->st_mtim.tv_sec) +
           1e-9 * (double)(now.st_mtim.tv_nsec - lock->st_mtim.tv_nsec);
}

/* Why the lock found is left over, NULL when its holder may be alive. */
static const char *stale_reason(const char *path, const struct stat *info,
                                const orth_lock_holder *other)
{
    orth_lock_holder self;
    describe_self(&self);
    if (!other)
        return age(path, info) > EMPTY_SECONDS ? "it is empty or damaged" : NULL;
    if (strcmp(self.host, other->host) == 0) {
        unsigned long long start = process_start(other->pid);
        /* Without /proc on this system every start is 0, and only the number is left to go by. */
        bool alive = self.start ? start != 0 && start == other->start
                                : kill((pid_t)other->pid, 0) == 0 || errno == EPERM;
        return alive ? NULL : "its process is gone";
    }
    if (strcmp(self.job, "-") != 0 && strcmp(self.job, other->job) == 0)
        return "it is of an earlier start of this job";
    return age(path, info) > STALE_SECONDS ? "it was not renewed for ten minutes" : NULL;
}

static orth_status refuse(const char *path, const struct stat *info, const orth_lock_holder *other)
{
    if (!other)
        return orth_fail(ORTH_ERR_ENVIRONMENT,
                         "%s: another job is just taking this run directory; wait a minute, or use "
                         "another run.dir",
                         path);
    bool in_job = strcmp(other->job, "-") != 0;
    return orth_fail(ORTH_ERR_ENVIRONMENT,
                     "%s: the run directory is in use by process %lld on %s%s%s, last seen %.0f s "
                     "ago; stop that run or use another run.dir",
                     path, other->pid, other->host, in_job ? ", SLURM job " : "",
                     in_job ? other->job : "", age(path, info));
}

/* Move exactly the file that was judged out of the way: another job may have replaced it since. */
static void remove_stale(const char *path, const struct stat *judged)
{
    char *aside = NULL;
    if (orth_path_format(&aside, "%s-stale-%lld", path, (long long)getpid()) != ORTH_OK)
        return;
    struct stat moved;
    if (rename(path, aside) == 0) {
        bool same = stat(aside, &moved) == 0 && moved.st_ino == judged->st_ino &&
                    moved.st_mtim.tv_sec == judged->st_mtim.tv_sec &&
                    moved.st_mtim.tv_nsec == judged->st_mtim.tv_nsec;
        /* Another's fresh lock goes back, unless a third job was quicker: it loses it then, and
         * notices at its next renewal. */
        int restored = same ? 0 : link(aside, path);
        (void)restored;
        unlink(aside);
    }
    free(aside);
}

/* The content, into a file that is just made. False: errno says why. */
static bool write_holder(int file, const orth_lock_holder *self)
{
    char text[512];
    int length = snprintf(text, sizeof text, "host %s\npid %lld\nstart %llu\njob %s\n", self->host,
                          self->pid, self->start, self->job);
    orth_fault_effect fault = orth_fault("lock.write");
    if (fault == ORTH_FAULT_ERROR)
        return false;
    size_t some = fault == ORTH_FAULT_SHORT ? (size_t)length / 2 : (size_t)length;
    errno = ENOSPC; /* where a part is written */
    return write(file, text, some) == length;
}

/* Over a network the answer to a link that was made may be lost. */
static bool link_file(int file, const char *from, const char *to)
{
    struct stat info;
    if (link(from, to) == 0)
        return true;
    int reason = errno;
    bool made = fstat(file, &info) == 0 && info.st_nlink == 2;
    errno = reason;
    return made;
}

/* Put a lock where there is none; its descriptor, -1 with errno. It appears with its content: a job
 * killed between the two would leave a lock that nobody can judge for a minute. */
static int put_lock(const char *path)
{
    orth_lock_holder self;
    char *fresh = NULL;
    describe_self(&self);
    if (orth_path_format(&fresh, "%s-new-%s-%lld", path, self.host, self.pid) != ORTH_OK) {
        errno = ENOMEM;
        return -1;
    }
    int file = orth_fault_fails("lock.create")
                   ? -1
                   : open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    bool good = file >= 0 && write_holder(file, &self) && link_file(file, fresh, path);
    int reason = errno;
    if (file >= 0)
        unlink(fresh);
    free(fresh);
    if (!good && file >= 0) {
        close(file);
        file = -1;
    }
    if (good || (reason != EPERM && reason != EOPNOTSUPP && reason != ENOSYS)) {
        errno = reason;
        return file;
    }
    /* A file system without hard links. */
    file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file >= 0 && !write_holder(file, &self)) {
        reason = errno;
        close(file);
        unlink(path);
        errno = reason;
        return -1;
    }
    return file;
}

/* Create the lock file; its descriptor. A lock left over is removed at most a few times, so that
 * jobs that start together cannot keep each other busy. */
static orth_status create_lock(const char *path, int *out)
{
    for (int attempt = 0;; attempt++) {
        int file = put_lock(path);
        if (file >= 0 && fsync(file) == 0) {
            *out = file;
            return ORTH_OK;
        }
        int reason = errno;
        if (file >= 0) {
            unlink(path);
            close(file);
        }
        if (orth_error_status() != ORTH_OK) /* no memory for a path */
            return orth_error_status();
        if (file >= 0 || reason != EEXIST)
            return orth_fail(ORTH_ERR_STORAGE,
                             "%s: cannot create: %s; free space or use another run.dir", path,
                             strerror(reason));
        struct stat info;
        if (stat(path, &info) != 0) {
            if (attempt < MOST_ATTEMPTS)
                continue;
            return orth_fail(ORTH_ERR_STORAGE,
                             "%s: cannot be looked at: %s; remove it, or use another run.dir", path,
                             strerror(errno));
        }
        orth_lock_holder other;
        bool known = read_holder(path, &other);
        const char *why =
            attempt < MOST_ATTEMPTS ? stale_reason(path, &info, known ? &other : NULL) : NULL;
        if (!why)
            return refuse(path, &info, known ? &other : NULL);
        orth_log_info("%s: removed a lock that was left over (%s)", path, why);
        remove_stale(path, &info);
    }
}

/* Storage that answers with an error says nothing about whose lock it is, until it has lasted so
 * long that another job may take the lock for left over. */
void orth_lock_renew(orth_lock *lock)
{
    struct stat now;
    bool seen = !orth_fault_fails("lock.renew") && stat(lock->path, &now) == 0;
    bool gone = seen ? now.st_ino != lock->own.st_ino : errno == ENOENT;
    if (!gone && seen && futimens(lock->file, NULL) == 0)
        lock->renewed = orth_now();
    if (gone || orth_now() - lock->renewed > STALE_SECONDS)
        atomic_store(&lock->lost, true);
}

static void *renew(void *argument)
{
    orth_lock *lock = argument;
    pthread_mutex_lock(&lock->mutex);
    while (!lock->stop) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += RENEW_SECONDS;
        if (pthread_cond_timedwait(&lock->wake, &lock->mutex, &until) == 0)
            continue;
        orth_lock_renew(lock);
    }
    pthread_mutex_unlock(&lock->mutex);
    return NULL;
}

static orth_status start_renewing(orth_lock *lock)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&lock->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&lock->mutex, NULL);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed =
        orth_fault_fails("lock.thread") ? errno : pthread_create(&lock->thread, NULL, renew, lock);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!failed)
        return ORTH_OK;
    return orth_fail(ORTH_ERR_ENVIRONMENT,
                     "%s: cannot start the thread that renews it: %s; raise the limit of processes",
                     lock->path, strerror(failed));
}

static orth_status acquire(const char *run_dir, orth_lock **out)
{
    orth_lock *lock = NULL;
    ORTH_TRY(ORTH_ALLOCATE(1, "lock", &lock));
    lock->file = -1;
    orth_status status = orth_path_format(&lock->path, "%s/lock", run_dir);
    if (status == ORTH_OK)
        status = create_lock(lock->path, &lock->file);
    if (status == ORTH_OK) {
        fstat(lock->file, &lock->own);
        lock->renewed = orth_now();
        status = start_renewing(lock);
        if (status != ORTH_OK)
            unlink(lock->path);
    }
    if (status == ORTH_OK) {
        *out = lock;
        return ORTH_OK;
    }
    if (lock->file >= 0)
        close(lock->file);
    free(lock->path);
    orth_free(lock);
    return status;
}

orth_status orth_lock_acquire(const char *run_dir, MPI_Comm comm, orth_lock **out)
{
    int rank;
    *out = NULL;
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    return orth_agree(comm, rank == 0 ? acquire(run_dir, out) : ORTH_OK);
}

bool orth_lock_lost(const orth_lock *lock)
{
    return lock && atomic_load(&lock->lost);
}

void orth_lock_release(orth_lock *lock)
{
    if (!lock)
        return;
    pthread_mutex_lock(&lock->mutex);
    lock->stop = true;
    pthread_cond_signal(&lock->wake);
    pthread_mutex_unlock(&lock->mutex);
    pthread_join(lock->thread, NULL);
    struct stat now;
    if (stat(lock->path, &now) == 0 && now.st_ino == lock->own.st_ino)
        unlink(lock->path);
    close(lock->file);
    pthread_cond_destroy(&lock->wake);
    pthread_mutex_destroy(&lock->mutex);
    free(lock->path);
    orth_free(lock);
}
