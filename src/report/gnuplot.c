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

/* gnuplot under way. */
typedef struct gnuplot {
    const char *folder;
    char page[1024]; ///< that it was written, for the messages: who asked for it has it
    FILE *said;      ///< what it wrote to stderr; NULL: that goes to ours
    pid_t child;
} gnuplot;

static orth_status missing(const gnuplot *g, int error)
{
    return orth_fail(ORTH_ERR_ENVIRONMENT,
                     "gnuplot: cannot be started: %s; install it (Debian: gnuplot-nox), then run "
                     "'gnuplot *.gp' in %s, where scripts and data are%s",
                     strerror(error), g->folder, g->page);
}

/* Warnings of a plot that was made are of no use: a curve of zeros has an empty range. */
static void show_said(FILE *said)
{
    char line[512];
    rewind(said);
    while (fgets(line, sizeof line, said))
        fputs(line, stderr);
}

static orth_status wait_for(const gnuplot *g)
{
    int state = 0;
    pid_t ended;
    do
        ended = waitpid(g->child, &state, 0);
    while (ended < 0 && errno == EINTR);
    orth_alive();
    if (ended == g->child && WIFEXITED(state) && WEXITSTATUS(state) == 0)
        return ORTH_OK;
    /* posix_spawn of some systems tells so that the program is not there. */
    if (ended == g->child && WIFEXITED(state) && WEXITSTATUS(state) == 127)
        return missing(g, ENOENT);
    if (g->said)
        show_said(g->said);
    return orth_fail(ORTH_ERR_ENVIRONMENT,
                     "gnuplot: failed on the scripts in %s, see its message; it must have the "
                     "terminals svg and pngcairo; run 'gnuplot *.gp' there%s",
                     g->folder, g->page);
}

static int spawn(gnuplot *g, char **words)
{
    posix_spawn_file_actions_t actions;
    int error = posix_spawn_file_actions_init(&actions);
    if (error)
        return error;
    if (g->said)
        error = posix_spawn_file_actions_adddup2(&actions, fileno(g->said), STDERR_FILENO);
    if (!error)
        error = posix_spawnp(&g->child, "gnuplot", &actions, NULL, words, environ);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

/* In the folder itself: scripts name their files without one. */
static orth_status start(gnuplot *g, char **words)
{
    int back = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = back < 0 || chdir(g->folder) != 0 ? errno : 0;
    if (!error)
        error = spawn(g, words);
    if (back >= 0 && fchdir(back) != 0 && !error)
        error = errno;
    if (back >= 0)
        close(back);
    return error ? missing(g, error) : ORTH_OK;
}

orth_status orth_gnuplot_run(const char *folder, char **words, const char *page)
{
    gnuplot g = {.folder = folder, .said = tmpfile()};
    if (page)
        snprintf(g.page, sizeof g.page, "; the page %.900s was written", page);
    orth_status status = start(&g, words);
    if (status == ORTH_OK)
        status = wait_for(&g);
    if (g.said)
        fclose(g.said);
    return status;
}
