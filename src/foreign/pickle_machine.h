#ifndef ORTHANT_SRC_FOREIGN_PICKLE_MACHINE_H
#define ORTHANT_SRC_FOREIGN_PICKLE_MACHINE_H

#include "pickle.h"

/*
 * Private to the three files pickle*.c: the stack machine that a pickle is a program of.
 * pickle_stack.c has its stack and bytes, pickle_build.c what it may build, pickle.c the
 * operations.
 */
/* Growing array of pickle_indices: the stack, the marks, the memo. */
typedef struct pickle_indices {
    int64_t *items;
    int64_t count, capacity;
} pickle_indices;

typedef struct pickle_machine {
    const char *path;
    const unsigned char *bytes;
    int64_t length, at;
    orth_pickle *out;
    int64_t text_bytes;
    int64_t items; /* of all values */
    pickle_indices stack, marks, memo;
} pickle_machine;

enum { PICKLE_NO_VALUE = -1 };

/** Tell what is wrong at this place. */
orth_status pickle_bad(const pickle_machine *m, const char *why);

orth_status pickle_append(pickle_indices *to, int64_t value);
orth_status pickle_push(pickle_machine *m, const orth_pickle_value *value);
orth_status pickle_push_kind(pickle_machine *m, orth_pickle_kind kind);

/** Whether `count` values stand above the last mark. */
orth_status pickle_need(const pickle_machine *m, int64_t count);

/** The value `depth` below the top. */
orth_pickle_value *pickle_from_top(const pickle_machine *m, int64_t depth);

orth_status pickle_append_item(pickle_machine *m, orth_pickle_value *to, int64_t value);

/** The uppermost `count` values as a new collection. */
orth_status pickle_collect(pickle_machine *m, orth_pickle_kind kind, int64_t count);

/** Add the uppermost `count` values to the collection below them. */
orth_status pickle_extend(pickle_machine *m, orth_pickle_kind kind, int64_t count);

/** Take the last mark; the number of values above it. */
orth_status pickle_take_mark(pickle_machine *m, int64_t *count);

/** The next bytes; a number of them, little-endian. */
orth_status pickle_take(pickle_machine *m, int64_t count, const unsigned char **out);
orth_status pickle_take_number(pickle_machine *m, int bytes, uint64_t *out);

/** The operations c, STACK_GLOBAL, R, b, Q. */
orth_status pickle_take_global(pickle_machine *m);
orth_status pickle_take_stack_global(pickle_machine *m);
orth_status pickle_call(pickle_machine *m);
orth_status pickle_set_state(pickle_machine *m);
orth_status pickle_take_storage(pickle_machine *m);

#endif
