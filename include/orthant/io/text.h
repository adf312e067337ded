#ifndef ORTHANT_IO_TEXT_H
#define ORTHANT_IO_TEXT_H

#include <orthant/io/dataset.h>

#include <stdbool.h>
#include <stdint.h>

/**
 * The text behind the tokens of a table, as far as its files have it: `/tokens` (n_token) token
 * ids, `/documents` ascending rows at which documents begin, `/vocab` the string of each id. Each
 * is optional in each file. One rank reads alone, the others need not know of it.
 */
typedef struct orth_text orth_text;

/** A token of the table among those around it, all of one document of one file. */
typedef struct orth_context {
    const char *file;    ///< borrowed from the table
    int64_t row_in_file; ///< of the token itself
    int64_t document;    ///< index in its file; -1: the file has no `/documents`
    int64_t count;       ///< tokens of the window; 0: the file has no `/tokens`
    int64_t place;       ///< index of the token itself in the window
    int64_t *token;      ///< (count) ids; valid until the next call
    const char **string; ///< (count) valid UTF-8, no NUL inside; NULL: the id has none. Valid
                         ///< until the next call
} orth_context;

/**
 * Look at what every file of the table has. Wrong types, shapes and lengths are ORTH_ERR_DATA and
 * name the file, so that they show before any work; documents that are not ascending too. The table
 * outlives it. Local: opens files on this process alone. End with orth_text_close.
 */
orth_status orth_text_open(const orth_dataset *dataset, orth_text **out);

/** Whether any file has `/tokens`. Local. */
bool orth_text_has_tokens(const orth_text *text);

/**
 * The token of global row `row` with up to `before` tokens before it and `after` after it, within
 * its document and file. Strings that are not valid UTF-8 have U+FFFD where they are not; a
 * vocabulary of more than 2^24 strings or 2^28 bytes, or that cannot be read, is warned of once and
 * left out. Memory: the vocabularies that differ, the documents of a few files. ORTH_ERR_DATA when
 * the ids cannot be read. Local.
 */
orth_status orth_text_context(orth_text *text, int64_t row, int64_t before, int64_t after,
                              orth_context *out);

/** Free. NULL is allowed. Local. */
void orth_text_close(orth_text *text);

#endif
