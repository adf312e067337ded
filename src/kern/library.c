#include <orthant/kern/library.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef ORTH_HAVE_OPENBLAS
#include <cblas.h>

void orth_blas_library(char *out, size_t room)
{
    static const char *const kinds[] = {"one thread", "pthread", "OpenMP"};
    int kind = openblas_get_parallel();
    snprintf(out, room, "%s, kernels %s, threads: %s", openblas_get_config(),
             openblas_get_corename(), kind >= 0 && kind <= 2 ? kinds[kind] : "unknown");
}
#elif defined(ORTH_HAVE_BLAS)
void orth_blas_library(char *out, size_t room)
{
    snprintf(out, room, "a library that does not name itself");
}
#else
void orth_blas_library(char *out, size_t room)
{
    snprintf(out, room, "none");
}
#endif

#if defined(ORTH_HAVE_OPENBLAS) && defined(ORTH_HAVE_X86_KERNELS)
#include <cpuid.h>

/* AMD's first processors with AVX-512 (Zen 4) pass 512-bit operations through 256-bit units in two
 * halves. Family as cpuid counts it, with the extended one added. */
static bool has_half_width_avx512(void)
{
    enum { ZEN_3_AND_4 = 0x19 };
    unsigned signature, vendor, c, d;
    if (!__get_cpuid(0, &signature, &vendor, &c, &d) || vendor != signature_AMD_ebx ||
        !__get_cpuid(1, &signature, &vendor, &c, &d))
        return false;
    return (signature >> 8 & 0xf) + (signature >> 20 & 0xff) == ZEN_3_AND_4;
}

/* Of several core types of equal speed the oldest is asked for: more versions have it. */
orth_blas_core orth_blas_core_check(void)
{
    static const char *const wide[] = {"SkylakeX", "Cooperlake", "SapphireRapids"};
    const char *core = openblas_get_corename();
    if (!strstr(openblas_get_config(), "DYNAMIC_ARCH"))
        return (orth_blas_core){NULL, "the library has no other"};
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
        return (orth_blas_core){NULL, "the library's own choice"};
    if (has_half_width_avx512())
        return (orth_blas_core){strcmp(core, "Haswell") ? "HASWELL" : NULL,
                                "fastest where AVX-512 runs in two halves"};
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        if (!strcmp(core, wide[i]))
            return (orth_blas_core){NULL, "the library's own choice"};
    return (orth_blas_core){"SKYLAKEX", "the processor has AVX-512"};
}
#else
orth_blas_core orth_blas_core_check(void)
{
    return (orth_blas_core){NULL, "the library has no other"};
}
#endif

#ifdef ORTH_HAVE_OPENBLAS
void orth_blas_core_describe(char *out, size_t room)
{
    const char *core = getenv("OPENBLAS_CORETYPE"), *chosen = getenv(ORTH_BLAS_CORE_CHOSEN);
    orth_blas_core check = orth_blas_core_check();
    int length = snprintf(out, room, "core type %s ", openblas_get_corename());
    size_t used = (size_t)length < room ? (size_t)length : room;
    if (!core || !*core)
        snprintf(out + used, room - used, "(%s)",
                 check.better ? "the library's own choice" : check.why);
    else if (!chosen || strcmp(core, chosen) != 0)
        snprintf(out + used, room - used, "(OPENBLAS_CORETYPE=%.40s)", core);
    else
        snprintf(out + used, room - used, "(%.40s asked for by orthant: %s)", core, check.why);
}
#else
void orth_blas_core_describe(char *out, size_t room)
{
    snprintf(out, room, "%s", "");
}
#endif
