#ifndef ORTHANT_RUN_CHECKPOINT_H
#define ORTHANT_RUN_CHECKPOINT_H

#include <orthant/io/dataset.h>
#include <orthant/io/stream.h>
#include <orthant/sae/model.h>

#include <stdbool.h>

/** What a checkpoint holds besides the arrays of orth_sae. Strings are owned where it was read. */
typedef struct orth_checkpoint_info {
    int64_t format_version;
    int64_t step;
    int64_t tokens_seen;
    int64_t n_latent;
    int64_t d_model;
    orth_cursor cursor;
    orth_fingerprint data;
    double mse_scale;
    double input_scale;
    int ranks, n_group, n_shard, threads; ///< what wrote it
    char isa[32];                         ///< kernel set that wrote it
    char libraries[256];                  ///< MPI, HDF5, BLAS versions that wrote it
    char program_version[32];
    bool has_threshold;   ///< thresholds of jumprelu are there
    bool has_optimizer;   ///< moments and counters are there
    bool has_average;     ///< EMA is there
    char *config;         ///< the resolved YAML
    orth_cursor *skipped; ///< (n_skipped) starts of the batches that roll-backs leave out
    int64_t n_skipped;
} orth_checkpoint_info;

/** More roll-backs than this are damage, and run.rollback does not allow them. */
enum { ORTH_CHECKPOINT_MOST_SKIPPED = 1000 };

/**
 * Write `<run_dir>/checkpoints/step-%09d.h5` for sae->step: under a partial name, by independent
 * contiguous slabs of all ranks, checksummed from memory, synced, with `verify` read again and
 * compared, renamed, the folder synced; then remove all but the newest `keep`. Earlier checkpoints
 * are never touched before the new one stands. Collective over the grid's world; agreed status.
 * ORTH_ERR_STORAGE when it cannot be written: the partial file is gone and the run can go on.
 * ORTH_ERR_NONFINITE, and nothing is written, when a weight or a moment is not finite.
 * Of `info` the caller fills tokens_seen, cursor, data, threads, isa, libraries, program_version,
 * config and what is skipped; the rest comes from `sae`. Arrays that `sae` does not have (moments,
 * averages) are left out. Memory: 4 bytes for each row that the rank writes, and about 4 MiB.
 */
orth_status orth_checkpoint_write(const char *run_dir, const orth_sae *sae,
                                  const orth_checkpoint_info *info, bool verify, int64_t keep);

/**
 * Write `path` as such a file, whole or not at all, verified; what was there is replaced. Nothing
 * else is touched. Collective over the grid's world; agreed. Errors as of orth_checkpoint_write.
 */
orth_status orth_checkpoint_write_file(const char *path, const orth_sae *sae,
                                       const orth_checkpoint_info *info);

/**
 * Make a warning of a failure that the run survives, such as a checkpoint that could not be
 * written:
 * "<what>: <the error of the lowest rank that has one>", and forget it on all ranks. Collective;
 * `failed` is the agreed status.
 */
void orth_checkpoint_forgive(MPI_Comm comm, orth_status failed, const char *what);

/** Whether an HDF5 file has the mark of a checkpoint. ORTH_ERR_DATA when it cannot be opened as
 * HDF5. Collective over `comm`; agreed. */
orth_status orth_checkpoint_recognise(const char *path, MPI_Comm comm, bool *out);

/** Read what a checkpoint holds besides its arrays. Collective over `comm`; agreed.
 * ORTH_ERR_USAGE when there is no such file; ORTH_ERR_CORRUPT names what is wrong (not a
 * checkpoint, truncated, newer format with both versions, checksum of the configuration). Free with
 * orth_checkpoint_info_free. */
orth_status orth_checkpoint_read_info(const char *path, MPI_Comm comm, orth_checkpoint_info *out);
void orth_checkpoint_info_free(orth_checkpoint_info *info);

/** Whether a run says how far the model was trained: weights that were imported have no moments and
 * step 0. Local. */
bool orth_checkpoint_step_known(const orth_checkpoint_info *info);

/** Read the arrays into a created `sae` (any grid), checking every checksum; sets step and scales.
 * A sae without moments reads the weights alone. Collective over the grid's world; agreed.
 * ORTH_ERR_CORRUPT names the dataset and the row or block whose checksum fails. */
orth_status orth_checkpoint_read(const char *path, orth_sae *sae);

/** Read the averaged weights (/ema) into the weights of a sae that was read from that file, divided
 * by 1 - m^step, m = recipe.ema. Collective over the grid's world; agreed. ORTH_ERR_CORRUPT. */
orth_status orth_checkpoint_read_average(const char *path, orth_sae *sae);

/** Read the counts of dead latents (/state/steps_since_fired) of a checkpoint that has the state of
 * training into a sae without moments, which it allocates them for. Collective over the grid's
 * world; agreed. ORTH_ERR_CORRUPT. */
orth_status orth_checkpoint_read_counts(const char *path, orth_sae *sae);

/** Check all checksums without keeping anything. Collective over `comm`; agreed; bounded memory. */
orth_status orth_checkpoint_verify(const char *path, MPI_Comm comm);

/** Check all checksums of all checkpoints of a run directory; the first damaged one is the error.
 * Collective over `comm`; agreed. */
orth_status orth_checkpoint_verify_all(const char *run_dir, MPI_Comm comm);

/**
 * The newest checkpoint in `<run_dir>/checkpoints` that verifies, as an owned path (free), or NULL
 * when there is none at all (ORTH_OK). Says (warning) when it had to pass over a newer one, with
 * `clean` it removes stale partial files and sets damaged checkpoints aside (".damaged" is added to
 * the name), so that they do not count among those that are kept. ORTH_ERR_CORRUPT when there are
 * checkpoints but none verifies, or the newest readable one is of a newer format (passing it over
 * would lose work unseen). Collective over `comm`; agreed.
 */
orth_status orth_checkpoint_find(const char *run_dir, MPI_Comm comm, bool clean, char **out);

/** The same among those of steps up to `step`: later ones are neither read nor set aside. */
orth_status orth_checkpoint_find_up_to(const char *run_dir, int64_t step, MPI_Comm comm, bool clean,
                                       char **out);

#endif
