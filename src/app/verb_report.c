#include "output.h"

#include <orthant/app/verb.h>

#include <orthant/base/memory.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/report/report.h>

#include <limits.h>
#include <string.h>

static const orth_option options[] = {
    {"out", ORTH_OPTION_OUTPUT, "FILE", "report.html", "the page; it needs no other file"},
    {"data", ORTH_OPTION_LIST, "FILE...", NULL,
     "activation files or globs to evaluate on; default: each run's own data.eval_files"},
    {"json", ORTH_OPTION_OUTPUT, "FILE", NULL, "writes the data of the page alone"},
    {"plots", ORTH_OPTION_TEXT, "DIR", NULL,
     "writes static plots (SVG and PNG), and their data and gnuplot scripts, into this folder"},
    {"latents", ORTH_OPTION_TEXT, "N", "4096",
     "so many latents of each model, the most frequent, are in the latent browser; 0: none"},
    {"examples", ORTH_OPTION_TEXT, "N", "10", "top activating tokens of each of them"},
    {"context", ORTH_OPTION_TEXT, "N", "12", "tokens shown before and after each of those"},
    {"batch", ORTH_OPTION_TEXT, "N", NULL,
     "consecutive rows of a batch; default: the model's train.batch; matters to batchtopk"},
    {"skip-eps", ORTH_OPTION_FLAG, NULL, NULL,
     "leaves out eps and the nearest latents, whose cost grows with the square of n_latent"},
    {"skip-spectra", ORTH_OPTION_FLAG, NULL, NULL,
     "leaves out the spectra and PCA, whose cost grows with the cube of d_model"},
    {0}};

static orth_status read_options(const orth_call *call, orth_report_options *out)
{
    ORTH_TRY(orth_call_integer(call, "latents", 0, INT_MAX, &out->latents));
    ORTH_TRY(orth_call_integer(call, "examples", 1, 1000, &out->examples));
    ORTH_TRY(orth_call_integer(call, "context", 0, 1000, &out->context));
    ORTH_TRY(orth_call_integer(call, "batch", 1, INT_MAX, &out->batch));
    out->pairs = !orth_call_flag(call, "skip-eps");
    out->spectra = !orth_call_flag(call, "skip-spectra");
    out->page = orth_call_text(call, "out");
    out->json = orth_call_text(call, "json");
    out->plots = orth_call_text(call, "plots");
    if (out->json && strcmp(out->json, out->page) == 0)
        return orth_fail(ORTH_ERR_USAGE, "--json %s: is what --out names; name another file",
                         out->json);
    return ORTH_OK;
}

extern const orth_verb orth_verb_report;

static orth_status guard_plot(void *context, const char *path)
{
    return orth_output_guard_file("plots", path, &orth_verb_report, context);
}

/* Files in the folder of plots are results too. */
static orth_status guard_plots(const orth_call *call, const char *folder, MPI_Comm world)
{
    int rank = 0;
    orth_status status = ORTH_OK;
    ORTH_MPI(MPI_Comm_rank(world, &rank));
    if (rank == 0 && folder)
        status = orth_report_plots_each(folder, guard_plot, (void *)(uintptr_t)call);
    return orth_agree(world, status);
}

static orth_status report(const orth_call *call, MPI_Comm world)
{
    orth_report_options how = {.n_run = orth_call_arguments(call)};
    const char **runs = NULL;
    how.data = orth_call_list(call, "data", &how.n_data);
    how.overrides = orth_call_overrides(call, &how.n_override);
    ORTH_TRY(read_options(call, &how));
    ORTH_TRY(guard_plots(call, how.plots, world));
    ORTH_TRY(orth_agree(world, ORTH_ALLOCATE(how.n_run, "names of runs", &runs)));
    for (int i = 0; i < how.n_run; i++)
        runs[i] = orth_call_argument(call, i);
    how.runs = runs;
    orth_status status = orth_report_make(&how, world);
    orth_free(runs);
    return status;
}

const orth_verb orth_verb_report = {
    .name = "report",
    .usage = "RUN... [--data FILE...]",
    .summary = "make one HTML page that tells how runs were made, trained and do on held-out data",
    .min_argument = 1,
    .max_argument = INT_MAX,
    .takes_set = true,
    .options = options,
    .run = report};
