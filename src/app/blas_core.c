#include "blas_core.h"

#include <orthant/kern/library.h>

#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const CORE = "OPENBLAS_CORETYPE", *const CHOSEN = ORTH_BLAS_CORE_CHOSEN;

static bool is_set(const char *name)
{
    const char *text = getenv(name);
    return text && *text;
}

static sigset_t requests(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaddset(&set, numbers[i]);
    return set;
}

/* The program by its path, so that it keeps its name in lists of processes. False where what the
 * system started is not this program but a loader that was given it as an argument. */
static bool find_program(char path[PATH_MAX])
{
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - 1);
    if (length <= 0)
        return false;
    path[length] = '\0';
    const char *slash = strrchr(path, '/');
    return slash && strncmp(slash + 1, "ld", 2) != 0;
}

void orth_blas_core_restart(char **argv)
{
    char path[PATH_MAX];
    if (is_set(CHOSEN) || is_set(CORE))
        return;
    orth_blas_core core = orth_blas_core_check();
    if (!core.better || !find_program(path))
        return;
    sigset_t set = requests();
    sigprocmask(SIG_BLOCK, &set, NULL);
    setenv(CORE, core.better, 1);
    setenv(CHOSEN, core.better, 1);
    execv(path, argv);
    /* It runs without, at the speed of the kernels it has. */
    unsetenv(CORE);
    unsetenv(CHOSEN);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

void orth_blas_core_release_signals(void)
{
    sigset_t set = requests();
    if (is_set(CHOSEN))
        sigprocmask(SIG_UNBLOCK, &set, NULL);
}
