#include "info.h"

#include <orthant/base/log.h>

#include <stdarg.h>
#include <stdio.h>

enum { LINE_ROOM = 8192 };

void orth_info_line(bool speaks, const char *label, const char *format, ...)
{
    if (!speaks)
        return;
    char text[LINE_ROOM];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    orth_one_line(text); /* names and texts of a file may hold what steers a terminal */
    printf("%-22s%s\n", label, text);
}
