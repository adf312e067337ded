#include <orthant/app/verb.h>
#include <orthant/bench/bench.h>
#include <orthant/par/collective.h>
#include <orthant/run/json_file.h>

#include <limits.h>
#include <stdlib.h>
#include <string.h>

static const orth_option options[] = {
    {"json", ORTH_OPTION_OUTPUT, "FILE", NULL,
     "write all figures to this file; orthant plan reads it"},
    {"quick", ORTH_OPTION_FLAG, NULL, NULL,
     "small sizes and few repetitions: seconds in place of minutes, and rough figures"},
    {"only", ORTH_OPTION_TEXT, "PART", NULL,
     "besides the machine's limits only this: machine, kernels, steps, series, reader or "
     "checkpoint"},
    {"grid", ORTH_OPTION_TEXT, "GxS", NULL,
     "token groups times shards of the ranks; otherwise what training would choose"},
    {"dir", ORTH_OPTION_TEXT, "FOLDER", ".",
     "where the files of reader and checkpoint are written, and removed again"},
    {"batch", ORTH_OPTION_TEXT, "N", NULL, "tokens of a step; 4096, quick 512"},
    {"tokens", ORTH_OPTION_TEXT, "N", NULL, "the same"},
    {"d-model", ORTH_OPTION_TEXT, "N", NULL, "values of a token; 768, quick 256"},
    {"latents", ORTH_OPTION_TEXT, "N", NULL, "latents; 12288, quick 2048"},
    {"k", ORTH_OPTION_TEXT, "N", NULL, "latents of a token with topk; 32"},
    {"repetitions", ORTH_OPTION_TEXT, "N", NULL, "runs of which the median counts; 5, quick 3"},
    {NULL, ORTH_OPTION_FLAG, NULL, NULL, NULL},
};

/* What is measured, and what the words in the table mean. */
static void help(FILE *out)
{
    fprintf(
        out,
        "S, the yardstick, is the time of the encoder's product alone (batch x d_model x\n"
        "n_latent) in the fastest fp32 library here. Steps are whole ones (orth_step) on random\n"
        "tokens in memory; a step's S is measured right before and after it. top-AFA's W_enc "
        "is\n"
        "scaled so that its codes have the density that is named. An evaluation is what\n"
        "'orthant eval --skip-eps' does with a batch; its share is of the tokens a second that\n"
        "the step takes through its phases encode and select. Under mpirun everything is of all\n"
        "ranks together.\n");
}

static orth_status read_grid(const orth_call *call, orth_bench_options *out)
{
    const char *text = orth_call_text(call, "grid");
    char *end = NULL;
    if (!text)
        return ORTH_OK;
    long group = strtol(text, &end, 10), shard = 0;
    if (end != text && *end == 'x')
        shard = strtol(end + 1, &end, 10);
    if (*end || group < 1 || shard < 1 || group > INT_MAX || shard > INT_MAX)
        return orth_fail(ORTH_ERR_USAGE,
                         "bench: --grid: '%.100s' is no grid; give groups x shards "
                         "as 2x1",
                         text);
    out->n_group = group;
    out->n_shard = shard;
    return ORTH_OK;
}

static orth_status read_part(const orth_call *call, orth_bench_options *out)
{
    static const char *const parts[] = {"machine", "kernels", "steps",
                                        "series",  "reader",  "checkpoint"};
    out->only = orth_call_text(call, "only");
    for (size_t i = 0; out->only && i < sizeof parts / sizeof *parts; i++)
        if (strcmp(out->only, parts[i]) == 0)
            return ORTH_OK;
    if (!out->only)
        return ORTH_OK;
    return orth_fail(ORTH_ERR_USAGE,
                     "bench: --only: '%.100s' is no part; give machine, kernels, steps, series, "
                     "reader or checkpoint",
                     out->only);
}

/* Twice the largest sizes are products within 64 bits, and latents fit a key. */
static orth_status read_options(const orth_call *call, orth_bench_options *out)
{
    const int64_t tokens = 1 << 24, wide = 1 << 20, latents = 1 << 23;
    *out = orth_bench_defaults(orth_call_flag(call, "quick"));
    ORTH_TRY(orth_call_integer(call, "tokens", 1, tokens, &out->batch));
    ORTH_TRY(orth_call_integer(call, "batch", 1, tokens, &out->batch));
    ORTH_TRY(orth_call_integer(call, "d-model", 1, wide, &out->d_model));
    ORTH_TRY(orth_call_integer(call, "latents", 32, latents, &out->n_latent));
    ORTH_TRY(orth_call_integer(call, "k", 1, latents, &out->k));
    ORTH_TRY(orth_call_integer(call, "repetitions", 1, 1000, &out->repetitions));
    out->folder = orth_call_text(call, "dir");
    if (out->k > out->n_latent)
        return orth_fail(ORTH_ERR_USAGE, "bench: --k: %lld is more than the %lld latents; lower it",
                         (long long)out->k, (long long)out->n_latent);
    ORTH_TRY(read_part(call, out));
    return read_grid(call, out);
}

static orth_status bench(const orth_call *call, MPI_Comm world)
{
    orth_bench_options wanted;
    orth_bench_report report;
    orth_json_file *file = NULL;
    int rank;
    ORTH_MPI(MPI_Comm_rank(world, &rank));
    ORTH_TRY(read_options(call, &wanted));
    const char *path = orth_call_text(call, "json");
    if (path)
        ORTH_TRY(orth_json_file_open(path, world, &file));
    orth_status status = orth_bench(&wanted, world, &report);
    /* Minutes of measuring are not lost to a later part that fails. */
    if (report.measured && path) {
        orth_status written = orth_bench_write(&report, file, world);
        status = status == ORTH_OK ? written : status;
    }
    orth_json_file_close(file);
    if (report.measured && rank == 0)
        orth_bench_print(&report, stdout);
    return status;
}

const orth_verb orth_verb_bench = {
    .name = "bench",
    .usage = "[--json FILE] [--quick]",
    .summary = "time the kernels and the training step on this machine, against its limits",
    .options = options,
    .help = help,
    .run = bench,
};
