#include <orthant/par/transfer.h>

#include <orthant/base/memory.h>
#include <orthant/par/mpi.h>

#include <stdlib.h>
#include <string.h>

/* Counts are ints in MPI. */
static const int64_t PIECE_BYTES = 1 << 30;

static orth_status reserve(orth_transfer *transfer, MPI_Request **next)
{
    if (transfer->count == transfer->capacity) {
        int capacity = 2 * transfer->capacity + 16;
        void *larger =
            orth_realloc(transfer->requests, (size_t)capacity * sizeof *transfer->requests);
        if (!larger)
            return orth_fail(ORTH_ERR_ENVIRONMENT,
                             "transfers: out of memory for %d messages; use fewer ranks a node",
                             capacity);
        transfer->requests = larger;
        transfer->capacity = capacity;
    }
    *next = &transfer->requests[transfer->count];
    return ORTH_OK;
}

orth_status orth_transfer_send(orth_transfer *transfer, const void *data, int64_t bytes, int to,
                               int tag)
{
    MPI_Request *request = NULL;
    for (int64_t done = 0; done < bytes; done += PIECE_BYTES) {
        int64_t piece = bytes - done < PIECE_BYTES ? bytes - done : PIECE_BYTES;
        ORTH_TRY(reserve(transfer, &request));
        ORTH_MPI(MPI_Isend((const char *)data + done, (int)piece, MPI_BYTE, to, tag, transfer->comm,
                           request));
        transfer->count++;
    }
    return ORTH_OK;
}

orth_status orth_transfer_receive(orth_transfer *transfer, void *data, int64_t bytes, int from,
                                  int tag)
{
    MPI_Request *request = NULL;
    for (int64_t done = 0; done < bytes; done += PIECE_BYTES) {
        int64_t piece = bytes - done < PIECE_BYTES ? bytes - done : PIECE_BYTES;
        ORTH_TRY(reserve(transfer, &request));
        ORTH_MPI(MPI_Irecv((char *)data + done, (int)piece, MPI_BYTE, from, tag, transfer->comm,
                           request));
        transfer->count++;
    }
    return ORTH_OK;
}

orth_status orth_transfer_progress(orth_transfer *transfer)
{
    int done;
    if (transfer->count == 0)
        return ORTH_OK;
    ORTH_MPI(MPI_Testall(transfer->count, transfer->requests, &done, MPI_STATUSES_IGNORE));
    if (done)
        transfer->count = 0;
    return ORTH_OK;
}

orth_status orth_transfer_finish(orth_transfer *transfer)
{
    int count = transfer->count;
    transfer->count = 0;
    if (count > 0)
        ORTH_MPI(MPI_Waitall(count, transfer->requests, MPI_STATUSES_IGNORE));
    return ORTH_OK;
}

void orth_transfer_free(orth_transfer *transfer)
{
    free(transfer->requests);
    memset(transfer, 0, sizeof *transfer);
}
