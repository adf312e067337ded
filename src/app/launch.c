#include "launch.h"

#include <orthant/base/fault.h>
#include <orthant/base/log.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/par/local_rank.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The rank that the launcher gave this process, as text; NULL without a launcher. */
static const char *launched_rank(void)
{
    /* The innermost launcher first: under mpirun inside a job SLURM_PROCID is the job script's. */
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK",
                                        "SLURM_PROCID"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (getenv(names[i]))
            return getenv(names[i]);
    return NULL;
}

bool orth_launch_first_of_node(void)
{
    int rank = orth_local_rank();
    return rank >= 0 ? rank == 0 : orth_launch_first();
}

int orth_launch_rank(void)
{
    const char *rank = launched_rank();
    return rank ? (int)strtol(rank, NULL, 10) : -1;
}

bool orth_launch_first(void)
{
    return orth_launch_rank() <= 0;
}

void orth_launch_prepare(void)
{
    /* Orthant uses no shared file pointers. Open MPI's other two ways to keep them overflow a
     * buffer where a path has more than 250 characters, and remove a folder that single processes
     * share when the first of them ends. */
    setenv("OMPI_MCA_sharedfp", "individual", 0);
    if (!launched_rank())
        setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
}

orth_status orth_launch_check_threads(int provided)
{
    if (provided >= MPI_THREAD_FUNNELED)
        return ORTH_OK;
    return orth_fail(ORTH_ERR_ENVIRONMENT,
                     "MPI: the library gives thread level %d, which is below MPI_THREAD_FUNNELED; "
                     "use an MPI that was built with threads",
                     provided);
}

#ifdef __x86_64__
/* What the compiler was told that the processor has, and whether this one has it. */
#define FEATURE(name) (__builtin_cpu_supports(name) ? NULL : (name))

static const char *missing_feature(void)
{
    const char *features[] = {
#ifdef __AVX512F__
        FEATURE("avx512f"),
#endif
#ifdef __AVX512BW__
        FEATURE("avx512bw"),
#endif
#ifdef __AVX2__
        FEATURE("avx2"),
#endif
#ifdef __FMA__
        FEATURE("fma"),
#endif
#ifdef __BMI2__
        FEATURE("bmi2"),
#endif
#ifdef __SSE4_2__
        FEATURE("sse4.2"),
#endif
        FEATURE("sse2")};
    if (orth_fault_fails("launch.processor"))
        return "injected";
    for (size_t i = 0; i < sizeof features / sizeof *features; i++)
        if (features[i])
            return features[i];
    return NULL;
}
#else
static const char *missing_feature(void)
{
    return orth_fault_fails("launch.processor") ? "injected" : NULL;
}
#endif

orth_status orth_launch_check_processor(void)
{
    const char *missing = missing_feature();
    if (!missing)
        return ORTH_OK;
    return orth_fail(ORTH_ERR_ENVIRONMENT,
                     "orthant: was built for a newer processor than this one, which lacks %s; "
                     "build it on this machine, or without -march in CFLAGS",
                     missing);
}

/* A count from the environment, 0 when absent. */
static long environment_count(const char *name)
{
    const char *text = getenv(name);
    return text ? strtol(text, NULL, 10) : 0;
}

/* How many processes the innermost launcher says it started, 0 when no launcher says. Only inside
 * a job step did SLURM start this process itself: in a job script, SLURM_NTASKS is what the job may
 * start, and one process alone is in order there. */
static long launched_processes(void)
{
    static const char *const sizes[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (getenv(sizes[i]))
            return environment_count(sizes[i]);
    if (!getenv("SLURM_STEP_ID"))
        return 0;
    long tasks = environment_count("SLURM_STEP_NUM_TASKS");
    return tasks ? tasks : environment_count("SLURM_NTASKS");
}

static orth_status apart(long launched)
{
    return orth_fail(ORTH_ERR_ENVIRONMENT,
                     "MPI: the launcher started %ld processes but each sees a world of one rank; "
                     "start with srun --mpi=pmix, or with the mpirun of the MPI that orthant "
                     "--version names",
                     launched);
}

orth_status orth_launch_check_environment(void)
{
#ifdef OPEN_MPI
    /* Open MPI joins the tasks of a job step through PMIx or PMI alone, and without them it ends
     * the program inside MPI_Init with a page about how it was built. */
    static const char *const names[] = {"PMIX_RANK", "PMIX_NAMESPACE", "PMI_RANK", "PMI_FD"};
    bool joined = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        joined = joined || getenv(names[i]);
    long launched = launched_processes();
    if (!joined && launched > 1)
        return apart(launched);
#endif
    return ORTH_OK;
}

orth_status orth_launch_check_world(MPI_Comm world)
{
    int size;
    ORTH_MPI(MPI_Comm_size(world, &size));
    long launched = launched_processes();
    if (size == 1 && launched > 1)
        return apart(launched);
    if (size == 1 && launched == 0 && environment_count("SLURM_NTASKS") > 1)
        orth_log_warning("runs on one rank, although the job has SLURM_NTASKS=%ld; start with "
                         "srun --mpi=pmix to use them all",
                         environment_count("SLURM_NTASKS"));
    return ORTH_OK;
}

/* FNV-1a, 64 bits. */
static uint64_t add_bytes(uint64_t hash, const void *bytes, size_t count)
{
    const unsigned char *c = bytes;
    for (size_t i = 0; i < count; i++)
        hash = (hash ^ c[i]) * UINT64_C(0x100000001B3);
    return hash;
}

static const uint64_t EMPTY = UINT64_C(0xCBF29CE484222325);

static uint64_t hash_arguments(int argc, char **argv)
{
    uint64_t hash = EMPTY;
    for (int i = 1; i < argc; i++)
        hash = add_bytes(hash, argv[i], strlen(argv[i]) + 1);
    return hash;
}

/* Of the version and the executable's content, as far as the system shows it. */
static uint64_t hash_program(void)
{
    uint64_t hash = add_bytes(EMPTY, ORTH_VERSION, sizeof ORTH_VERSION);
    FILE *file = fopen("/proc/self/exe", "rb");
    if (!file)
        return hash;
    unsigned char block[16384];
    size_t got;
    while ((got = fread(block, 1, sizeof block, file)) > 0)
        hash = add_bytes(hash, block, got);
    fclose(file);
    return hash;
}

orth_status orth_launch_check_same(MPI_Comm world, int argc, char **argv)
{
    int rank;
    ORTH_MPI(MPI_Comm_rank(world, &rank));
    uint64_t mine[2] = {hash_program(), hash_arguments(argc, argv)};
    uint64_t first[2] = {mine[0], mine[1]};
    orth_status status = orth_broadcast(first, 2, MPI_UINT64_T, 0, world);
    if (status == ORTH_OK && first[0] != mine[0])
        status = orth_fail(ORTH_ERR_ENVIRONMENT,
                           "orthant: rank %d runs another executable than rank 0; install one "
                           "build on all nodes",
                           rank);
    else if (status == ORTH_OK && first[1] != mine[1])
        status = orth_fail(ORTH_ERR_ENVIRONMENT,
                           "command line: rank %d has other arguments than rank 0; give all ranks "
                           "the same",
                           rank);
    return orth_agree(world, status);
}
