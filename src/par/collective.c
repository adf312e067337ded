#include <orthant/par/collective.h>

#include <orthant/base/fault.h>
#include <orthant/base/memory.h>
#include <orthant/par/transfer.h>

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Open MPI moves in-place reductions twice as fast in pieces of 1-4 MiB as in one call. What is
 * added should still be in cache. Few values are sent whole: that is one transfer less. */
enum { CHUNK_BYTES = 2 << 20, ADDED_BYTES = 512 << 10, SMALL_BYTES = 32 << 10 };

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
    if (count * size * ranks <= SMALL_BYTES) {
        *messages += ranks - 1;
        return (ranks - 1) * count * size;
    }
    int64_t slice = slice_of(count, size, ranks), chunk = slice * ranks;
    int64_t transfers = 2 * (count / chunk + (count % chunk != 0)) * (ranks - 1);
    *messages += transfers;
    return transfers * slice * size;
}

static orth_status sum_small(void *data, int64_t count, MPI_Datatype type, int64_t size, int ranks,
                             MPI_Comm comm)
{
    double all[SMALL_BYTES / sizeof(double)];
    ORTH_MPI(MPI_Allgather(data, (int)count, type, all, (int)count, type, comm));
    add_in_order(all, count, ranks, type);
    memcpy(data, all, (size_t)(count * size));
    return ORTH_OK;
}

static orth_status sum_in_order(char *data, int64_t count, MPI_Datatype type, int64_t size,
                                MPI_Comm comm)
{
    int ranks;
    ORTH_MPI(MPI_Comm_size(comm, &ranks));
    if (ranks == 1 || count == 0)
        return ORTH_OK;
    if (count * size * ranks <= SMALL_BYTES)
        return sum_small(data, count, type, size, ranks, comm);
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
        status = orth_mpi_status(ORTH_WAIT(MPI_Alltoall(send, (int)slice_bytes, MPI_BYTE, receive,
                                                        (int)slice_bytes, MPI_BYTE, comm)),
                                 "MPI_Alltoall");
        if (status != ORTH_OK)
            break;
        add_in_order(receive, slice, ranks, type);
        status = orth_mpi_status(ORTH_WAIT(MPI_Allgather(receive, (int)slice_bytes, MPI_BYTE, send,
                                                         (int)slice_bytes, MPI_BYTE, comm)),
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

void orth_add_in_order(const float *const *from, int ranks, int64_t count, float *out)
{
    enum { WIDTH = 256 };
    float sum[WIDTH];
    for (int64_t i = 0; i < count; i += WIDTH) {
        int64_t width = smaller(WIDTH, count - i);
        memcpy(sum, from[0] + i, (size_t)width * sizeof *sum);
        for (int r = 1; r < ranks; r++)
            for (int64_t l = 0; l < width; l++)
                sum[l] += from[r][i + l];
        memcpy(out + i, sum, (size_t)width * sizeof *sum);
    }
}

/** A reduce-scatter under way, in steps of `chunk` floats of every piece. */
typedef struct scattering {
    float *data;
    const int64_t *counts;
    int ranks, rank;
    int64_t chunk;
    float *received; ///< (2, ranks, chunk)
    orth_transfer transfers[2];
} scattering;

/* Floats [*at, *at + the result) of the data: step `step` of rank r's piece. */
static int64_t step_of(const scattering *s, int r, int64_t step, int64_t *at)
{
    int64_t done = smaller(step * s->chunk, s->counts[r]);
    *at = done;
    for (int before = 0; before < r; before++)
        *at += s->counts[before];
    return smaller(s->chunk, s->counts[r] - done);
}

static orth_status scatter_begin(scattering *s, int64_t step)
{
    orth_transfer *transfer = &s->transfers[step % 2];
    float *received = s->received + step % 2 * s->ranks * s->chunk;
    int64_t at, own = step_of(s, s->rank, step, &at) * (int64_t)sizeof(float);
    for (int i = 1; i < s->ranks; i++) {
        int from = (s->rank - i + s->ranks) % s->ranks;
        ORTH_TRY(orth_transfer_receive(transfer, received + from * s->chunk, own, from, 0));
    }
    for (int i = 1; i < s->ranks; i++) {
        int to = (s->rank + i) % s->ranks;
        int64_t count = step_of(s, to, step, &at);
        ORTH_TRY(orth_transfer_send(transfer, s->data + at, count * (int64_t)sizeof(float), to, 0));
    }
    return ORTH_OK;
}

static orth_status scatter_end(scattering *s, int64_t step)
{
    const float *from[s->ranks];
    int64_t at, count = step_of(s, s->rank, step, &at);
    ORTH_TRY(orth_transfer_finish(&s->transfers[step % 2]));
    for (int r = 0; r < s->ranks; r++)
        from[r] = r == s->rank ? s->data + at : s->received + (step % 2 * s->ranks + r) * s->chunk;
    orth_add_in_order(from, s->ranks, count, s->data + at);
    return ORTH_OK;
}

static orth_status scatter_all(scattering *s)
{
    int64_t longest = 0;
    for (int r = 0; r < s->ranks; r++)
        longest = s->counts[r] > longest ? s->counts[r] : longest;
    int64_t steps = longest / s->chunk + (longest % s->chunk != 0);
    for (int64_t step = 0; step <= steps; step++) {
        if (step < steps)
            ORTH_TRY(scatter_begin(s, step));
        if (step > 0)
            ORTH_TRY(scatter_end(s, step - 1));
    }
    return ORTH_OK;
}

orth_status orth_reduce_scatter_f32(float *data, const int64_t *counts, MPI_Comm comm)
{
    scattering s = {.data = data, .counts = counts, .transfers = {{.comm = comm}, {.comm = comm}}};
    ORTH_MPI(MPI_Comm_size(comm, &s.ranks));
    ORTH_MPI(MPI_Comm_rank(comm, &s.rank));
    if (s.ranks == 1)
        return ORTH_OK;
    s.chunk = ADDED_BYTES / (int64_t)sizeof(float) / s.ranks + 1;
    /* Not zeroed: every value is received before it is read. */
    s.received = orth_malloc((size_t)(2 * s.ranks * s.chunk) * sizeof *s.received);
    orth_status status =
        s.received ? scatter_all(&s)
                   : orth_fail(ORTH_ERR_ENVIRONMENT,
                               "reduction buffer: out of memory for %lld bytes; use fewer ranks a "
                               "node",
                               (long long)(2 * s.ranks * s.chunk) * 4);
    free(s.received);
    orth_transfer_free(&s.transfers[0]);
    orth_transfer_free(&s.transfers[1]);
    return status;
}

/* One call where counts and displacements fit an int, else piece after piece. */
static orth_status gather_pieces(const int64_t *counts, int64_t size, char *all, int ranks,
                                 MPI_Comm comm)
{
    int bytes[ranks], places[ranks];
    int64_t total = 0;
    for (int r = 0; r < ranks; r++)
        total += counts[r] * size;
    if (total <= INT_MAX && orth_fault("par.gather") != ORTH_FAULT_SHORT) {
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
