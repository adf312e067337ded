#ifndef ORTHANT_FOREIGN_TENSOR_WRITER_H
#define ORTHANT_FOREIGN_TENSOR_WRITER_H

#include <orthant/foreign/tensor_file.h>

/**
 * Writes a file of tensors that another tool reads: safetensors, PyTorch's .pt (a dictionary with
 * the names as keys, loads with torch.load(weights_only=True)), NumPy's .npy, or the elements alone
 * (raw).
 *
 * The entries are given first: `name`, `kind`, `type`, `rank`, `shape` of tensors, the value of
 * others; `count` is computed. In a .pt '/' in names nests dictionaries; numbers, texts and None
 * are written as Python's. In safetensors only texts named "__metadata__/<key>" are allowed beside
 * tensors. A .npy and a raw file have one entry, a tensor.
 */
typedef struct orth_tensor_writer orth_tensor_writer;

/**
 * Create `<path>.partial`. The entries are copied. ORTH_ERR_STORAGE when it cannot be written or
 * the disk has no room. Collective over `comm`, with the same arguments; agreed. End with
 * orth_tensor_writer_close.
 */
orth_status orth_tensor_writer_open(const char *path, orth_tensor_format format,
                                    const orth_tensor_entry *entries, int64_t count, MPI_Comm comm,
                                    orth_tensor_writer **out);

/**
 * Write elements [begin, end) of tensor `index`, in C order, converted to its type: to 16-bit
 * floats and float32 by rounding to nearest even, overflowing to Inf. Every element is to be
 * written by one rank, in any order and any slabs. Not collective; the status is local: the caller
 * agrees it. ORTH_ERR_STORAGE.
 */
orth_status orth_tensor_write_f32(orth_tensor_writer *writer, int64_t index, int64_t begin,
                                  int64_t end, const float *values);
orth_status orth_tensor_write_f64(orth_tensor_writer *writer, int64_t index, int64_t begin,
                                  int64_t end, const double *values);

/** The same for tensors of integers (I32, I64, U8, BOOL). */
orth_status orth_tensor_write_i64(orth_tensor_writer *writer, int64_t index, int64_t begin,
                                  int64_t end, const int64_t *values);

/** Bring the file to the disk and give it its name, replacing what is there. ORTH_ERR_STORAGE;
 * ORTH_ERR_INTERNAL when elements are missing. Collective; agreed. */
orth_status orth_tensor_writer_commit(orth_tensor_writer *writer);

/** Free; without a successful commit nothing is left behind. NULL is allowed. Not collective. */
void orth_tensor_writer_close(orth_tensor_writer *writer);

#endif
