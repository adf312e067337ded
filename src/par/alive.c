#include <orthant/par/alive.h>

#include <stdatomic.h>

/* There is one main thread, and what it does is told from every layer. */
static _Atomic uint64_t count;
static _Atomic bool waiting;

void orth_alive(void)
{
    atomic_fetch_add_explicit(&count, 1, memory_order_relaxed);
}

uint64_t orth_alive_count(void)
{
    return atomic_load_explicit(&count, memory_order_relaxed);
}

void orth_wait_begin(void)
{
    atomic_store_explicit(&waiting, true, memory_order_relaxed);
}

int orth_wait_end(int code)
{
    atomic_store_explicit(&waiting, false, memory_order_relaxed);
    orth_alive();
    return code;
}

bool orth_waiting(void)
{
    return atomic_load_explicit(&waiting, memory_order_relaxed);
}
