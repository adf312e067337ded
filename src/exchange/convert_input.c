#include "convert_parts.h"

#include <orthant/base/memory.h>
#include <orthant/base/path.h>
#include <orthant/io/synth.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), wanted = strlen(end);
    return length >= wanted && strcmp(text + length - wanted, end) == 0;
}

/* ---- which tensor ---- */

static bool is_float(orth_tensor_type type)
{
    return type == ORTH_TENSOR_F16 || type == ORTH_TENSOR_BF16 || type == ORTH_TENSOR_F32 ||
           type == ORTH_TENSOR_F64;
}

static bool is_candidate(const orth_tensor_entry *entry)
{
    return entry->kind == ORTH_ENTRY_TENSOR && entry->rank >= 2 && is_float(entry->type);
}

/* "a [3, 4] F32, b ..." for an error, cut to its room. */
static void list_tensors(const orth_tensor_file *file, char *out, size_t room)
{
    char shape[192];
    size_t length = 0;
    out[0] = '\0';
    for (int64_t i = 0; i < orth_tensor_file_count(file) && length < room - 1; i++) {
        const orth_tensor_entry *entry = orth_tensor_file_entry(file, i);
        if (entry->kind != ORTH_ENTRY_TENSOR)
            continue;
        int n =
            snprintf(out + length, room - length, "%s%.100s %s %s", length ? ", " : "", entry->name,
                     orth_tensor_shape_text(entry, shape), orth_tensor_type_name(entry->type));
        length += n > 0 ? (size_t)n : 0;
    }
}

/* The activations: the named tensor, one of a usual name, or the only candidate. */
static const orth_tensor_entry *choose(const orth_tensor_file *file, const char *wanted)
{
    static const char *const usual[] = {"activations", "states"};
    const orth_tensor_entry *only = NULL;
    if (wanted)
        return orth_tensor_file_find(file, wanted);
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        const orth_tensor_entry *entry = orth_tensor_file_find(file, usual[i]);
        if (entry && is_candidate(entry))
            return entry;
    }
    for (int64_t i = 0; i < orth_tensor_file_count(file); i++) {
        const orth_tensor_entry *entry = orth_tensor_file_entry(file, i);
        if (is_candidate(entry) && only)
            return NULL;
        only = is_candidate(entry) ? entry : only;
    }
    return only;
}

static orth_status find_activations(const convert_input *input, const orth_tensor_file *file,
                                    const orth_tensor_entry **out)
{
    char names[600];
    const char *wanted = input->options->tensor ? input->options->tensor : input->tensor_name;
    const orth_tensor_entry *entry = choose(file, wanted);
    if (entry && is_candidate(entry)) {
        *out = entry;
        return ORTH_OK;
    }
    entry = orth_tensor_file_count(file) == 1 ? orth_tensor_file_entry(file, 0) : NULL;
    if (!wanted && entry && entry->kind == ORTH_ENTRY_TENSOR && !is_float(entry->type))
        return orth_fail(ORTH_ERR_DATA,
                         "%.1000s: its numbers are of type %s; activations are float16, bfloat16, "
                         "float32 or float64: save them as one of these",
                         orth_tensor_file_path(file), orth_tensor_type_name(entry->type));
    entry = wanted ? orth_tensor_file_find(file, wanted) : NULL;
    list_tensors(file, names, sizeof names);
    if (wanted)
        return orth_fail(ORTH_ERR_DATA,
                         "%.1000s: %s '%.200s'%s; it holds: %s; choose one with --tensor",
                         orth_tensor_file_path(file), entry ? "tensor" : "no tensor", wanted,
                         entry ? " is no table of floats (2 dimensions at least)" : "", names);
    return orth_fail(ORTH_ERR_DATA,
                     "%.1000s: which tensor holds the activations is not clear (%s); choose one "
                     "with --tensor",
                     orth_tensor_file_path(file), names[0] ? names : "there are none");
}

/* The token ids: as many integers as rows. NULL: none. */
static const orth_tensor_entry *find_tokens(const convert_input *input,
                                            const orth_tensor_file *file, int64_t rows)
{
    static const char *const usual[] = {"tokens", "input_ids", "token_ids"};
    const char *wanted = input->options->tokens ? input->options->tokens : input->tokens_name;
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        const orth_tensor_entry *entry = orth_tensor_file_find(file, wanted ? wanted : usual[i]);
        if (entry && entry->kind == ORTH_ENTRY_TENSOR && entry->count == rows &&
            !is_float(entry->type))
            return entry;
    }
    return NULL;
}

/* ---- where they are from ---- */

const char *const convert_attribute_names[CONVERT_ATTRIBUTES] = {"model", "hook", "layer",
                                                                 "tokenizer", "context"};

