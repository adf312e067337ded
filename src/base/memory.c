#define _GNU_SOURCE /* madvise, MAP_ANONYMOUS, MAP_NORESERVE */
#include <orthant/base/memory.h>

#include <orthant/base/fault.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

/* Blocks from LARGE on are placed on huge pages where the system has them: rows that are visited in
 * no order cost a page-table walk each on small ones. The distance to the start of what was
 * allocated lies before every block; it is 0 for a block that is only counted, with the size of its
 * mapping a page before. */
enum { ALIGNMENT = 64, HUGE_PAGE = 2 << 20, LARGE = 4 << 20, COUNTED_HEAD = 4096 };

void orth_memory_setup(void)
{
#ifdef __GLIBC__
    /* Once set, neither adapts itself: freed heap must not be given back for every small buffer. */
    (void)mallopt(M_MMAP_THRESHOLD, LARGE);
    (void)mallopt(M_TRIM_THRESHOLD, 4 * LARGE);
#endif
}

void *orth_malloc(size_t size)
{
    return orth_fault_fails("memory.allocate") ? NULL : malloc(size);
}

void *orth_calloc(size_t count, size_t size)
{
    return orth_fault_fails("memory.allocate") ? NULL : calloc(count, size);
}

void *orth_realloc(void *block, size_t size)
{
    return orth_fault_fails("memory.allocate") ? NULL : realloc(block, size);
}

char *orth_strdup(const char *text)
{
    return orth_fault_fails("memory.allocate") ? NULL : strdup(text);
}

static struct {
    orth_memory_listener *listener;
    void *context;
} counting;

void orth_memory_count(orth_memory_listener *listener, void *context)
{
    counting.listener = listener;
    counting.context = context;
}

static orth_status count_block(int64_t bytes, const char *what, void **out)
{
    size_t size = (size_t)bytes + COUNTED_HEAD;
    void *head = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (head == MAP_FAILED)
        return orth_fail(ORTH_ERR_ENVIRONMENT,
                         "%s: no addresses for %lld bytes (%.1f GiB); raise ulimit -v", what,
                         (long long)bytes, (double)bytes / (1024.0 * 1024.0 * 1024.0));
    memcpy(head, &size, sizeof size);
    counting.listener(counting.context, what, bytes);
    *out = (char *)head + COUNTED_HEAD;
    return ORTH_OK;
}

orth_status orth_allocate(int64_t count, int64_t size, const char *what, void **out)
{
    int64_t bytes;
    if (count < 0 || __builtin_mul_overflow(count, size, &bytes) ||
        bytes > INT64_MAX - 2 * (int64_t)HUGE_PAGE)
        return orth_fail(ORTH_ERR_ENVIRONMENT, "%s: %lld x %lld bytes cannot be addressed; %s",
                         what, (long long)count, (long long)size,
                         "use more ranks or smaller sizes");
    if (counting.listener)
        return count_block(bytes, what, out);
    int64_t alignment = bytes < LARGE ? ALIGNMENT : HUGE_PAGE;
    /* calloc leaves large blocks untouched, so the thread that first writes a page places it. */
    char *raw = orth_calloc(1, (size_t)(bytes + alignment));
    if (!raw)
        return orth_fail(ORTH_ERR_ENVIRONMENT,
                         "%s: out of memory for %lld bytes (%.1f GiB); use more ranks or smaller "
                         "sizes",
                         what, (long long)bytes, (double)bytes / (1024.0 * 1024.0 * 1024.0));
    /* calloc's own alignment leaves room for the distance to `raw` before the block. */
    char *block = raw + alignment - ((uintptr_t)raw & (uintptr_t)(alignment - 1));
    int64_t distance = block - raw;
    memcpy(block - sizeof distance, &distance, sizeof distance);
    if (alignment == HUGE_PAGE) /* advice: nothing is lost where it is not taken */
        (void)madvise(block, (size_t)(bytes / HUGE_PAGE * HUGE_PAGE), MADV_HUGEPAGE);
    *out = block;
    return ORTH_OK;
}

void orth_free(void *block)
{
    int64_t distance;
    if (!block)
        return;
    memcpy(&distance, (char *)block - sizeof distance, sizeof distance);
    if (distance > 0) {
        free((char *)block - distance);
        return;
    }
    char *head = (char *)block - COUNTED_HEAD;
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
