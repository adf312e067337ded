#include <orthant/base/memory.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

orth_status orth_allocate(int64_t count, int64_t size, const char *what, void **out)
{
    int64_t bytes;
    if (count < 0 || __builtin_mul_overflow(count, size, &bytes) ||
        bytes > INT64_MAX - 2 * ALIGNMENT)
        return orth_fail(ORTH_ERR_ENVIRONMENT, "%s: %lld x %lld bytes cannot be addressed; %s",
                         what, (long long)count, (long long)size,
                         "use more ranks or smaller sizes");
    /* calloc leaves large blocks untouched, so the thread that first writes a page places it. */
    char *raw = calloc(1, (size_t)bytes + ALIGNMENT);
    if (!raw)
        return orth_fail(ORTH_ERR_ENVIRONMENT,
                         "%s: out of memory for %lld bytes (%.1f GiB); use more ranks or smaller "
                         "sizes",
                         what, (long long)bytes, (double)bytes / (1024.0 * 1024.0 * 1024.0));
    uintptr_t start = ((uintptr_t)raw + ALIGNMENT) & ~(uintptr_t)(ALIGNMENT - 1);
    char *block = (char *)start;
    block[-1] = (char)(block - raw);
    *out = block;
    return ORTH_OK;
}

void orth_free(void *block)
{
    if (!block)
        return;
    char *start = block;
    free(start - start[-1]);
}

int64_t orth_peak_memory(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    if (!file)
        return 0;
    char line[256];
    long long kib = 0;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "VmHWM: %lld kB", &kib) == 1)
            break;
    fclose(file);
    return (int64_t)kib * 1024;
}
