#ifndef ORTHANT_BASE_LOG_H
#define ORTHANT_BASE_LOG_H

#include <stdbool.h>
#include <stdio.h>

/**
 * What the user reads while the program runs. Only rank 0 speaks: orth_log_setup is called once on
 * every rank, with `speaks` true on one. Lines go to stderr (unless quiet) and, when one is set, to
 * the log file. Results go to stdout and do not pass through here.
 */
void orth_log_setup(bool speaks, bool quiet);

/** Set or unset (NULL) the file that also receives every line; owned by the caller. */
void orth_log_file(FILE *file);

/** A line that tells what happens: "orthant: <text>". Not collective; silent where not speaking. */
void orth_log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** A line that the user should act on: "orthant: warning: <text>"; printed even when quiet. */
void orth_log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** "orthant: error: <text>", printed on the rank that calls, whichever it is. */
void orth_log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
