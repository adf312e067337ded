#include <orthant/par/collective.h>

#include <orthant/base/memory.h>

#include <limits.h>
#include <stddef.h>
#include <string.h>

/* Open MPI moves in-place reductions twice as fast in pieces of 1-4 MiB as in one call. */
enum { CHUNK_BYTES = 2 << 20 };

orth_status orth_mpi_status(int code, const char *call)
{
    if (code == MPI_SUCCESS)
        return ORTH_OK;
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(code, text, &length);
    return orth_fail(ORTH_ERR_ENVIRONMENT, "MPI: %.200s: %s; see whether a rank or a link died",
                     call, text);
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

orth_status orth_allreduce(void *data, int64_t count, MPI_Datatype type, MPI_Op op, MPI_Comm comm)
{
    int size;
    ORTH_MPI(MPI_Type_size(type, &size));
    int64_t chunk = CHUNK_BYTES / size;
    for (int64_t done = 0; done < count; done += chunk)
        ORTH_MPI(MPI_Allreduce(MPI_IN_PLACE, (char *)data + done * size,
                               (int)smaller(chunk, count - done), type, op, comm));
    return ORTH_OK;
}

orth_status orth_broadcast(void *data, int64_t count, MPI_Datatype type, int root, MPI_Comm comm)
{
    int size;
    ORTH_MPI(MPI_Type_size(type, &size));
    int64_t chunk = CHUNK_BYTES / size;
    for (int64_t done = 0; done < count; done += chunk)
        ORTH_MPI(MPI_Bcast((char *)data + done * size, (int)smaller(chunk, count - done), type,
                           root, comm));
    return ORTH_OK;
}

/* Add `ranks` arrays of `count` elements, one after another in memory, into the first. */
static void add_in_order(void *arrays, int64_t count, int ranks, MPI_Datatype type)
{
    if (type == MPI_FLOAT) {
        float *sum = arrays;
        for (int r = 1; r < ranks; r++)
            for (int64_t i = 0; i < count; i++)
                sum[i] += sum[(int64_t)r * count + i];
    } else {
        double *sum = arrays;
        for (int r = 1; r < ranks; r++)
            for (int64_t i = 0; i < count; i++)
                sum[i] += sum[(int64_t)r * count + i];
    }
}

/* Each rank adds one slice of every chunk; the last slices are padded to equal length. */
static int64_t slice_of(int64_t count, int64_t size, int ranks)
{
    return smaller(CHUNK_BYTES / size, count) / ranks + 1;
}

int64_t orth_sum_received(int64_t count, int64_t size, int ranks, int64_t *messages)
{
    if (ranks == 1 || count == 0)
        return 0;
    int64_t slice = slice_of(count, size, ranks), chunk = slice * ranks;
    int64_t transfers = 2 * (count / chunk + (count % chunk != 0)) * (ranks - 1);
    *messages += transfers;
    return transfers * slice * size;
}

static orth_status sum_in_order(char *data, int64_t count, MPI_Datatype type, int64_t size,
                                MPI_Comm comm)
{
    int ranks;
    ORTH_MPI(MPI_Comm_size(comm, &ranks));
    if (ranks == 1 || count == 0)
        return ORTH_OK;
    int64_t slice = slice_of(count, size, ranks);
    int64_t chunk = slice * ranks, slice_bytes = slice * size;
    char *send = NULL, *receive = NULL;
    orth_status status = orth_allocate(chunk, size, "reduction buffer", (void **)&send);
    if (status == ORTH_OK)
        status = orth_allocate(chunk, size, "reduction buffer", (void **)&receive);
    for (int64_t done = 0; status == ORTH_OK && done < count; done += chunk) {
        size_t bytes = (size_t)(smaller(chunk, count - done) * size);
        memcpy(send, data + done * size, bytes);
        memset(send + bytes, 0, (size_t)(chunk * size) - bytes);
        status = orth_mpi_status(MPI_Alltoall(send, (int)slice_bytes, MPI_BYTE, receive,
                                              (int)slice_bytes, MPI_BYTE, comm),
                                 "MPI_Alltoall");
        if (status != ORTH_OK)
            break;
        add_in_order(receive, slice, ranks, type);
        status = orth_mpi_status(MPI_Allgather(receive, (int)slice_bytes, MPI_BYTE, send,
                                               (int)slice_bytes, MPI_BYTE, comm),
                                 "MPI_Allgather");
        if (status == ORTH_OK)
            memcpy(data + done * size, send, bytes);
    }
    orth_free(receive);
    orth_free(send);
    return status;
}

orth_status orth_sum_f32(float *data, int64_t count, MPI_Comm comm)
{
    return sum_in_order((char *)data, count, MPI_FLOAT, sizeof *data, comm);
}

orth_status orth_sum_f64(double *data, int64_t count, MPI_Comm comm)
{
    return sum_in_order((char *)data, count, MPI_DOUBLE, sizeof *data, comm);
}

/* One call where counts and displacements fit an int, else piece after piece. */
static orth_status gather_pieces(const int64_t *counts, int64_t size, char *all, int ranks,
                                 MPI_Comm comm)
{
    int bytes[ranks], places[ranks];
    int64_t total = 0;
    for (int r = 0; r < ranks; r++)
        total += counts[r] * size;
    if (total <= INT_MAX) {
        int place = 0;
        for (int r = 0; r < ranks; r++) {
            bytes[r] = (int)(counts[r] * size);
            places[r] = place;
            place += bytes[r];
        }
        ORTH_MPI(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_BYTE, all, bytes, places, MPI_BYTE, comm));
        return ORTH_OK;
    }
    for (int r = 0; r < ranks; r++) {
        ORTH_TRY(orth_broadcast(all, counts[r] * size, MPI_BYTE, r, comm));
        all += counts[r] * size;
    }
    return ORTH_OK;
}

