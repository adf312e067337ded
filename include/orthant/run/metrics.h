#ifndef ORTHANT_RUN_METRICS_H
#define ORTHANT_RUN_METRICS_H

#include <orthant/base/status.h>
#include <orthant/par/phase.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/** What one logged step has to say; the fields are the keys of a line of metrics.jsonl. */
typedef struct orth_metrics {
    int64_t step; ///< 1-based
    int64_t tokens;
    int64_t epoch;
    double loss; ///< mse + aux + afa, each as it enters the loss
    double mse;
    double aux;
    double afa;
    double l0;
    int64_t n_dead;
    double grad_norm;
    double lr;
    double fvu;
    double tokens_per_s;
    double time;                    ///< seconds since the start
    double phase[ORTH_PHASE_COUNT]; ///< seconds
    bool has_code_hash;             ///< [log.codes]
    uint64_t code_hash;             ///< written as 16 hexadecimal digits
} orth_metrics;

/** `<run_dir>/metrics.jsonl`, open for appending. Rank 0 only; nothing here is collective. */
typedef struct orth_metrics_file orth_metrics_file;

/**
 * Open, making the file when it is missing, and cut it back: lines of steps after `step` and lines
 * that are none of ours (unfinished, damaged) go, so that a resumed run writes each step once (0
 * for a fresh start). Cutting at the end of a line is one operation, and so is the replacement of a
 * file that is damaged before its end: killed before or after it, the file is whole.
 * ORTH_ERR_STORAGE. End with orth_metrics_close.
 */
orth_status orth_metrics_open(const char *run_dir, int64_t step, orth_metrics_file **out);

/** The same for a run that had `rollbacks` roll-backs up to `step`: the record of a later one
 * (orth_metrics_write_object "rollback" with its "number", from 1 on), which has the step that it
 * went back to, goes too, with all that follows it. */
orth_status orth_metrics_resume(const char *run_dir, int64_t step, int64_t rollbacks,
                                orth_metrics_file **out);

/**
 * Append one line: numbers with 17 significant digits, null for what is not finite. A line that
 * cannot be written whole is taken back. ORTH_ERR_STORAGE, after which the file can still be used.
 */
orth_status orth_metrics_write(orth_metrics_file *file, const orth_metrics *metrics);

struct json_t;

/** Append {"step": step, "<name>": value}, as for an evaluation during training. `value` (jansson)
 * stays the caller's. Errors as orth_metrics_write. */
orth_status orth_metrics_write_object(orth_metrics_file *file, int64_t step, const char *name,
                                      struct json_t *value);

/** What of a metrics file is kept. */
typedef struct orth_metrics_kept {
    int64_t end;   ///< the end of the last line that is kept
    int64_t lines; ///< how many are
    int64_t bad;   ///< lines before that end that are none of ours
} orth_metrics_kept;

/** Read lines up to the first of a step after `step` or of a roll-back beyond `rollbacks`, and copy
 * those that are kept to `copy` (NULL: nowhere). The caller asks both streams for errors. Local. */
orth_metrics_kept orth_metrics_keep(FILE *lines, int64_t step, int64_t rollbacks, FILE *copy);

/** Close. NULL is allowed. */
void orth_metrics_close(orth_metrics_file *file);

#endif
