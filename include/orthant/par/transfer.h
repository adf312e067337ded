#ifndef ORTHANT_PAR_TRANSFER_H
#define ORTHANT_PAR_TRANSFER_H

#include <orthant/base/status.h>

#include <mpi.h>
#include <stdint.h>

/**
 * Messages between ranks of one communicator that are under way while something else is computed.
 * MPI moves them only inside its own calls, so the main thread calls orth_transfer_progress now and
 * then. Messages of one tag between two ranks arrive in the order of their sending. All functions
 * are for the main thread and return ORTH_ERR_ENVIRONMENT when MPI or memory fails.
 */
typedef struct orth_transfer {
    MPI_Comm comm;
    MPI_Request *requests;
    int count;
    int capacity;
} orth_transfer;

/** Start `bytes` bytes on their way to rank `to`; they stay as they are until the transfer is
 * finished. None: nothing happens, on either side. */
orth_status orth_transfer_send(orth_transfer *transfer, const void *data, int64_t bytes, int to,
                               int tag);

/** The other side, with the same number of bytes. */
orth_status orth_transfer_receive(orth_transfer *transfer, void *data, int64_t bytes, int from,
                                  int tag);

/** Move on what can move. Does not wait. */
orth_status orth_transfer_progress(orth_transfer *transfer);

/** Wait for every message; afterwards the transfer is empty and can be used again. */
orth_status orth_transfer_finish(orth_transfer *transfer);

/** Free the memory of an empty transfer; a zeroed one is allowed. */
void orth_transfer_free(orth_transfer *transfer);

#endif
