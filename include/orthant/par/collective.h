#ifndef ORTHANT_PAR_COLLECTIVE_H
#define ORTHANT_PAR_COLLECTIVE_H

#include <orthant/base/status.h>
#include <orthant/par/mpi.h>

#include <stdint.h>

/**
 * Checked collectives with 64-bit counts: larger transfers go in pieces. Every function here is
 * collective over `comm`, with the same counts where MPI asks for it, and returns
 * ORTH_ERR_ENVIRONMENT when MPI reports a failure.
 */

/** In-place MPI_Allreduce of `count` elements; for operations whose order does not matter
 * (integers, maxima, logical). Floating-point sums use orth_sum_f32 and orth_sum_f64. */
orth_status orth_allreduce(void *data, int64_t count, MPI_Datatype type, MPI_Op op, MPI_Comm comm);

/** MPI_Bcast from `root`. */
orth_status orth_broadcast(void *data, int64_t count, MPI_Datatype type, int root, MPI_Comm comm);

/**
 * In-place sum over the ranks of `comm`, added in rank order, so that every rank ends with the same
 * bits whatever the transport: an own reduce-scatter and allgather. `count` floats.
 */
orth_status orth_sum_f32(float *data, int64_t count, MPI_Comm comm);

/** As orth_sum_f32, for doubles. */
orth_status orth_sum_f64(double *data, int64_t count, MPI_Comm comm);

/**
 * The same sum, of which each rank ends with its piece only: `counts[r]` floats for rank r, packed
 * in rank order; the other pieces keep what this rank had. Half of orth_sum_f32's transfers, for
 * what is then worked on by one rank and gathered (orth_allgather).
 */
orth_status orth_reduce_scatter_f32(float *data, const int64_t *counts, MPI_Comm comm);

/** out[i] = the sum over r of from[r][i], r ascending; `out` may be one of them. Not collective. */
void orth_add_in_order(const float *const *from, int ranks, int64_t count, float *out);

/** Bytes that a rank receives from the others in orth_sum_f32 or orth_sum_f64 of `count` elements
 * of `size` bytes over `ranks` ranks, padding included, and in how many messages (added to
 * *messages). Pure arithmetic. */
int64_t orth_sum_received(int64_t count, int64_t size, int ranks, int64_t *messages);

/**
 * Gather pieces of different length on all ranks: rank r's piece, `counts[r]` elements of `size`
 * bytes, ends at the sum of the counts before it in `all`. `mine` may be the own place in `all`.
 */
orth_status orth_allgather(const void *mine, const int64_t *counts, int64_t size, void *all,
                           MPI_Comm comm);

/**
 * All-to-all of pieces of different length, elements of `size` bytes, packed in rank order on both
 * sides: `send_counts[r]` elements to rank r, `receive_counts[r]` from it.
 */
orth_status orth_alltoall(const void *send, const int64_t *send_counts, void *receive,
                          const int64_t *receive_counts, int64_t size, MPI_Comm comm);

#endif
