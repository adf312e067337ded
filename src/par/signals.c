#include <orthant/par/signals.h>

#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A handler may only touch objects of these types. */
static volatile sig_atomic_t stop_asked = 0;
static volatile sig_atomic_t save_asked = 0;

/* The line of a fatal signal is worded ahead of time: a handler must not format. */
static char who[192] = "orthant: error: a rank";
static volatile sig_atomic_t step_now = -1;

static void on_request(int signal_number)
{
    if (signal_number == SIGUSR2)
        save_asked = 1;
    else
        stop_asked = stop_asked ? stop_asked : signal_number;
}

static void put(const char *text)
{
    if (write(STDERR_FILENO, text, strlen(text)) < 0)
        return;
}

const char *orth_signals_name(int signal_number)
{
    switch (signal_number) {
    case SIGINT:
        return "SIGINT";
    case SIGTERM:
        return "SIGTERM";
    case SIGUSR1:
        return "SIGUSR1";
    default:
        return "a signal";
    }
}

static const char *fatal_name(int signal_number)
{
    switch (signal_number) {
    case SIGSEGV:
        return "segmentation fault";
    case SIGBUS:
        return "bus error (a mapped file shrank or memory failed)";
    case SIGFPE:
        return "arithmetic exception";
    case SIGILL:
        return "illegal instruction (was the program built for another processor?)";
    default:
        return "aborted";
    }
}

static void on_fatal(int signal_number)
{
    char digits[24], *at = digits + sizeof digits - 1;
    long step = step_now;
    *at = '\0';
    for (long rest = step; rest > 0 || *at == '\0'; rest /= 10)
        *--at = (char)('0' + (rest > 0 ? rest % 10 : 0));
    put(who);
    if (step >= 0) {
        put(", step ");
        put(at);
    }
    put(": ");
    put(fatal_name(signal_number));
    put("; resume from the last checkpoint and report this\n");
    /* The handler was reset on entry: dying of the signal itself keeps the core dump. */
    raise(signal_number);
}

static void handle(int signal_number, void (*handler)(int), int flags)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_handler = handler;
    action.sa_flags = flags;
    sigaction(signal_number, &action, NULL);
}

void orth_signals_setup(void)
{
    static const int requests[] = {SIGUSR1, SIGUSR2, SIGTERM, SIGINT};
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
        handle(requests[i], on_request, SA_RESTART);
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++)
        handle(fatal[i], on_fatal, (int)(SA_RESETHAND | SA_NODEFER));
    handle(SIGXFSZ, SIG_IGN, 0);
}

void orth_signals_describe(int rank, int64_t step)
{
    static int described = -1;
    if (described != rank) {
        char host[128] = "";
        gethostname(host, sizeof host - 1);
        snprintf(who, sizeof who, "orthant: error: rank %d on %s", rank, host);
        described = rank;
    }
    step_now = (sig_atomic_t)step;
}

void orth_signals_take(int *stop, bool *save)
{
    *stop = stop_asked;
    *save = save_asked != 0;
    if (*save)
        save_asked = 0;
}
