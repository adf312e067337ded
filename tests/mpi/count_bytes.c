/* Counts the bytes that this rank receives in MPI calls, by communicator and call, through the
 * profiling interface: preloaded into a program, it writes $ORTHANT_COUNT_FOLDER/rank-<rank> in
 * MPI_Finalize, a line "<communicator> <call> <bytes>" each. Received is what the receive buffer
 * holds of other ranks; the buffer of an allreduce counts once; one rank alone receives nothing.
 * The first communicator that is split off is the token group, the second joins the peers
 * (src/par/grid.c); duplicates are what they were made from, all others are "world". */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

enum { WORLD, GROUP, PEERS, ROLES, KNOWN = 64 };
enum { ALLREDUCE, BCAST, ALLGATHER, ALLTOALL, POINT, UNDER_WAY, SCAN, CALLS };

static const char *const role_names[] = {"world", "group", "peers"};
static const char *const call_names[] = {"allreduce", "bcast",     "allgather", "alltoall",
                                         "point",     "under-way", "scan"};
static long long received[ROLES][CALLS];
static struct {
    MPI_Comm comm;
    int role;
} known[KNOWN];
static int n_known, n_split;

static int role_of(MPI_Comm comm)
{
    for (int i = 0; i < n_known; i++)
        if (known[i].comm == comm)
            return known[i].role;
    return WORLD;
}

static void remember(MPI_Comm comm, int role)
{
    if (role == WORLD || comm == MPI_COMM_NULL)
        return;
    if (n_known == KNOWN)
        abort();
    known[n_known].comm = comm;
    known[n_known++].role = role;
}

static int size_of(MPI_Comm comm)
{
    int size = 1;
    PMPI_Comm_size(comm, &size);
    return size;
}

static int rank_in(MPI_Comm comm)
{
    int rank = 0;
    PMPI_Comm_rank(comm, &rank);
    return rank;
}

static void count(MPI_Comm comm, int call, long long elements, MPI_Datatype type)
{
    int bytes = 0;
    if (size_of(comm) == 1)
        return;
    PMPI_Type_size(type, &bytes);
    received[role_of(comm)][call] += elements * bytes;
}

static long long others(const int *counts, MPI_Comm comm)
{
    long long sum = 0;
    for (int r = 0; r < size_of(comm); r++)
        sum += r == rank_in(comm) ? 0 : counts[r];
    return sum;
}

int MPI_Comm_split(MPI_Comm comm, int colour, int key, MPI_Comm *out)
{
    int code = PMPI_Comm_split(comm, colour, key, out);
    if (code == MPI_SUCCESS && n_split < 2)
        remember(*out, ++n_split == 1 ? GROUP : PEERS);
    return code;
}

int MPI_Comm_dup(MPI_Comm comm, MPI_Comm *out)
{
    int code = PMPI_Comm_dup(comm, out);
    if (code == MPI_SUCCESS)
        remember(*out, role_of(comm));
    return code;
}

int MPI_Allreduce(const void *send, void *receive, int n, MPI_Datatype type, MPI_Op op,
                  MPI_Comm comm)
{
    count(comm, ALLREDUCE, n, type);
    return PMPI_Allreduce(send, receive, n, type, op, comm);
}

int MPI_Iallreduce(const void *send, void *receive, int n, MPI_Datatype type, MPI_Op op,
                   MPI_Comm comm, MPI_Request *request)
{
    count(comm, ALLREDUCE, n, type);
    return PMPI_Iallreduce(send, receive, n, type, op, comm, request);
}

int MPI_Bcast(void *data, int n, MPI_Datatype type, int root, MPI_Comm comm)
{
    if (rank_in(comm) != root)
        count(comm, BCAST, n, type);
    return PMPI_Bcast(data, n, type, root, comm);
}

int MPI_Exscan(const void *send, void *receive, int n, MPI_Datatype type, MPI_Op op, MPI_Comm comm)
{
    count(comm, SCAN, n, type);
    return PMPI_Exscan(send, receive, n, type, op, comm);
}

int MPI_Allgather(const void *send, int n_send, MPI_Datatype sent, void *receive, int n,
                  MPI_Datatype type, MPI_Comm comm)
{
    count(comm, ALLGATHER, (long long)n * (size_of(comm) - 1), type);
    return PMPI_Allgather(send, n_send, sent, receive, n, type, comm);
}

