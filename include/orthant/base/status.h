#ifndef ORTHANT_BASE_STATUS_H
#define ORTHANT_BASE_STATUS_H

/**
 * Status codes. Their values are the program's documented exit codes, so that the status on which
 * all ranks agree is also what every rank exits with.
 */
typedef enum orth_status {
    ORTH_OK = 0,
    ORTH_ERR_INTERNAL = 1,    ///< a bug in Orthant
    ORTH_ERR_USAGE = 2,       ///< command line or configuration
    ORTH_ERR_DATA = 3,        ///< input activations
    ORTH_ERR_STORAGE = 4,     ///< cannot write
    ORTH_ERR_CORRUPT = 5,     ///< corrupt or incompatible checkpoint or model file
    ORTH_ERR_NONFINITE = 6,   ///< a loss or gradient is not finite
    ORTH_ERR_ENVIRONMENT = 7, ///< MPI, threads, memory, machine
    ORTH_STOPPED = 75,        ///< stopped early with a checkpoint: run again to continue
    ORTH_STALLED = 76         ///< ended by the watchdog for want of progress: run again to continue
} orth_status;

/**
 * Record an error and return its status. The first record since the last clear wins: the place that
 * detects a failure words it, callers only pass the status on. Nothing is printed here; one rank
 * prints one line when all ranks have agreed (orth_agree, orth_report).
 *
 * The text reads "<what>: <why>; <what to do>", one line, without the "orthant: error:" prefix;
 * control characters that it quotes become spaces.
 * Not collective. Returns `status`.
 */
orth_status orth_fail(orth_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/** Make one line of a text that may quote anything, as a path: control characters become blanks. */
void orth_one_line(char *text);

/** The recorded error text of this rank, "" when there is none. Valid until the next record. */
const char *orth_error_text(void);

/** The status of the recorded error, ORTH_OK when there is none. */
orth_status orth_error_status(void);

/** Return from the enclosing function when `call` does not give ORTH_OK. */
#define ORTH_TRY(call)                                                                             \
    do {                                                                                           \
        orth_status orth_try_result_ = (call);                                                     \
        if (orth_try_result_ != ORTH_OK)                                                           \
            return orth_try_result_;                                                               \
    } while (0)

/** Forget the recorded error (it was handled). */
void orth_error_clear(void);

#endif
