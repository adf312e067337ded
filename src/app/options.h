#ifndef ORTHANT_APP_OPTIONS_H
#define ORTHANT_APP_OPTIONS_H

#include <orthant/app/verb.h>

/** The options that every verb has (those with `takes_set` alone have the first); ends with NULL.
 */
extern const orth_option orth_common_options[];

/** The verb of that name. ORTH_ERR_USAGE names the verbs there are. Local. */
orth_status orth_verb_find(const char *name, const orth_verb **out);

/**
 * Parse the words after `orthant`: argv[0] is the verb's name. ORTH_ERR_USAGE names the option and
 * what to write. The call borrows argv, which is not changed. End with orth_call_free. Local.
 */
orth_status orth_call_parse(const orth_verb *verb, int argc, char **argv, orth_call **out);

/** Free a call. NULL is allowed. */
void orth_call_free(orth_call *call);

/** Print what `orthant --help`, `orthant VERB --help` and `orthant --version` say. */
void orth_help_program(FILE *out);
void orth_help_verb(const orth_verb *verb, FILE *out);
void orth_help_version(FILE *out);

#endif