orth_status orth_allgather(const void *mine, const int64_t *counts, int64_t size, void *all,
                           MPI_Comm comm)
{
    int ranks, rank;
    ORTH_MPI(MPI_Comm_size(comm, &ranks));
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    char *place = all;
    for (int r = 0; r < rank; r++)
        place += counts[r] * size;
    if (mine != place && counts[rank] > 0)
        memmove(place, mine, (size_t)(counts[rank] * size));
    return gather_pieces(counts, size, all, ranks, comm);
}

static orth_status alltoall_pairwise(const char *send, const int64_t *send_counts, char *receive,
                                     const int64_t *receive_counts, int64_t size, MPI_Comm comm)
{
    int ranks, rank;
    ORTH_MPI(MPI_Comm_size(comm, &ranks));
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    for (int step = 0; step < ranks; step++) {
        int to = (rank + step) % ranks, from = (rank - step + ranks) % ranks;
        int64_t send_at = 0, receive_at = 0;
        for (int r = 0; r < to; r++)
            send_at += send_counts[r] * size;
        for (int r = 0; r < from; r++)
            receive_at += receive_counts[r] * size;
        int64_t out = send_counts[to] * size, in = receive_counts[from] * size;
        if (step == 0) {
            memcpy(receive + receive_at, send + send_at, (size_t)out);
            continue;
        }
        /* Both sides know both lengths of their own pair, so a loop over the longer one agrees. */
        for (int64_t done = 0; done < out || done < in; done += CHUNK_BYTES) {
            int64_t o = out > done ? smaller(CHUNK_BYTES, out - done) : 0;
            int64_t i = in > done ? smaller(CHUNK_BYTES, in - done) : 0;
            ORTH_MPI(MPI_Sendrecv(send + send_at + (o ? done : 0), (int)o, MPI_BYTE,
                                  o ? to : MPI_PROC_NULL, 0, receive + receive_at + (i ? done : 0),
                                  (int)i, MPI_BYTE, i ? from : MPI_PROC_NULL, 0, comm,
                                  MPI_STATUS_IGNORE));
        }
    }
    return ORTH_OK;
}

orth_status orth_alltoall(const void *send, const int64_t *send_counts, void *receive,
                          const int64_t *receive_counts, int64_t size, MPI_Comm comm)
{
    return alltoall_pairwise(send, send_counts, receive, receive_counts, size, comm);
}
