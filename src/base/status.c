#include <orthant/base/status.h>

#include <stdarg.h>
#include <stdio.h>

static char error_text[4096];
static orth_status error_status = ORTH_OK;

void orth_one_line(char *text)
{
    for (unsigned char *c = (unsigned char *)text; *c; c++)
        if (*c < 0x20 || *c == 0x7F)
            *c = ' ';
}

orth_status orth_fail(orth_status status, const char *format, ...)
{
    if (error_status != ORTH_OK)
        return status;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error_text, sizeof error_text, format, arguments);
    va_end(arguments);
    orth_one_line(error_text);
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