/* The texts and numbers of a dictionary, or the metadata of safetensors. */
static void note_entries(const orth_tensor_file *file, convert_attributes out)
{
    char name[64];
    for (int i = 0; i < CONVERT_ATTRIBUTES; i++) {
        const orth_tensor_entry *entry = orth_tensor_file_find(file, convert_attribute_names[i]);
        snprintf(name, sizeof name, "__metadata__/%s", convert_attribute_names[i]);
        if (!entry)
            entry = orth_tensor_file_find(file, name);
        if (entry && entry->kind == ORTH_ENTRY_TEXT)
            snprintf(out[i], sizeof out[i], "%s", entry->text);
        else if (entry && entry->kind == ORTH_ENTRY_INTEGER)
            snprintf(out[i], sizeof out[i], "%lld", (long long)entry->integer);
    }
}

static orth_status note_attributes(orth_h5_file *file, convert_attributes out)
{
    for (int i = 0; i < CONVERT_ATTRIBUTES; i++) {
        const char *name = convert_attribute_names[i];
        bool there = false;
        int64_t number;
        ORTH_TRY(orth_h5_attribute_exists(file, "/", name, &there));
        if (!there ||
            orth_h5_attribute_read_text(file, "/", name, out[i], sizeof out[i]) == ORTH_OK)
            continue;
        out[i][0] = '\0';
        orth_error_clear();
        if (orth_h5_attribute_read_int64(file, "/", name, &number) == ORTH_OK)
            snprintf(out[i], sizeof out[i], "%lld", (long long)number);
        orth_error_clear();
    }
    return ORTH_OK;
}

/* ---- one file of tensors ---- */

/* What dictionary_learning notes beside a shard_<i>.memmap: {"shape": [rows, width]}. */
static int64_t noted_width(const char *path)
{
    char *meta = NULL;
    if (orth_path_format(&meta, "%.*s.meta", (int)(strlen(path) - strlen(".memmap")), path) !=
        ORTH_OK)
        return 0;
    json_t *object = json_load_file(meta, 0, NULL);
    const json_t *shape = json_object_get(object, "shape");
    int64_t width = json_integer_value(json_array_get(shape, 1));
    if (json_array_size(shape) != 2)
        width = 0;
    json_decref(object);
    free(meta);
    return width;
}

/* Whether it is a raw file, and of which type and width: rank 0 looks. */
static orth_status look_raw(const convert_input *input, const char *path, MPI_Comm comm,
                            convert_piece *out, int64_t *width)
{
    static const struct {
        orth_h5_type h5;
        orth_tensor_type type;
    } types[] = {{ORTH_H5_FLOAT16, ORTH_TENSOR_F16},
                 {ORTH_H5_BFLOAT16, ORTH_TENSOR_BF16},
                 {ORTH_H5_FLOAT, ORTH_TENSOR_F32},
                 {ORTH_H5_DOUBLE, ORTH_TENSOR_F64}};
    orth_h5_type wanted;
    *width = input->options->d_model;
    out->raw = input->options->raw != NULL;
    out->type = ORTH_TENSOR_F32;
    if (out->raw) {
        ORTH_TRY(orth_synth_type(input->options->raw, &wanted));
        for (size_t i = 0; i < sizeof types / sizeof *types; i++)
            out->type = types[i].h5 == wanted ? types[i].type : out->type;
        return *width > 0 ? ORTH_OK
                          : orth_fail(ORTH_ERR_USAGE, "--raw: the width of the rows is not known; "
                                                      "give --d-model");
    }
    if (ends_with(path, ".raw"))
        return orth_fail(ORTH_ERR_USAGE,
                         "%.1000s: raw floats tell neither their type nor their width; give --raw "
                         "TYPE --d-model N",
                         path);
    if (!ends_with(path, ".memmap"))
        return ORTH_OK;
    int rank;
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    int64_t noted = rank == 0 ? noted_width(path) : 0;
    ORTH_TRY(orth_broadcast(&noted, 1, MPI_INT64_T, 0, comm));
    out->raw = noted > 0;
    if (out->raw)
        *width = noted;
    return ORTH_OK;
}

orth_status convert_piece_open(const convert_piece *piece, int64_t width, MPI_Comm comm,
                               orth_tensor_file **out)
{
    if (piece->raw)
        return orth_tensor_file_open_raw(piece->path, piece->type, width, ORTH_ERR_DATA, comm, out);
    return orth_tensor_file_open(piece->path, ORTH_ERR_DATA, comm, out);
}

static orth_status join_width(convert_input *input, const char *path, int64_t width)
{
    if (width < 1)
        return orth_fail(ORTH_ERR_DATA, "%.1000s: its rows have no values; check the file", path);
    if (input->width && input->width != width)
        return orth_fail(ORTH_ERR_DATA,
                         "%.1000s: rows of %lld values, those of %.1000s have %lld; convert them "
                         "apart",
                         path, (long long)width, input->pieces[0].path, (long long)input->width);
    input->width = width;
    return ORTH_OK;
}

