#include <orthant/app/verb.h>

#include <orthant/base/memory.h>
#include <orthant/base/number.h>
#include <orthant/exchange/convert.h>
#include <orthant/par/agree.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const orth_option options[] = {
    {"out", ORTH_OPTION_OUTPUT, "FILE", NULL,
     "The file to write: HDF5 as `train` reads it (.h5, .hdf5), .npy, .safetensors, .pt, raw "
     "floats "
     "(.raw, .bin)."},
    {"format", ORTH_OPTION_TEXT, "FORMAT", NULL,
     "Its format, whatever its ending: hdf5, npy, safetensors, pt or raw."},
    {"dtype", ORTH_OPTION_TEXT, "TYPE", NULL,
     "Its element type: float16, bfloat16, float32 or float64; default: that of the input."},
    {"tensor", ORTH_OPTION_TEXT, "NAME", NULL,
     "Name of the activations in .npz, safetensors and .pt files; default: activations, states or "
     "the only table of floats."},
    {"tokens", ORTH_OPTION_TEXT, "NAME", NULL,
     "Name of the token ids; none: leave them out; default: tokens, input_ids or token_ids where "
     "there are as many as rows."},
    {"dataset", ORTH_OPTION_TEXT, "NAME", "activations",
     "Name of the activations in HDF5, .safetensors and .pt files that are written and in HDF5 "
     "files that are read."},
    {"raw", ORTH_OPTION_TEXT, "TYPE", NULL,
     "The inputs are raw floats of this type, little-endian, rows of --d-model."},
    {"d-model", ORTH_OPTION_TEXT, "N", NULL, "Width of the rows of raw files."},
    {"rows", ORTH_OPTION_TEXT, "BEGIN:END", NULL,
     "Only these rows, counted from 0 over all inputs; END is not among them, and may be left "
     "out."},
    {"allow-overflow", ORTH_OPTION_FLAG, NULL, NULL,
     "Write Inf for finite values that the element type cannot hold, in place of an error."},
    {"model", ORTH_OPTION_TEXT, "NAME", NULL, "Attribute: the language model."},
    {"hook", ORTH_OPTION_TEXT, "NAME", NULL, "Attribute: where in it."},
    {"layer", ORTH_OPTION_TEXT, "N", NULL, "Attribute: the layer."},
    {"tokenizer", ORTH_OPTION_TEXT, "NAME", NULL, "Attribute: the tokenizer."},
    {"context", ORTH_OPTION_TEXT, "N", NULL, "Attribute: tokens of a context."},
    {NULL, ORTH_OPTION_FLAG, NULL, NULL, NULL}};

static orth_status bad_rows(const char *text)
{
    return orth_fail(ORTH_ERR_USAGE, "--rows %s: is no range; write it as 0:1000 or 1000:", text);
}

/* BEGIN:END, BEGIN: or :END */
static orth_status read_rows(const char *text, int64_t *begin, int64_t *end)
{
    *begin = 0;
    *end = -1;
    if (!text)
        return ORTH_OK;
    const char *colon = strchr(text, ':');
    char first[32];
    if (!colon || (size_t)(colon - text) >= sizeof first)
        return bad_rows(text);
    memcpy(first, text, (size_t)(colon - text));
    first[colon - text] = '\0';
    if ((first[0] && orth_number_integer(first, begin)) ||
        (colon[1] && orth_number_integer(colon + 1, end)) || *begin < 0 || *end < -1 ||
        (colon[1] && *end < 0))
        return bad_rows(text);
    return ORTH_OK;
}

static orth_status convert(const orth_call *call, MPI_Comm world)
{
    orth_convert_options o = {.n_input = orth_call_arguments(call),
                              .out = orth_call_text(call, "out"),
                              .format = orth_call_text(call, "format"),
                              .tensor = orth_call_text(call, "tensor"),
                              .tokens = orth_call_text(call, "tokens"),
                              .dataset = orth_call_text(call, "dataset"),
                              .dtype = orth_call_text(call, "dtype"),
                              .raw = orth_call_text(call, "raw"),
                              .model = orth_call_text(call, "model"),
                              .hook = orth_call_text(call, "hook"),
                              .layer = orth_call_text(call, "layer"),
                              .tokenizer = orth_call_text(call, "tokenizer"),
                              .context = orth_call_text(call, "context"),
                              .allow_overflow = orth_call_flag(call, "allow-overflow"),
                              .quiet = orth_call_quiet(call)};
    const char **inputs = NULL;
    if (!o.out)
        return orth_fail(ORTH_ERR_USAGE, "convert: --out is missing; name the file to write");
    ORTH_TRY(orth_call_integer(call, "d-model", 1, (int64_t)1 << 40, &o.d_model));
    ORTH_TRY(read_rows(orth_call_text(call, "rows"), &o.begin, &o.end));
    ORTH_TRY(orth_agree(world, ORTH_ALLOCATE(o.n_input, "input files", &inputs)));
    for (int64_t i = 0; i < o.n_input; i++)
        inputs[i] = orth_call_argument(call, (int)i);
    o.inputs = inputs;
    orth_status status = orth_convert(&o, world);
    orth_free(inputs);
    return status;
}

static void help(FILE *out)
{
    fprintf(
        out,
        "What SAELens caches are Arrow files (Hugging Face datasets), a row for each context,\n"
        "which are not read here. In the Python that wrote them save them as safetensors, with\n"
        "their token ids (which older caches lack), HOOK being the name of the column:\n"
        "\n"
        "  from datasets import load_from_disk\n"
        "  from safetensors.numpy import save_file\n"
        "  cache = load_from_disk('CACHE').with_format('numpy')\n"
        "  for i in range(0, len(cache), 1000):\n"
        "      part = cache[i:i + 1000]\n"
        "      save_file({'activations': part['HOOK'], 'tokens': part['token_ids']},\n"
        "                f'part-{i:09}.safetensors')\n"
        "\n"
        "then: orthant convert part-*.safetensors --out activations.h5 --hook HOOK\n");
}

const orth_verb orth_verb_convert = {
    .name = "convert",
    .usage = "IN... --out OUT",
    .summary = "convert activations between HDF5, .npy, .npz, safetensors, .pt and raw files",
    .min_argument = 1,
    .max_argument = 1 << 20,
    .options = options,
    .help = help,
    .run = convert,
};
