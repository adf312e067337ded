#include <orthant/kern/table.h>

#include "sets.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct candidate {
    const orth_kernels *set;
    bool (*runs_here)(void);
} candidate;

static bool always(void)
{
    return true;
}

#ifdef ORTH_HAVE_X86_KERNELS
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

static bool has_avx512bf16(void)
{
    return has_avx512() && __builtin_cpu_supports("avx512bf16") &&
           __builtin_cpu_supports("avx512vnni");
}
#endif

/* Best first. */
static const candidate candidates[] = {
#ifdef ORTH_HAVE_X86_KERNELS
    {&orth_kernels_avx512bf16, has_avx512bf16},
    {&orth_kernels_avx512, has_avx512},
    {&orth_kernels_avx2, has_avx2},
#endif
    {&orth_kernels_reference, always},
};

enum { N_CANDIDATE = sizeof candidates / sizeof *candidates };

const orth_kernels *orth_kernels_named(const char *name)
{
    for (int i = 0; i < N_CANDIDATE; i++)
        if (!strcmp(candidates[i].set->name, name))
            return candidates[i].runs_here() ? candidates[i].set : NULL;
    return NULL;
}

static const orth_kernels *best_set(void)
{
    int i = 0;
    while (!candidates[i].runs_here())
        i++;
    return candidates[i].set;
}

/* Threads that come here first together choose the same. */
const orth_kernels *orth_kernels_get(void)
{
    static _Atomic(const orth_kernels *) chosen = NULL;
    const orth_kernels *set = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (!set) {
        const char *forced = getenv("ORTHANT_ISA");
        if (forced && *forced)
            set = orth_kernels_named(forced);
        if (!set)
            set = best_set();
        atomic_store_explicit(&chosen, set, memory_order_relaxed);
    }
    return set;
}

const char *orth_kernels_reason(int *usable)
{
    static char text[256];
    const char *forced = getenv("ORTHANT_ISA");
    *usable = 1;
    if (!forced || !*forced) {
        snprintf(text, sizeof text, "%s (best of this processor)", orth_kernels_get()->name);
    } else if (orth_kernels_named(forced)) {
        snprintf(text, sizeof text, "%s (ORTHANT_ISA)", forced);
    } else {
        *usable = 0;
        snprintf(text, sizeof text,
                 "ORTHANT_ISA: %.40s is not a kernel set that this processor runs; "
                 "use one of:",
                 forced);
        for (int i = 0; i < N_CANDIDATE; i++)
            if (candidates[i].runs_here())
                snprintf(text + strlen(text), sizeof text - strlen(text), " %s",
                         candidates[i].set->name);
    }
    return text;
}
