#ifndef ORTHANT_TESTS_FUZZ_H
#define ORTHANT_TESTS_FUZZ_H

#include <orthant/base/status.h>

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * A fuzzing target is one file fuzz_<name>.c with the entry points of libFuzzer: it feeds foreign
 * bytes to a reader and checks what came out. Built with the preset `fuzz` it is a fuzzer; in the
 * other presets replay.c feeds it the files of its corpus, tests/fuzz/<name>/. See run.sh.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/** Stop, as at a crash, unless the condition holds. */
#define fuzz_check(condition)                                                                      \
    ((condition) ? (void)0                                                                         \
                 : (fprintf(stderr, "%s:%d: '%s' does not hold; error text: '%s'\n", __FILE__,     \
                            __LINE__, #condition, orth_error_text()),                              \
                    abort()))

/** Check the outcome of a reader: ORTH_OK and no record, or one of the listed statuses with one
 * line of text "<what>: <why>; <what to do>". Forgets the record. */
void fuzz_check_outcome(orth_status status, const orth_status *allowed, int n_allowed);

#define fuzz_outcome(status, ...)                                                                  \
    fuzz_check_outcome((status), (const orth_status[]){__VA_ARGS__},                               \
                       (int)(sizeof((orth_status[]){__VA_ARGS__}) / sizeof(orth_status)))

/** The input as text: a copy with a final NUL (free). */
char *fuzz_text(const uint8_t *data, size_t size);

/** The input as a sequence of choices: 0 when it is used up. */
typedef struct fuzz_input {
    const uint8_t *data;
    size_t size;
} fuzz_input;

uint8_t fuzz_byte(fuzz_input *input);
uint64_t fuzz_word(fuzz_input *input, int bytes); ///< little-endian

/** Start MPI as a single process, and make a folder in memory (or in TMPDIR) for files; both end
 * with the process. */
void fuzz_start_mpi(void);
const char *fuzz_folder(void);

#endif