/* Local: the same on all ranks. */
static orth_status describe_piece(convert_input *input, const orth_tensor_file *file,
                                  convert_piece *piece)
{
    const orth_tensor_entry *entry = NULL, *tokens = NULL;
    bool first = piece == input->pieces, asked = input->options->tokens != NULL;
    bool none = asked && strcmp(input->options->tokens, "none") == 0;
    ORTH_TRY(find_activations(input, file, &entry));
    ORTH_TRY(join_width(input, piece->path, entry->shape[entry->rank - 1]));
    piece->type = entry->type;
    piece->rows = entry->count / input->width;
    if (!none)
        tokens = find_tokens(input, file, piece->rows);
    if (!tokens && asked && !none)
        return orth_fail(ORTH_ERR_DATA,
                         "%.1000s: no tensor '%.200s' of as many integers as rows (%lld); check "
                         "--tokens",
                         piece->path, input->options->tokens, (long long)piece->rows);
    input->has_tokens = tokens && (first || input->has_tokens);
    if (first) {
        note_entries(file, input->attributes);
        ORTH_TRY(orth_path_format(&input->tensor_name, "%s", entry->name));
        if (tokens)
            ORTH_TRY(orth_path_format(&input->tokens_name, "%s", tokens->name));
    }
    return ORTH_OK;
}

static orth_status open_tensors(convert_input *input, MPI_Comm comm, convert_piece *piece)
{
    orth_tensor_file *file = NULL;
    int64_t width = 0;
    ORTH_TRY(orth_agree(comm, look_raw(input, piece->path, comm, piece, &width)));
    ORTH_TRY(convert_piece_open(piece, width, comm, &file));
    orth_status status = orth_agree(comm, describe_piece(input, file, piece));
    orth_tensor_file_close(file);
    return status;
}

/* ---- one file of HDF5 ---- */

static orth_status describe_h5(convert_input *input, convert_piece *piece)
{
    const orth_h5_layout *layout = orth_h5_dataset_layout(piece->set);
    if (layout->rank != 2)
        return orth_fail(ORTH_ERR_DATA,
                         "%.1000s: dataset '%.200s' has %d dimensions, not 2; "
                         "choose another with --dataset",
                         piece->path, input->options->dataset, layout->rank);
    ORTH_TRY(join_width(input, piece->path, layout->extent[1]));
    piece->rows = layout->extent[0];
    piece->type = layout->type == ORTH_H5_DOUBLE     ? ORTH_TENSOR_F64
                  : layout->type == ORTH_H5_FLOAT16  ? ORTH_TENSOR_F16
                  : layout->type == ORTH_H5_BFLOAT16 ? ORTH_TENSOR_BF16
                                                     : ORTH_TENSOR_F32;
    return ORTH_OK;
}

/* Open /tokens where it fits. */
static orth_status open_tokens(convert_input *input, convert_piece *piece)
{
    bool there = false,
         none = input->options->tokens && strcmp(input->options->tokens, "none") == 0;
    const char *name = input->options->tokens ? input->options->tokens : "tokens";
    if (!none)
        ORTH_TRY(orth_h5_exists(piece->h5, name, &there));
    if (there) {
        ORTH_TRY(orth_h5_dataset_open(piece->h5, name, &piece->tokens));
        const orth_h5_layout *layout = orth_h5_dataset_layout(piece->tokens);
        there = layout->rank == 1 && layout->extent[0] == piece->rows &&
                (layout->type == ORTH_H5_INT32 || layout->type == ORTH_H5_INT64 ||
                 layout->type == ORTH_H5_UINT32);
    }
    input->has_tokens = there && (piece == input->pieces || input->has_tokens);
    return ORTH_OK;
}

/* Whether there are texts beside the tokens, which not every format holds. */
static orth_status note_text(convert_input *input, convert_piece *piece)
{
    bool there = false;
    ORTH_TRY(orth_h5_exists(piece->h5, "documents", &there));
    input->has_documents = input->has_documents || there;
    ORTH_TRY(orth_h5_exists(piece->h5, "vocab", &there));
    input->has_vocab = input->has_vocab || there;
    return ORTH_OK;
}

static orth_status open_h5(convert_input *input, MPI_Comm comm, convert_piece *piece)
{
    ORTH_TRY(orth_h5_open(piece->path, ORTH_H5_READ_INDEPENDENT, ORTH_ERR_DATA, comm, &piece->h5));
    ORTH_TRY(orth_h5_dataset_open(piece->h5, input->options->dataset, &piece->set));
    ORTH_TRY(orth_agree(comm, describe_h5(input, piece)));
    ORTH_TRY(open_tokens(input, piece));
    ORTH_TRY(note_text(input, piece));
    if (piece == input->pieces)
        ORTH_TRY(note_attributes(piece->h5, input->attributes));
    if (piece->type == ORTH_TENSOR_F64)
        return ORTH_OK;
    orth_h5_dataset_close(piece->set); /* orth_dataset reads it */
    piece->set = NULL;
    if (input->has_tokens)
        return ORTH_OK;
    orth_status status = orth_h5_close(piece->h5);
    piece->h5 = NULL;
    return status;
}

