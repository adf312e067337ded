#include "blas_core.h"
#include "launch.h"
#include "options.h"
#include "output.h"
#include "threads.h"

#include <orthant/base/fault.h>
#include <orthant/base/log.h>
#include <orthant/base/memory.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/par/signals.h>

#include <signal.h>
#include <string.h>

static bool is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* What needs no MPI: --version, --help and VERB --help. Returns whether it was asked for. */
static bool answer_without_mpi(int argc, char **argv)
{
    const orth_verb *verb = NULL;
    if (argc < 2)
        return false;
    FILE *out = orth_launch_first() ? stdout : NULL;
    if (strcmp(argv[1], "--version") == 0) {
        if (out)
            orth_help_version(out);
        return true;
    }
    if (is_help(argv[1]) || strcmp(argv[1], "help") == 0) {
        if (out)
            orth_help_program(out);
        return true;
    }
    if (orth_verb_find(argv[1], &verb) != ORTH_OK) {
        orth_error_clear();
        return false;
    }
    for (int i = 2; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (is_help(argv[i])) {
            if (out)
                orth_help_verb(verb, out);
            return true;
        }
    return false;
}

static bool verb_stops_safely(int argc, char **argv)
{
    const orth_verb *verb = NULL;
    bool found = argc > 1 && orth_verb_find(argv[1], &verb) == ORTH_OK;
    orth_error_clear(); /* an unknown verb is told when MPI runs */
    return found && verb->stops_safely;
}

/* The handlers for crashes, and those for requests where the verb takes them: any other is ended by
 * Ctrl-C as usual. Called on both sides of MPI_Init, which may set handlers of its own. */
static void set_signals(bool stops_safely)
{
    static const int requests[] = {SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
    orth_signals_setup();
    for (size_t i = 0; !stops_safely && i < sizeof requests / sizeof *requests; i++)
        signal(requests[i], SIG_DFL);
}

static orth_status check_launch(int provided, int argc, char **argv, MPI_Comm world)
{
    ORTH_TRY(orth_agree(world, orth_launch_check_threads(provided)));
    ORTH_TRY(orth_agree(world, orth_launch_check_world(world)));
    return orth_launch_check_same(world, argc, argv);
}

static orth_status find_and_parse(int argc, char **argv, const orth_verb **verb, orth_call **call)
{
    if (argc < 2)
        return orth_fail(ORTH_ERR_USAGE, "no verb given; see orthant --help");
    ORTH_TRY(orth_verb_find(argv[1], verb));
    return orth_call_parse(*verb, argc - 1, argv + 1, call);
}

static orth_status run_verb(int argc, char **argv, MPI_Comm world, bool speaks)
{
    const orth_verb *verb = NULL;
    orth_call *call = NULL;
    orth_status status = orth_agree(world, find_and_parse(argc, argv, &verb, &call));
    if (status == ORTH_OK) {
        orth_log_setup(speaks, orth_call_quiet(call));
        status = orth_launch_threads(world);
    }
    if (status == ORTH_OK)
        status = orth_output_guard(verb, call, world);
    if (status == ORTH_OK)
        status = verb->run(call, world);
    orth_call_free(call);
    /* Results that did not reach a file or pipe are a failure too. */
    if (status == ORTH_OK && (fflush(stdout) != 0 || ferror(stdout)))
        status = orth_fail(ORTH_ERR_STORAGE, "standard output: cannot be written; free some space");
    return orth_agree(world, status);
}

/* Everything between MPI_Init and MPI_Finalize; the status is agreed and reported. */
static orth_status run_in_world(int provided, int argc, char **argv, MPI_Comm world)
{
    int rank = 0, size = 1;
    MPI_Comm_set_errhandler(world, MPI_ERRORS_RETURN);
    orth_mpi_end_job_on_failure();
    orth_status status = orth_mpi_status(MPI_Comm_rank(world, &rank), "MPI_Comm_rank");
    if (status == ORTH_OK)
        status = orth_mpi_status(MPI_Comm_size(world, &size), "MPI_Comm_size");
    orth_signals_describe(rank, 0);
    /* Processes that MPI failed to join to one world all see themselves as rank 0. */
    bool speaks = rank == 0 && (size > 1 || orth_launch_first());
    orth_log_setup(speaks, false);
    if (status == ORTH_OK)
        status = check_launch(provided, argc, argv, world);
    if (status == ORTH_OK)
        status = run_verb(argc, argv, world, speaks);
    if (status != ORTH_OK && status != ORTH_STOPPED && (size > 1 || speaks))
        orth_report(world, status);
    return status;
}

int main(int argc, char **argv)
{
    orth_blas_core_restart(argv);
    if (answer_without_mpi(argc, argv))
        return fflush(stdout) == 0 ? ORTH_OK : ORTH_ERR_STORAGE;
    orth_status status = orth_launch_check_environment();
    if (status == ORTH_OK)
        status = orth_fault_setup(orth_launch_rank());
    bool speaks = orth_launch_first();
    if (status == ORTH_OK) {
        status = orth_launch_check_processor();
        speaks = orth_launch_first_of_node(); /* nodes may differ */
    }
    if (status != ORTH_OK) {
        if (speaks)
            orth_log_error("%s", orth_error_text());
        return status;
    }
    orth_memory_setup();
    orth_launch_prepare();
    bool stops_safely = verb_stops_safely(argc, argv);
    set_signals(stops_safely);
    orth_blas_core_release_signals();
    int provided = MPI_THREAD_SINGLE;
    if (MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS) {
        orth_log_error("MPI: cannot be initialised; see the launcher's messages");
        return ORTH_ERR_ENVIRONMENT;
    }
    if (orth_fault_fails("launch.mpi"))
        provided = MPI_THREAD_SINGLE;
    set_signals(stops_safely);
    status = run_in_world(provided, argc, argv, MPI_COMM_WORLD);
    MPI_Finalize();
    return status;
}
