#ifndef ORTHANT_BASE_MEMORY_H
#define ORTHANT_BASE_MEMORY_H

#include <orthant/base/status.h>

#include <stddef.h>
#include <stdint.h>

/**
 * Allocate `count` elements of `size` bytes, zeroed and aligned to 64 bytes (large blocks: pages
 * that cost nothing until touched). `what` names the array in the error. A count of 0 gives a
 * pointer that can be freed. On failure *out is unchanged, the sizes are recorded and
 * ORTH_ERR_ENVIRONMENT is returned. Not collective. Free with orth_free.
 */
orth_status orth_allocate(int64_t count, int64_t size, const char *what, void **out);

/** Free what orth_allocate gave; NULL is allowed. */
void orth_free(void *block);

/** Allocate an array for the pointer `*p` (a pointer to pointer of the element type). */
#define ORTH_ALLOCATE(count, what, p)                                                              \
    orth_allocate((count), (int64_t)sizeof **(p), (what), (void **)(p))

/** malloc, calloc, realloc and strdup for small things that end with free(): NULL when there is no
 * memory, also where fault injection asks for it (memory.allocate). Any thread. */
void *orth_malloc(size_t size);
void *orth_calloc(size_t count, size_t size);
void *orth_realloc(void *block, size_t size);
char *orth_strdup(const char *text);

/** Before anything large is allocated: let large blocks go back to the system when they are freed
 * or grow. Left to itself glibc keeps the places that growing arrays (codes) leave: a sixth of the
 * memory of a rank with top-AFA. */
void orth_memory_setup(void);

/** Told of an allocation: what it is called, and the bytes that were asked for. */
typedef void orth_memory_listener(void *context, const char *what, int64_t bytes);

/**
 * Count memory instead of taking it: until it is called with NULL, orth_allocate tells `listener`
 * and gives addresses without memory behind them (a page each, and what is written), however large
 * the block. So the code that allocates for a problem tells what the problem needs, even where it
 * does not fit. Such blocks may be freed at any time. To be called by the only thread.
 */
void orth_memory_count(orth_memory_listener *listener, void *context);

/** Peak resident memory of this process in bytes (VmHWM), 0 where the system does not tell. */
int64_t orth_peak_memory(void);

#endif
