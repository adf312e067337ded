/* The files of a run folder, whatever they hold: a state, never an error, and figures that fit it.
 * The input: config.yaml, metrics.jsonl, an evaluation of step 300 and orthant.log, NULs between.
 */
#include "fuzz.h"

#include <orthant/run/run_figures.h>

#include <math.h>
#include <string.h>
#include <sys/stat.h>

static char folder[4096];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    char inner[4200];
    (void)argc;
    (void)argv;
    fuzz_start_mpi();
    snprintf(folder, sizeof folder, "%s/run", fuzz_folder());
    snprintf(inner, sizeof inner, "%s/eval", folder);
    fuzz_check(mkdir(folder, 0777) == 0 && mkdir(inner, 0777) == 0);
    return 0;
}

/* The input up to the next NUL becomes a file. */
static void write_file(const char *name, const uint8_t **data, const uint8_t *end)
{
    char path[4200];
    const uint8_t *stop = *data < end ? memchr(*data, 0, (size_t)(end - *data)) : NULL;
    size_t length = (size_t)((stop ? stop : end) - *data);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    fuzz_check(file && fwrite(*data, 1, length, file) == length && fclose(file) == 0);
    *data = stop ? stop + 1 : end;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"config.yaml", "metrics.jsonl", "eval/step-000000300.json",
                                        "orthant.log"};
    const uint8_t *end = data + size;
    orth_run_figures run;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        write_file(names[i], &data, end);
    fuzz_outcome(orth_run_figures_read(folder, &run), ORTH_OK);
    fuzz_check(strcmp(run.path, folder) == 0);
    fuzz_check((run.state == ORTH_RUN_DONE) == !run.why);
    fuzz_check(!run.why || !strpbrk(run.why, "\n\r\x01\x1b"));
    fuzz_check(run.evaluated ? run.eval_step == 300 && run.step >= 300 : isnan(run.mse));
    fuzz_check(run.state != ORTH_RUN_DONE || run.steps == 0 || run.step >= run.steps);
    orth_run_sparsity(&run);
    orth_run_figures_free(&run);
    return 0;
}
