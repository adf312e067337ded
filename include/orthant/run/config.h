#ifndef ORTHANT_RUN_CONFIG_H
#define ORTHANT_RUN_CONFIG_H

#include <orthant/base/status.h>
#include <orthant/sae/recipe.h>

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* The names of the choices are the configuration's; each array ends in NULL and is in enum order.
 */
typedef enum orth_nonfinite_policy {
    ORTH_NONFINITE_ABORT,
    ORTH_NONFINITE_SKIP
} orth_nonfinite_policy;
extern const char *const orth_nonfinite_names[];

/** A list of strings, owned. */
typedef struct orth_strings {
    char **items;
    int64_t count;
} orth_strings;

/** "every": a number of steps or a time; both 0: never. */
typedef struct orth_interval {
    int64_t steps;
    double seconds;
} orth_interval;

/** The whole configuration, resolved. One field for each key of the table in keys.c; strings are
 * owned. "auto" and "none" are 0 unless the field says otherwise. */
typedef struct orth_config {
    char *run_dir;        ///< [run.dir]
    int64_t run_steps;    ///< [run.steps] 0: not given
    int64_t run_tokens;   ///< [run.tokens] 0: not given
    int64_t run_epochs;   ///< [run.epochs] 0: not given
    double run_max_time;  ///< [run.max_time] seconds, 0: none
    double run_watchdog;  ///< [run.watchdog] seconds, 0: none
    int64_t run_rollback; ///< [run.rollback] 0: none
    orth_strings data_files;
    char *data_dataset;
    orth_strings data_eval_files;
    bool data_shuffle;
    orth_nonfinite_policy data_nonfinite;
    char *init_file;      ///< NULL: none
    orth_recipe recipe;   ///< input, model, topk, topafa, init.scheme, loss, aux, dead, afa, train
    int64_t grid_n_shard; ///< 0: auto
    int64_t grid_n_group; ///< 0: auto
    orth_encode_kind compute_encode;
    orth_interval checkpoint_every;
    int64_t checkpoint_keep;
    bool checkpoint_verify;
    int64_t eval_every; ///< steps, 0: none
    int64_t log_every;
    bool log_codes;
} orth_config;

/**
 * Read a YAML file and then the overrides ("key=value") in order; check types, ranges and the rules
 * between keys. Local: every rank calls it, or rank 0 does and broadcasts the resolved text.
 * ORTH_ERR_USAGE with file, line, key and what is allowed; an unknown key with the nearest name.
 * `path` NULL: defaults and overrides only. Free with orth_config_free.
 */
orth_status orth_config_load(const char *path, const char *const *overrides, int64_t n_override,
                             orth_config *out);

/** As orth_config_load, from text in memory (`name` stands for the file in errors). */
orth_status orth_config_parse(const char *text, int64_t length, const char *name,
                              const char *const *overrides, int64_t n_override, orth_config *out);

/** The resolved configuration as YAML text with every key, owned by the caller (free). Parsing it
 * gives the same configuration: doubles are written so that they read back bit for bit. */
orth_status orth_config_text(const orth_config *config, char **out);

/** Call `take` for each key that has a value or a word for none, in the order of the table, with
 * the value as the resolved text has it (lists joined by ", "). Local. */
orth_status orth_config_each(const orth_config *config,
                             void (*take)(void *context, const char *key, const char *value),
                             void *context);

/** That init.file is not given in vain, under another init.scheme: ORTH_ERR_USAGE. Asked where a
 * run starts, not where a checkpoint's configuration is read. Local. */
orth_status orth_config_check_init(const orth_config *config);

/** That the keys which only training needs are there, run.dir and data.files, and
 * orth_config_check_init. `name` stands for the configuration in the error (ORTH_ERR_USAGE). Local.
 */
orth_status orth_config_require_training(const orth_config *config, const char *name);

/** That every rank of `comm` has loaded the same configuration: compares a hash of the resolved
 * text. Collective; agreed. ORTH_ERR_ENVIRONMENT names a rank that differs from rank 0. */
orth_status orth_config_same(const orth_config *config, MPI_Comm comm);

/**
 * Compare the keys that bind a checkpoint (model, input, init.scheme, loss, aux, dead, afa, topk,
 * topafa, train, seed, data.shuffle, data.nonfinite; file paths are free: the fingerprint binds the
 * data). Keys that were left to "auto" compare as such: resolve them alike on both sides first.
 * ORTH_ERR_CORRUPT and a text that lists every differing key with both values, else ORTH_OK.
 */
orth_status orth_config_compatible(const orth_config *config, const orth_config *saved,
                                   const char *saved_name);

/** Print every key with default, range and meaning, from the table that parses them. */
void orth_config_help(FILE *out);

/** Free what a configuration owns and zero it. A zeroed one is allowed. */
void orth_config_free(orth_config *config);

#endif
