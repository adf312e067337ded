#ifndef ORTHANT_APP_VERB_H
#define ORTHANT_APP_VERB_H

#include <orthant/base/status.h>

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/**
 * The command line: `orthant VERB [ARGUMENT...] [--option ...]`. A verb is one constant of type
 * orth_verb in a file of its own (src/app/verb_<name>.c) and one line in src/app/verbs.c; its table
 * of options drives parsing, checks and help.
 */

typedef enum orth_option_kind {
    ORTH_OPTION_FLAG,  ///< takes no value
    ORTH_OPTION_TEXT,  ///< takes one value; given twice, the last one counts
    ORTH_OPTION_LIST,  ///< takes one or more values, up to the next option; repeats add to the list
    ORTH_OPTION_OUTPUT ///< a text that names a file to be written, which may be none of the inputs
} orth_option_kind;

/** One option. A verb's array of them ends with an entry whose name is NULL. */
typedef struct orth_option {
    const char *name;        ///< without the dashes: "data"
    orth_option_kind kind;   ///< what follows it
    const char *placeholder; ///< what the help calls the value: "FILE..."; NULL for a flag
    const char *fallback;    ///< the value when it is not given, as text; NULL: none
    const char *help;        ///< one sentence
} orth_option;

/** The arguments of one call, parsed by a verb's table. */
typedef struct orth_call orth_call;

/** A verb. `--set`, `--quiet` and `--help` are parsed for all of them and are not in `options`. */
typedef struct orth_verb {
    const char *name;
    const char *usage;          ///< what follows the name: "MODEL --data FILE..."
    const char *summary;        ///< one sentence
    int min_argument;           ///< positional arguments at least
    int max_argument;           ///< and at most
    bool takes_set;             ///< `--set key=value` means something here
    bool stops_safely;          ///< asks orth_signals_take: signals are requests, not the end
    const orth_option *options; ///< NULL: none
    void (*help)(FILE *out);    ///< what `--help` prints after the options; NULL: nothing
    /** Collective over `world`. The status need not be agreed: main agrees it. An error is recorded
     * by orth_fail, never printed; results go to stdout, from rank 0. */
    orth_status (*run)(const orth_call *call, MPI_Comm world);
} orth_verb;

/** Every verb there is, ending with NULL (src/app/verbs.c). */
extern const orth_verb *const orth_verbs[];

/** Positional argument `i`, NULL when fewer were given. Borrowed, like all texts of a call. */
const char *orth_call_argument(const orth_call *call, int i);

/** Number of positional arguments. */
int orth_call_arguments(const orth_call *call);

/** Whether a flag was given. */
bool orth_call_flag(const orth_call *call, const char *option);

/** The value of a text option: the one given, else its fallback, else NULL. */
const char *orth_call_text(const orth_call *call, const char *option);

/** The values of a list option; *count is 0 when it was not given. */
const char *const *orth_call_list(const orth_call *call, const char *option, int64_t *count);

/**
 * A text option as an integer in [low, high]; numbers may be written 2^14, 65_536, 1e6. Without a
 * value nor a fallback *out is unchanged. ORTH_ERR_USAGE names the option and the range. Local.
 */
orth_status orth_call_integer(const orth_call *call, const char *option, int64_t low, int64_t high,
                              int64_t *out);

/** As orth_call_integer, for a finite number in [low, high]: 1e-3, 1/32. */
orth_status orth_call_number(const orth_call *call, const char *option, double low, double high,
                             double *out);

/** The `--set` overrides in order, as orth_config_load takes them. */
const char *const *orth_call_overrides(const orth_call *call, int64_t *count);

/** Whether `--quiet` was given. */
bool orth_call_quiet(const orth_call *call);

#endif
