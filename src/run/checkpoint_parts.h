#ifndef ORTHANT_RUN_CHECKPOINT_PARTS_H
#define ORTHANT_RUN_CHECKPOINT_PARTS_H

#include <orthant/io/h5.h>
#include <orthant/run/checkpoint.h>

/**
 * What the files checkpoint_*.c share: the one table of the arrays in a checkpoint, and the names
 * of files. Every dataset is contiguous, in global latent order, and has `/checksum/<its path>`:
 * one CRC-32C for each unit, which is a row of a matrix, or 4096 elements of a vector.
 */
enum {
    ORTH_CHECKPOINT_FORMAT_VERSION = 1,
    ORTH_CHECKPOINT_BLOCK = 4096,         ///< elements of a vector under one checksum
    ORTH_CHECKPOINT_PIECE_BYTES = 4 << 20 ///< memory for a transfer that is not made in place
};
#define ORTH_CHECKPOINT_FORMAT "orthant-checkpoint"

/** Where the elements of an array are while it is in memory. */
typedef enum orth_spread {
    ORTH_SPREAD_ROWS,  ///< matrix (n_latent, d_model): rows of the own shard
    ORTH_SPREAD_PART,  ///< matrix (n_latent, d_model): rows of the own part (orth_sae.part)
    ORTH_SPREAD_SHARD, ///< vector (n_latent): elements of the own shard
    ORTH_SPREAD_WHOLE  ///< vector, whole and equal on every rank
} orth_spread;

typedef struct orth_checkpoint_array {
    const char *name; ///< "/model/W_enc"
    orth_h5_type type;
    int64_t element_size;
    orth_spread spread;
    int64_t extent[2]; ///< (rows, columns); columns 1 for a vector; rows -1: as the file has it
    void *data;        ///< the own part in memory; NULL where nothing is kept
} orth_checkpoint_array;

enum { ORTH_CHECKPOINT_MAX_ARRAYS = 24 };

typedef struct orth_checkpoint_table {
    orth_checkpoint_array items[ORTH_CHECKPOINT_MAX_ARRAYS];
    int count;
} orth_checkpoint_table;

/** Which arrays there are besides the weights. */
typedef struct orth_checkpoint_parts {
    bool threshold; ///< of jumprelu
    bool optimizer; ///< moments and counters
    bool average;   ///< EMA
} orth_checkpoint_parts;

/** Those that a model in memory has, and those that a file has. */
orth_checkpoint_parts orth_checkpoint_parts_of(const orth_sae *sae);
orth_checkpoint_parts orth_checkpoint_parts_in(const orth_checkpoint_info *info);

/** The arrays of a model with `n_latent` and `d_model`, and where they are in `sae` (NULL:
 * nowhere). The small ones of the info are not among them. */
void orth_checkpoint_list_arrays(int64_t n_latent, int64_t d_model, orth_checkpoint_parts parts,
                                 const orth_sae *sae, orth_checkpoint_table *out);

/** The averages, to be read where the own shard's weights are. */
void orth_checkpoint_list_average(int64_t n_latent, int64_t d_model, const orth_params *weights,
                                  orth_checkpoint_table *out);

/** The counts of dead latents alone. */
void orth_checkpoint_list_counts(int64_t n_latent, int64_t *counts, orth_checkpoint_table *out);

/** Append a vector that every rank holds whole. */
void orth_checkpoint_list_whole(orth_checkpoint_table *table, const char *name, orth_h5_type type,
                                int64_t element_size, int64_t length, void *data);

/** Whether the array is a matrix, of which each rank reads and writes its part of the rows. */
bool orth_checkpoint_is_matrix(const orth_checkpoint_array *array);

/** The rows, or elements of a vector, that `sae` has in memory: global indices. */
orth_range orth_checkpoint_held(const orth_checkpoint_array *array, const orth_sae *sae);

/** Elements under one checksum (a row or a block), and how many checksums there are. */
int64_t orth_checkpoint_unit(const orth_checkpoint_array *array);
int64_t orth_checkpoint_units(const orth_checkpoint_array *array);

/** "/checksum/model/W_enc" for "/model/W_enc". */
void orth_checkpoint_checksum_name(const orth_checkpoint_array *array, char *out, int64_t size);

/** Write the contents into an open file. Collective over the grid's world; agreed. */
orth_status orth_checkpoint_write_contents(orth_h5_file *file, const orth_sae *sae,
                                           const orth_checkpoint_info *info);

/** Bytes that the file will have, about. */
int64_t orth_checkpoint_bytes(const orth_sae *sae, const orth_checkpoint_info *info);

/** A warning where the file system has no room for the checkpoints to come. Not collective. */
void orth_checkpoint_warn_of_space(const char *run_dir, const orth_sae *sae,
                                   const orth_checkpoint_info *info, int64_t keep);

/** An array in an open file, with memory for a piece of it. */
typedef struct orth_checkpoint_reader {
    orth_checkpoint_array array; ///< with the extent that the file has
    const char *path;
    orth_h5_dataset *data;
    orth_h5_dataset *checksums;
    char *piece;
    uint32_t *piece_checksums;
    int64_t units_in_piece;
} orth_checkpoint_reader;

/** Open an array and its checksums, and check their shapes and types. Collective; agreed. */
orth_status orth_checkpoint_reader_open(orth_h5_file *file, const orth_checkpoint_array *array,
                                        MPI_Comm comm, orth_checkpoint_reader *out);
void orth_checkpoint_reader_close(orth_checkpoint_reader *reader);

/**
 * Read units [begin, end) and check them. Elements [keep.begin, keep.end) of the array are copied
 * to `out` when it is not NULL. Independent; local status.
 */
orth_status orth_checkpoint_reader_units(orth_checkpoint_reader *reader, int64_t begin, int64_t end,
                                         orth_range keep, void *out);

/** As orth_checkpoint_read_info; `*newer` tells a file of a newer format from a damaged one. */
orth_status orth_checkpoint_probe(const char *path, MPI_Comm comm, orth_checkpoint_info *out,
                                  bool *newer);

/** The error text of the lowest rank whose recorded error has the status `failed`, on every rank,
 * owned (free). Collective. */
orth_status orth_checkpoint_error_text(MPI_Comm comm, orth_status failed, char **out);

/** Steps of the checkpoints in a run directory, newest first, owned (orth_free); a missing folder
 * has none. Not collective. */
orth_status orth_checkpoint_list_steps(const char *run_dir, int64_t **steps, int64_t *count);

/** Path of a step's checkpoint, or of its partial file; owned (free). */
orth_status orth_checkpoint_path(const char *run_dir, int64_t step, bool partial, char **out);

#endif
