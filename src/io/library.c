#include <orthant/io/library.h>

#include <hdf5.h>
#include <stdio.h>

void orth_h5_library(char *out, size_t room)
{
    unsigned major, minor, release;
    if (H5get_libversion(&major, &minor, &release) < 0)
        snprintf(out, room, "unknown");
    else
        snprintf(out, room, "%u.%u.%u", major, minor, release);
}
