/* gnuplot is a program of its own, found in PATH when it is needed. */
#include "plots_parts.h"

#include <orthant/par/alive.h>

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static orth_status missing(const char *folder, int error)
{
    return orth_fail(ORTH_ERR_ENVIRONMENT,
                     "gnuplot: cannot be started: %s; install it (Debian: gnuplot-nox), then run "
                     "'gnuplot *.gp' in %s, where scripts and data are",
                     strerror(error), folder);
}

/* Its own messages go to stderr as they are. */
static orth_status wait_for(pid_t child, const char *folder)
{
    int state = 0;
    pid_t ended;
    do
        ended = waitpid(child, &state, 0);
    while (ended < 0 && errno == EINTR);
    orth_alive();
    if (ended == child && WIFEXITED(state) && WEXITSTATUS(state) == 0)
        return ORTH_OK;
    /* posix_spawn of some systems tells so that the program is not there. */
    if (ended == child && WIFEXITED(state) && WEXITSTATUS(state) == 127)
        return missing(folder, ENOENT);
    return orth_fail(ORTH_ERR_ENVIRONMENT,
                     "gnuplot: failed on the scripts in %s, see its message; it must have the "
                     "terminals svg and pngcairo; run 'gnuplot *.gp' there",
                     folder);
}

/* In the folder itself: scripts name their files without one. */
static orth_status start(const char *folder, char **words, pid_t *child)
{
    int back = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = back < 0 || chdir(folder) != 0 ? errno : 0;
    if (!error)
        error = posix_spawnp(child, "gnuplot", NULL, NULL, words, environ);
    if (back >= 0 && fchdir(back) != 0 && !error)
        error = errno;
    if (back >= 0)
        close(back);
    return error ? missing(folder, error) : ORTH_OK;
}

orth_status orth_gnuplot_run(const char *folder, char **words)
{
    pid_t child = 0;
    ORTH_TRY(start(folder, words, &child));
    return wait_for(child, folder);
}
