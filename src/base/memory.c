#define _DEFAULT_SOURCE /* MAP_ANONYMOUS, MAP_NORESERVE */
#include <orthant/base/memory.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* In front of a block that is only counted lies a page with the size of the mapping. The byte right
 * before any block tells how far the start of a real one is: 1 to 64, or 0 for a counted one. */
enum { ALIGNMENT = 64, COUNTED_HEAD = 4096 };

static struct {
    orth_memory_listener *listener;
    void *context;
} counting;

void orth_memory_count(orth_memory_listener *listener, void *context)
{
    counting.listener = listener;
    counting.context = context;
}

static void *map_counted(int64_t bytes)
{
    size_t size = (size_t)bytes + COUNTED_HEAD;
    void *head = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (head == MAP_FAILED)
        return NULL;
    memcpy(head, &size, sizeof size);
    return (char *)head + COUNTED_HEAD;
}

orth_status orth_allocate(int64_t count, int64_t size, const char *what, void **out)
{
    int64_t bytes;
    if (count < 0 || __builtin_mul_overflow(count, size, &bytes) ||
        bytes > INT64_MAX - 2 * COUNTED_HEAD)
        return orth_fail(ORTH_ERR_ENVIRONMENT, "%s: %lld x %lld bytes cannot be addressed; %s",
                         what, (long long)count, (long long)size,
                         "use more ranks or smaller sizes");
    if (counting.listener) {
        void *block = map_counted(bytes);
        if (!block)
            return orth_fail(ORTH_ERR_ENVIRONMENT,
                             "%s: no addresses for %lld bytes (%.1f GiB); raise ulimit -v, or use "
                             "more ranks",
                             what, (long long)bytes, (double)bytes / (1024.0 * 1024.0 * 1024.0));
        counting.listener(counting.context, what, bytes);
        *out = block;
        return ORTH_OK;
    }
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
    if (start[-1] != 0) {
        free(start - start[-1]);
        return;
    }
    char *head = start - COUNTED_HEAD;
    size_t size;
    memcpy(&size, head, sizeof size);
    munmap(head, size);
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
