#include <orthant/base/log.h>

#include <orthant/base/status.h>

#include <stdarg.h>

static bool log_speaks = true;
static bool log_quiet = false;
static FILE *log_copy = NULL;

void orth_log_setup(bool speaks, bool quiet)
{
    log_speaks = speaks;
    log_quiet = quiet;
}

void orth_log_file(FILE *file)
{
    log_copy = file;
}

static void log_line(FILE *out, const char *kind, const char *format, va_list arguments)
{
    char text[4096];
    vsnprintf(text, sizeof text, format, arguments);
    orth_one_line(text);
    fprintf(out, "orthant: %s%s\n", kind, text);
    fflush(out);
}

#define LOG_TO(out, kind)                                                                          \
    do {                                                                                           \
        va_list arguments;                                                                         \
        va_start(arguments, format);                                                               \
        log_line((out), (kind), format, arguments);                                                \
        va_end(arguments);                                                                         \
    } while (0)

void orth_log_info(const char *format, ...)
{
    if (!log_speaks)
        return;
    if (!log_quiet)
        LOG_TO(stderr, "");
    if (log_copy)
        LOG_TO(log_copy, "");
}

void orth_log_warning(const char *format, ...)
{
    if (!log_speaks)
        return;
    LOG_TO(stderr, "warning: ");
    if (log_copy)
        LOG_TO(log_copy, "warning: ");
}

void orth_log_error(const char *format, ...)
{
    LOG_TO(stderr, "error: ");
    if (log_copy)
        LOG_TO(log_copy, "error: ");
}