/* ---- all of them ---- */

/* What all ranks must do: 0 tensor files, 1 HDF5, or an error. Rank 0 looks. */
static orth_status look_kind(const char *path, bool raw, int *out)
{
    static const unsigned char signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1A, '\n'};
    unsigned char first[8] = {0};
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode))
        return orth_fail(ORTH_ERR_DATA,
                         "%.1000s: is a folder; name the files in it (caches of SAELens, Arrow "
                         "files, are not read: 'orthant convert --help' shows how to save them)",
                         path);
    bool plain = stat(path, &info) != 0 || S_ISREG(info.st_mode);
    FILE *file = plain ? fopen(path, "rb") : NULL; /* a pipe would keep it waiting */
    size_t n = file ? fread(first, 1, sizeof first, file) : 0;
    if (file)
        fclose(file);
    bool arrow = n == 8 && (memcmp(first, "ARROW1", 6) == 0 || ends_with(path, ".arrow"));
    if (arrow && !raw)
        return orth_fail(ORTH_ERR_DATA,
                         "%.1000s: is an Arrow file, as the caches of SAELens are; it is not read: "
                         "save it as safetensors, as 'orthant convert --help' shows",
                         path);
    *out = !raw && n == 8 && memcmp(first, signature, 8) == 0;
    if (!raw && !*out && (ends_with(path, ".h5") || ends_with(path, ".hdf5")))
        *out = 1; /* its own words for what is wrong with it */
    return ORTH_OK;
}

static orth_status look_kinds(convert_input *input, MPI_Comm comm)
{
    int rank, kind = 0;
    orth_status status = ORTH_OK;
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    for (int64_t i = 0; rank == 0 && status == ORTH_OK && i < input->options->n_input; i++) {
        int other = 0;
        status = look_kind(input->options->inputs[i], input->options->raw != NULL, &other);
        if (status == ORTH_OK && i > 0 && other != kind)
            status = orth_fail(ORTH_ERR_DATA,
                               "%.1000s: HDF5 and other files cannot be one table; convert them "
                               "apart",
                               input->options->inputs[i]);
        kind = other;
    }
    ORTH_TRY(orth_agree(comm, status));
    ORTH_TRY(orth_broadcast(&kind, 1, MPI_INT, 0, comm));
    input->hdf5 = kind;
    return ORTH_OK;
}

/* One type for all: that of all, or float32 for both kinds of 16 bits. */
static orth_tensor_type join_types(orth_tensor_type a, orth_tensor_type b)
{
    if (a == b)
        return a;
    return a == ORTH_TENSOR_F64 || b == ORTH_TENSOR_F64 ? ORTH_TENSOR_F64 : ORTH_TENSOR_F32;
}

static orth_status open_pieces(convert_input *input, MPI_Comm comm)
{
    for (int64_t i = 0; i < input->options->n_input; i++) {
        convert_piece *piece = &input->pieces[i];
        piece->path = input->options->inputs[i];
        piece->first = input->rows;
        ORTH_TRY(input->hdf5 ? open_h5(input, comm, piece) : open_tensors(input, comm, piece));
        input->type = i ? join_types(input->type, piece->type) : piece->type;
        input->rows += piece->rows;
    }
    if (!input->hdf5)
        return ORTH_OK;
    return orth_dataset_open(input->options->inputs, input->options->n_input,
                             input->options->dataset, comm, &input->dataset);
}

orth_status convert_input_open(const orth_convert_options *options, MPI_Comm comm,
                               convert_input *out)
{
    *out = (convert_input){.options = options, .file_index = -1};
    ORTH_TRY(orth_agree(comm, ORTH_ALLOCATE(options->n_input, "input files", &out->pieces)));
    ORTH_TRY(look_kinds(out, comm));
    return open_pieces(out, comm);
}

void convert_input_close(convert_input *input)
{
    for (int64_t i = 0; input->pieces && i < input->options->n_input; i++) {
        orth_h5_dataset_close(input->pieces[i].set);
        orth_h5_dataset_close(input->pieces[i].tokens);
        orth_h5_close(input->pieces[i].h5);
    }
    orth_dataset_close(input->dataset);
    orth_tensor_file_close(input->file);
    orth_free(input->pieces);
    free(input->tensor_name);
    free(input->tokens_name);
    *input = (convert_input){0};
}
