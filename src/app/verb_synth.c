#include <orthant/app/verb.h>
#include <orthant/base/log.h>
#include <orthant/io/synth.h>

#include <inttypes.h>

static const orth_option options[] = {
    {"out", ORTH_OPTION_OUTPUT, "FILE", NULL, "HDF5 file to write; one that is there is replaced"},
    {"tokens", ORTH_OPTION_TEXT, "N", "65536", "tokens to write"},
    {"d-model", ORTH_OPTION_TEXT, "N", "64", "values of a token"},
    {"latents", ORTH_OPTION_TEXT, "N", "256", "directions in the true dictionary"},
    {"active", ORTH_OPTION_TEXT, "N", "4", "latents that each token is made of"},
    {"noise", ORTH_OPTION_TEXT, "X", "0.01", "standard deviation of the noise in each value"},
    {"seed", ORTH_OPTION_TEXT, "N", "49", "seed of everything random"},
    {"dtype", ORTH_OPTION_TEXT, "TYPE", "float16", "float16, bfloat16, float32 or float64"},
    {NULL, ORTH_OPTION_FLAG, NULL, NULL, NULL},
};

/* 2^40 values of 8 bytes and more are beyond any disk; it keeps all products within 64 bits. */
static orth_status read_options(const orth_call *call, orth_synth_options *out)
{
    const int64_t most = (int64_t)1 << 40, wide = (int64_t)1 << 20;
    ORTH_TRY(orth_call_integer(call, "tokens", 1, most, &out->tokens));
    ORTH_TRY(orth_call_integer(call, "d-model", 1, wide, &out->d_model));
    ORTH_TRY(orth_call_integer(call, "latents", 1, most, &out->latents));
    ORTH_TRY(orth_call_integer(call, "active", 0, out->latents, &out->active));
    ORTH_TRY(orth_call_number(call, "noise", 0, 1e30, &out->noise));
    ORTH_TRY(orth_call_integer(call, "seed", INT64_MIN, INT64_MAX, &out->seed));
    return orth_synth_type(orth_call_text(call, "dtype"), &out->type);
}

static orth_status synth(const orth_call *call, MPI_Comm world)
{
    const char *path = orth_call_text(call, "out");
    if (!path || !path[0])
        return orth_fail(ORTH_ERR_USAGE, "synth: no --out given; say which file to write");
    orth_synth_options wanted;
    ORTH_TRY(read_options(call, &wanted));
    ORTH_TRY(orth_synth_write(path, &wanted, world));
    orth_log_info("%s: %" PRId64 " tokens of %" PRId64 " values from %" PRId64 " latents", path,
                  wanted.tokens, wanted.d_model, wanted.latents);
    return ORTH_OK;
}

const orth_verb orth_verb_synth = {
    .name = "synth",
    .usage = "--out FILE [--tokens N] [--d-model N] [--latents N] [--active N] [--noise X]",
    .summary = "write activations made from a known dictionary, and the dictionary",
    .min_argument = 0,
    .max_argument = 0,
    .options = options,
    .run = synth,
};
