#include <orthant/app/verb.h>
#include <orthant/exchange/export.h>
#include <orthant/par/collective.h>

#include <limits.h>

static const orth_option options[] = {
    {"format", ORTH_OPTION_TEXT, "TOOL", NULL,
     "saelens, sparsify, dictionary_learning or openai: the tool that is to load the folder"},
    {"out", ORTH_OPTION_TEXT, "DIR", NULL, "the folder to make; it must not hold anything"},
    {"ema", ORTH_OPTION_FLAG, NULL, NULL,
     "exports the averaged weights (train.ema), corrected for their start at 0"},
    {"data", ORTH_OPTION_LIST, "FILE...", NULL,
     "activations to measure firing rates on, and thresholds where the tool lacks the selection "
     "(topafa, batchtopk); for the latter the run's data.eval_files or data.files by default"},
    {"judge", ORTH_OPTION_LIST, "FILE...", NULL,
     "other activations, on which the exact selection and the exported thresholds are compared; "
     "default: those that the thresholds are measured on, which flatters the export"},
    {"batch", ORTH_OPTION_TEXT, "N", NULL,
     "consecutive rows of a batch; default: the model's train.batch"},
    {0}};

static orth_status run_export(const orth_call *call, MPI_Comm world)
{
    int rank;
    int64_t n_override;
    const char *const *overrides = orth_call_overrides(call, &n_override);
    orth_export_options how = {.tool = orth_call_text(call, "format"),
                               .folder = orth_call_text(call, "out"),
                               .average = orth_call_flag(call, "ema")};
    how.files = orth_call_list(call, "data", &how.n_file);
    how.judge = orth_call_list(call, "judge", &how.n_judge);
    if (!how.tool)
        return orth_fail(ORTH_ERR_USAGE, "export: --format is missing; give one of %s",
                         orth_sae_folder_tools());
    if (!how.folder)
        return orth_fail(ORTH_ERR_USAGE, "export: --out is missing; name the folder to make");
    ORTH_TRY(orth_call_integer(call, "batch", 1, INT_MAX, &how.batch));
    ORTH_MPI(MPI_Comm_rank(world, &rank));
    return orth_export(orth_call_argument(call, 0), overrides, n_override, &how, world,
                       rank == 0 ? stdout : NULL);
}

const orth_verb orth_verb_export = {.name = "export",
                                    .usage = "MODEL --format TOOL --out DIR",
                                    .summary =
                                        "write a model as the folder that another tool loads",
                                    .min_argument = 1,
                                    .max_argument = 1,
                                    .takes_set = true,
                                    .options = options,
                                    .run = run_export};
