#include <orthant/base/status.h>

#include <stdarg.h>
#include <stdio.h>

static char error_text[4096];
static orth_status error_status = ORTH_OK;

orth_status orth_fail(orth_status status, const char *format, ...)
{
    if (error_status != ORTH_OK)
        return status;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error_text, sizeof error_text, format, arguments);
    va_end(arguments);
    /* One line, and nothing in it that a terminal would obey: names and values may be foreign. */
    for (char *c = error_text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            *c = ' ';
    error_status = status;
    return status;
}

const char *orth_error_text(void)
{
    return error_text;
}

orth_status orth_error_status(void)
{
    return error_status;
}

void orth_error_clear(void)
{
    error_text[0] = '\0';
    error_status = ORTH_OK;
}
