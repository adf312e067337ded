#include <orthant/app/verb.h>
#include <orthant/exchange/import.h>

static const orth_option options[] = {
    {"out", ORTH_OPTION_OUTPUT, "FILE.h5", NULL, "the checkpoint to write"}, {0}};

static orth_status run_import(const orth_call *call, MPI_Comm world)
{
    int64_t n_override;
    const char *const *overrides = orth_call_overrides(call, &n_override);
    const char *out = orth_call_text(call, "out");
    if (!out)
        return orth_fail(ORTH_ERR_USAGE, "import: --out is missing; name the checkpoint to write");
    return orth_import(orth_call_argument(call, 0), overrides, n_override, out, world);
}

const orth_verb orth_verb_import = {
    .name = "import",
    .usage = "DIR --out FILE.h5",
    .summary = "make a checkpoint, without optimizer state, of a folder that another tool wrote",
    .min_argument = 1,
    .max_argument = 1,
    .takes_set = true,
    .options = options,
    .run = run_import};
