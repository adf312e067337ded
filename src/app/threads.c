#define _GNU_SOURCE /* sched_getaffinity */
#include "threads.h"

#include <orthant/base/log.h>
#include <orthant/base/memory.h>
#include <orthant/kern/table.h>
#include <orthant/kern/threads.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>

#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The processors of one node as its ranks may use them. */
typedef struct node_use {
    int ranks;      ///< of this job on the node
    int sharing;    ///< ranks among them that may run on this rank's processors, itself included
    int processors; ///< that this rank may run on
    int idle;       ///< processors of the node that no rank may run on
} node_use;

/* Which processors every rank of the node may use, and how many share the own ones. */
static orth_status look_at_node(MPI_Comm node, node_use *out)
{
    cpu_set_t mine, *all = NULL, every;
    orth_status status = ORTH_OK;
    ORTH_MPI(MPI_Comm_size(node, &out->ranks));
    CPU_ZERO(&mine);
    if (sched_getaffinity(0, sizeof mine, &mine) != 0)
        status = orth_fail(ORTH_ERR_ENVIRONMENT, "sched_getaffinity: not allowed here; set "
                                                 "OMP_NUM_THREADS");
    else if (!(all = orth_malloc((size_t)out->ranks * sizeof *all)))
        status = orth_fail(ORTH_ERR_ENVIRONMENT, "processors of the node: out of memory; free "
                                                 "memory");
    status = orth_agree(node, status);
    if (status == ORTH_OK)
        status = orth_mpi_status(
            MPI_Allgather(&mine, sizeof mine, MPI_BYTE, all, sizeof mine, MPI_BYTE, node),
            "MPI_Allgather");
    CPU_ZERO(&every);
    out->sharing = 0;
    for (int r = 0; r < out->ranks && status == ORTH_OK; r++) {
        cpu_set_t both;
        CPU_AND(&both, &mine, all + r);
        CPU_OR(&every, &every, all + r);
        out->sharing += CPU_COUNT(&both) > 0;
    }
    free(all);
    out->processors = CPU_COUNT(&mine);
    out->idle = (int)sysconf(_SC_NPROCESSORS_ONLN) - CPU_COUNT(&every);
    return status;
}

static void choose_threads(const node_use *use)
{
    const char *given = getenv("OMP_NUM_THREADS");
    int threads = use->processors / use->sharing;
    if (!given || !*given)
        orth_threads_set(threads > 1 ? threads : 1);
    threads = orth_threads_count();
    bool crowded = threads * use->sharing > use->processors;
    if (use->idle > 0 && (crowded || use->processors == 1))
        orth_log_warning(
            "ranks of %d thread%s are bound to %d core%s each and %d cores of the node "
            "stay idle; use --map-by ppr:%d:node:PE=%d --bind-to core",
            threads, threads == 1 ? "" : "s", use->processors, use->processors == 1 ? "" : "s",
            use->idle, use->ranks, use->processors + use->idle / use->ranks);
    else if (crowded && use->sharing == 1)
        orth_log_warning("%d threads take turns on %d processor%s; set OMP_NUM_THREADS=%d", threads,
                         use->processors, use->processors == 1 ? "" : "s", use->processors);
    else if (crowded)
        orth_log_warning(
            "%d ranks of %d thread%s take turns on %d processor%s; for full speed start "
            "%d on this node",
            use->sharing, threads, threads == 1 ? "" : "s", use->processors,
            use->processors == 1 ? "" : "s",
            use->processors > threads ? use->processors / threads : 1);
}

orth_status orth_launch_threads(MPI_Comm world)
{
    MPI_Comm node;
    node_use use = {0};
    int usable;
    const char *reason = orth_kernels_reason(&usable);
    ORTH_TRY(orth_agree(world, usable ? ORTH_OK : orth_fail(ORTH_ERR_ENVIRONMENT, "%s", reason)));
    ORTH_MPI(MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node));
    orth_status status = orth_agree(world, look_at_node(node, &use));
    if (status == ORTH_OK)
        choose_threads(&use);
    MPI_Comm_free(&node);
    return status;
}
