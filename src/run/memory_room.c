#include <orthant/run/memory_room.h>

#include <orthant/base/fault.h>
#include <orthant/base/log.h>
#include <orthant/par/collective.h>

#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static double available_bytes(void)
{
    FILE *file = fopen("/proc/meminfo", "re");
    char line[128];
    double kib = INFINITY;
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %lf kB", &kib) == 1)
            break;
    if (file)
        fclose(file);
    return kib * 1024.0;
}

/* The number in a limit file; infinite where there is none, or no limit ("max"). */
static double read_limit(const char *folder, const char *group, const char *name)
{
    char path[PATH_MAX];
    double bytes = INFINITY;
    if (snprintf(path, sizeof path, "%s%s/%s", folder, group, name) >= (int)sizeof path)
        return bytes;
    FILE *file = fopen(path, "re");
    if (!file)
        return bytes;
    if (fscanf(file, "%lf", &bytes) != 1)
        bytes = INFINITY;
    fclose(file);
    return bytes;
}

/* A job's limit stands in the group of the job, above those of its steps and tasks. */
static double least_limit(const char *folder, char *group, const char *name)
{
    double least = INFINITY;
    for (char *slash = group; slash;) {
        double bytes = read_limit(folder, group, name);
        least = bytes < least ? bytes : least;
        slash = strrchr(group, '/');
        if (slash)
            *slash = '\0';
    }
    return least;
}

/* Lines of /proc/self/cgroup: number:controllers:path, the second version's without controllers. */
static double group_limit(void)
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    char line[PATH_MAX];
    double least = INFINITY;
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':'), *group = NULL;
        if (controllers)
            group = strchr(controllers + 1, ':');
        if (!group)
            continue;
        *group++ = '\0';
        bool second = controllers[1] == '\0';
        if (!second && strcmp(controllers, ":memory") != 0)
            continue;
        double bytes = second
                           ? least_limit("/sys/fs/cgroup", group, "memory.max")
                           : least_limit("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes");
        least = bytes < least ? bytes : least;
    }
    if (file)
        fclose(file);
    return least;
}

double orth_memory_room(void)
{
    if (orth_fault("memory.room") == ORTH_FAULT_SHORT)
        return 1048576.0;
    double available = available_bytes(), limit = group_limit();
    return available < limit ? available : limit;
}

orth_status orth_memory_room_check(double bytes, MPI_Comm world)
{
    /* By node: what is needed, what is there, and the first rank, which knows the name. */
    struct {
        double share;
        int rank;
    } worst;
    double need = bytes, told[2] = {0.0, orth_memory_room()};
    char host[128] = "";
    int rank;
    MPI_Comm node;
    ORTH_MPI(MPI_Comm_rank(world, &rank));
    worst.rank = rank;
    ORTH_MPI(MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node));
    orth_status status = orth_mpi_status(
        ORTH_WAIT(MPI_Allreduce(&need, &told[0], 1, MPI_DOUBLE, MPI_SUM, node)), "MPI_Allreduce");
    MPI_Comm_free(&node);
    if (status != ORTH_OK)
        return status;
    worst.share = told[0] / told[1];
    ORTH_MPI(MPI_Allreduce(MPI_IN_PLACE, &worst, 1, MPI_DOUBLE_INT, MPI_MAXLOC, world));
    /* No broadcast: how much a rank receives must not depend on what was measured. */
    if (worst.rank == rank)
        gethostname(host, sizeof host - 1);
    else
        told[0] = told[1] = 0.0;
    ORTH_TRY(orth_allreduce(told, 2, MPI_DOUBLE, MPI_SUM, world));
    ORTH_TRY(orth_allreduce(host, sizeof host, MPI_BYTE, MPI_BOR, world));
    if (told[0] > told[1])
        orth_log_warning(
            "memory: the ranks on %s will take up to %.1f GiB, where %.1f GiB are left; "
            "use more nodes, or fewer ranks on each with more shards (grid.n_shard)",
            host, told[0] / 1073741824.0, told[1] / 1073741824.0);
    return ORTH_OK;
}