int MPI_Iallgather(const void *send, int n_send, MPI_Datatype sent, void *receive, int n,
                   MPI_Datatype type, MPI_Comm comm, MPI_Request *request)
{
    count(comm, ALLGATHER, (long long)n * (size_of(comm) - 1), type);
    return PMPI_Iallgather(send, n_send, sent, receive, n, type, comm, request);
}

int MPI_Allgatherv(const void *send, int n_send, MPI_Datatype sent, void *receive,
                   const int *counts, const int *places, MPI_Datatype type, MPI_Comm comm)
{
    count(comm, ALLGATHER, others(counts, comm), type);
    return PMPI_Allgatherv(send, n_send, sent, receive, counts, places, type, comm);
}

int MPI_Iallgatherv(const void *send, int n_send, MPI_Datatype sent, void *receive,
                    const int *counts, const int *places, MPI_Datatype type, MPI_Comm comm,
                    MPI_Request *request)
{
    count(comm, ALLGATHER, others(counts, comm), type);
    return PMPI_Iallgatherv(send, n_send, sent, receive, counts, places, type, comm, request);
}

int MPI_Alltoall(const void *send, int n_send, MPI_Datatype sent, void *receive, int n,
                 MPI_Datatype type, MPI_Comm comm)
{
    count(comm, ALLTOALL, (long long)n * (size_of(comm) - 1), type);
    return PMPI_Alltoall(send, n_send, sent, receive, n, type, comm);
}

int MPI_Ialltoall(const void *send, int n_send, MPI_Datatype sent, void *receive, int n,
                  MPI_Datatype type, MPI_Comm comm, MPI_Request *request)
{
    count(comm, ALLTOALL, (long long)n * (size_of(comm) - 1), type);
    return PMPI_Ialltoall(send, n_send, sent, receive, n, type, comm, request);
}

int MPI_Alltoallv(const void *send, const int *n_send, const int *from, MPI_Datatype sent,
                  void *receive, const int *counts, const int *places, MPI_Datatype type,
                  MPI_Comm comm)
{
    count(comm, ALLTOALL, others(counts, comm), type);
    return PMPI_Alltoallv(send, n_send, from, sent, receive, counts, places, type, comm);
}

int MPI_Ialltoallv(const void *send, const int *n_send, const int *from, MPI_Datatype sent,
                   void *receive, const int *counts, const int *places, MPI_Datatype type,
                   MPI_Comm comm, MPI_Request *request)
{
    count(comm, ALLTOALL, others(counts, comm), type);
    return PMPI_Ialltoallv(send, n_send, from, sent, receive, counts, places, type, comm, request);
}

static void count_from(int from, MPI_Comm comm, int call, int n, MPI_Datatype type)
{
    if (from != MPI_PROC_NULL && from != rank_in(comm))
        count(comm, call, n, type);
}

int MPI_Recv(void *data, int n, MPI_Datatype type, int from, int tag, MPI_Comm comm,
             MPI_Status *status)
{
    count_from(from, comm, POINT, n, type);
    return PMPI_Recv(data, n, type, from, tag, comm, status);
}

int MPI_Irecv(void *data, int n, MPI_Datatype type, int from, int tag, MPI_Comm comm,
              MPI_Request *request)
{
    count_from(from, comm, UNDER_WAY, n, type);
    return PMPI_Irecv(data, n, type, from, tag, comm, request);
}

int MPI_Sendrecv(const void *send, int n_send, MPI_Datatype sent, int to, int send_tag,
                 void *receive, int n, MPI_Datatype type, int from, int tag, MPI_Comm comm,
                 MPI_Status *status)
{
    count_from(from, comm, POINT, n, type);
    return PMPI_Sendrecv(send, n_send, sent, to, send_tag, receive, n, type, from, tag, comm,
                         status);
}

int MPI_Finalize(void)
{
    char path[4096];
    const char *folder = getenv("ORTHANT_COUNT_FOLDER");
    snprintf(path, sizeof path, "%s/rank-%d", folder ? folder : ".", rank_in(MPI_COMM_WORLD));
    FILE *file = fopen(path, "w");
    for (int role = 0; file && role < ROLES; role++)
        for (int call = 0; call < CALLS; call++)
            fprintf(file, "%s %s %lld\n", role_names[role], call_names[call], received[role][call]);
    if (file)
        fclose(file);
    return PMPI_Finalize();
}
