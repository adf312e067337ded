#include <orthant/io/text.h>

#include "rows.h"

#include <orthant/base/log.h>
#include <orthant/base/memory.h>
#include <orthant/io/h5_strings.h>

#include <stdlib.h>
#include <string.h>

/* Files that are open at a time, and what a vocabulary may have. */
enum { OPEN_MOST = 16, STRINGS_MOST = 1 << 24, BYTES_MOST = 1 << 28, CHECKED = 1 << 16 };

/* What of a file's vocabulary is known. */
enum { VOCAB_UNREAD = -2, VOCAB_NONE = -1 };

/* What a file has. */
typedef struct text_file {
    bool tokens;
    int64_t documents; ///< -1: none
    int64_t vocab;     ///< index of its vocabulary
} text_file;

typedef struct vocabulary {
    const char *path; ///< of the first file that has it
    orth_h5_strings strings;
} vocabulary;

/* A file that is open. */
typedef struct open_file {
    int64_t index; ///< in the table
    int64_t used;  ///< when; 0: the place is free
    orth_h5_file *h5;
    orth_h5_dataset *tokens; ///< NULL: none
    int64_t *documents;
} open_file;

struct orth_text {
    const orth_dataset *dataset;
    text_file *files;
    bool has_tokens;
    bool warned;
    vocabulary *vocabularies;
    int64_t n_vocabulary;
    open_file open[OPEN_MOST];
    int64_t clock;
    int64_t room; ///< tokens of a context
    int64_t *token;
    const char **string;
};

static bool is_integer(orth_h5_type type)
{
    return type == ORTH_H5_INT32 || type == ORTH_H5_INT64 || type == ORTH_H5_UINT32 ||
           type == ORTH_H5_UINT64 || type == ORTH_H5_UINT8;
}

/* ---- what there is ---- */

/* *set is NULL when the file has no such dataset. */
static orth_status open_optional(orth_h5_file *h5, const char *name, orth_h5_dataset **set)
{
    bool exists = false;
    *set = NULL;
    ORTH_TRY(orth_h5_exists(h5, name, &exists));
    return exists ? orth_h5_dataset_open(h5, name, set) : ORTH_OK;
}

static orth_status refuse(const char *path, const char *name, const orth_h5_layout *layout,
                          const char *wanted)
{
    return orth_fail(ORTH_ERR_DATA,
                     "%s: dataset '%s' is %s with %d dimension%s and %lld rows, expected %s; "
                     "correct or remove it",
                     path, name, layout->type_name, layout->rank, layout->rank == 1 ? "" : "s",
                     (long long)layout->extent[0], wanted);
}

static orth_status look_at_tokens(const orth_table_file *file, orth_h5_file *h5, text_file *out)
{
    orth_h5_dataset *set;
    ORTH_TRY(open_optional(h5, "tokens", &set));
    if (!set)
        return ORTH_OK;
    const orth_h5_layout *layout = orth_h5_dataset_layout(set);
    orth_status status = ORTH_OK;
    if (layout->rank != 1 || !is_integer(layout->type) || layout->extent[0] != file->rows)
        status = refuse(file->path, "tokens", layout, "an integer for each row of activations");
    out->tokens = true;
    orth_h5_dataset_close(set);
    return status;
}

static orth_status check_ascending(const orth_table_file *file, const int64_t *documents,
                                   int64_t count, int64_t *last)
{
    for (int64_t i = 0; i < count; i++) {
        if (documents[i] < *last || documents[i] > file->rows)
            return orth_fail(ORTH_ERR_DATA,
                             "%s: dataset 'documents' does not ascend from 0 to the number of "
                             "rows; correct or remove it",
                             file->path);
        *last = documents[i];
    }
    return ORTH_OK;
}

static orth_status check_documents(const orth_table_file *file, orth_h5_dataset *set, int64_t count)
{
    int64_t *piece = NULL, last = 0;
    ORTH_TRY(ORTH_ALLOCATE(CHECKED, "documents", &piece));
    orth_status status = ORTH_OK;
    for (int64_t at = 0; status == ORTH_OK && at < count; at += CHECKED) {
        int64_t end = at + CHECKED < count ? at + CHECKED : count;
        status = orth_h5_read(set, at, end, ORTH_H5_INT64, piece);
        if (status == ORTH_OK)
            status = check_ascending(file, piece, end - at, &last);
    }
    orth_free(piece);
    return status;
}

static orth_status look_at_documents(const orth_table_file *file, orth_h5_file *h5, text_file *out)
{
    orth_h5_dataset *set;
    ORTH_TRY(open_optional(h5, "documents", &set));
    if (!set)
        return ORTH_OK;
    const orth_h5_layout *layout = orth_h5_dataset_layout(set);
    orth_status status;
    if (layout->rank != 1 || !is_integer(layout->type) || layout->extent[0] > file->rows + 1)
        status = refuse(file->path, "documents", layout, "ascending rows, integers");
    else
        status = check_documents(file, set, layout->extent[0]);
    out->documents = layout->extent[0];
    orth_h5_dataset_close(set);
    return status;
}

static orth_status look_at_vocab(const orth_table_file *file, orth_h5_file *h5, text_file *out)
{
    orth_h5_dataset *set;
    ORTH_TRY(open_optional(h5, "vocab", &set));
    if (!set)
        return ORTH_OK;
    orth_status status = ORTH_OK;
    if (!orth_h5_holds_strings(set) || orth_h5_dataset_layout(set)->rank != 1)
        status = refuse(file->path, "vocab", orth_h5_dataset_layout(set), "a list of strings");
    out->vocab = VOCAB_UNREAD;
    orth_h5_dataset_close(set);
    return status;
}

static orth_status open_h5(const char *path, orth_h5_file **h5)
{
    return orth_h5_open(path, ORTH_H5_READ_INDEPENDENT, ORTH_ERR_DATA, MPI_COMM_SELF, h5);
}

static orth_status look_at(orth_text *text, int64_t index)
{
    const orth_table_file *file = text->dataset->files + index;
    text_file *out = text->files + index;
    orth_h5_file *h5 = NULL;
    *out = (text_file){.documents = -1, .vocab = VOCAB_NONE};
    /* A file listed again has what it had. */
    if (index > 0 && strcmp(file->path, file[-1].path) == 0) {
        *out = out[-1];
        return ORTH_OK;
    }
    ORTH_TRY(open_h5(file->path, &h5));
    orth_status status = look_at_tokens(file, h5, out);
    if (status == ORTH_OK)
        status = look_at_documents(file, h5, out);
    if (status == ORTH_OK)
        status = look_at_vocab(file, h5, out);
    orth_status closed = orth_h5_close(h5);
    return status == ORTH_OK ? closed : status;
}

orth_status orth_text_open(const orth_dataset *dataset, orth_text **out)
{
    orth_text *text = NULL;
    ORTH_TRY(ORTH_ALLOCATE(1, "text of the tokens", &text));
    text->dataset = dataset;
    orth_status status = ORTH_ALLOCATE(dataset->n_file, "text of the tokens", &text->files);
    for (int64_t i = 0; status == ORTH_OK && i < dataset->n_file; i++) {
        status = look_at(text, i);
        text->has_tokens = text->has_tokens || text->files[i].tokens;
    }
    if (status == ORTH_OK)
        *out = text;
    else
        orth_text_close(text);
    return status;
}

bool orth_text_has_tokens(const orth_text *text)
{
    return text->has_tokens;
}

/* ---- files that are open ---- */

static void close_place(open_file *place)
{
    orth_h5_dataset_close(place->tokens);
    if (place->h5)
        orth_h5_close(place->h5);
    orth_free(place->documents);
    *place = (open_file){0};
}

static orth_status read_documents(orth_h5_file *h5, int64_t count, int64_t **out)
{
    orth_h5_dataset *set = NULL;
    int64_t *documents = NULL;
    ORTH_TRY(orth_h5_dataset_open(h5, "documents", &set));
    orth_status status = ORTH_ALLOCATE(count, "documents", &documents);
    if (status == ORTH_OK)
        status = orth_h5_read(set, 0, count, ORTH_H5_INT64, documents);
    orth_h5_dataset_close(set);
    *out = documents;
    return status;
}

static orth_status fill_place(const orth_text *text, int64_t index, open_file *place)
{
    const text_file *file = text->files + index;
    place->index = index;
    ORTH_TRY(open_h5(text->dataset->files[index].path, &place->h5));
    if (file->tokens)
        ORTH_TRY(orth_h5_dataset_open(place->h5, "tokens", &place->tokens));
    return file->documents >= 0 ? read_documents(place->h5, file->documents, &place->documents)
                                : ORTH_OK;
}

/* The file, opened in the place of the one that was not used for longest. */
static orth_status open_place(orth_text *text, int64_t index, open_file **out)
{
    open_file *place = text->open;
    for (int i = 0; i < OPEN_MOST; i++) {
        if (text->open[i].used > 0 && text->open[i].index == index) {
            text->open[i].used = ++text->clock;
            *out = text->open + i;
            return ORTH_OK;
        }
        if (text->open[i].used < place->used)
            place = text->open + i;
    }
    close_place(place);
    orth_status status = fill_place(text, index, place);
    if (status != ORTH_OK) {
        close_place(place);
        return status;
    }
    place->used = ++text->clock;
    *out = place;
    return ORTH_OK;
}

/* ---- vocabularies ---- */

static orth_status read_strings(orth_h5_file *h5, orth_h5_strings *out)
{
    orth_h5_dataset *set = NULL;
    ORTH_TRY(orth_h5_dataset_open(h5, "vocab", &set));
    orth_status status = orth_h5_strings_read(set, STRINGS_MOST, BYTES_MOST, out);
    orth_h5_dataset_close(set);
    return status;
}

static bool same_strings(const orth_h5_strings *a, const orth_h5_strings *b)
{
    return a->count == b->count && a->bytes == b->bytes &&
           (a->bytes == 0 || memcmp(a->text, b->text, (size_t)a->bytes) == 0);
}

/* Keep the strings, unless a vocabulary has the same; its index. */
static orth_status keep_strings(orth_text *text, const char *path, orth_h5_strings *strings,
                                int64_t *out)
{
    for (int64_t i = 0; i < text->n_vocabulary; i++)
        if (same_strings(&text->vocabularies[i].strings, strings)) {
            orth_h5_strings_free(strings);
            *out = i;
            return ORTH_OK;
        }
    size_t count = (size_t)text->n_vocabulary + 1;
    vocabulary *larger = orth_realloc(text->vocabularies, count * sizeof *larger);
    if (!larger)
        return orth_fail(ORTH_ERR_ENVIRONMENT, "out of memory for a vocabulary; free memory");
    text->vocabularies = larger;
    *out = text->n_vocabulary++;
    text->vocabularies[*out] = (vocabulary){.path = path, .strings = *strings};
    return ORTH_OK;
}

/* What cannot be read is left out: the ids are there. */
static orth_status find_vocab(orth_text *text, const open_file *place)
{
    const char *path = text->dataset->files[place->index].path;
    text_file *file = text->files + place->index;
    orth_h5_strings strings = {0};
    for (int64_t i = 0; file->vocab == VOCAB_UNREAD && i < text->n_vocabulary; i++)
        if (strcmp(text->vocabularies[i].path, path) == 0)
            file->vocab = i;
    if (file->vocab != VOCAB_UNREAD)
        return ORTH_OK;
    orth_status status = read_strings(place->h5, &strings);
    if (status == ORTH_OK)
        status = keep_strings(text, path, &strings, &file->vocab);
    if (status == ORTH_OK)
        return ORTH_OK;
    orth_h5_strings_free(&strings);
    if (status == ORTH_ERR_ENVIRONMENT)
        return status;
    if (!text->warned)
        orth_log_warning("%s; examples show token ids only", orth_error_text());
    orth_error_clear();
    text->warned = true;
    file->vocab = VOCAB_NONE;
    return ORTH_OK;
}

/* ---- contexts ---- */

static orth_status make_room(orth_text *text, int64_t count)
{
    if (count <= text->room)
        return ORTH_OK;
    orth_free(text->token);
    orth_free((void *)text->string);
    text->token = NULL;
    text->string = NULL;
    text->room = 0;
    ORTH_TRY(ORTH_ALLOCATE(count, "tokens around a token", &text->token));
    ORTH_TRY(ORTH_ALLOCATE(count, "tokens around a token", &text->string));
    text->room = count;
    return ORTH_OK;
}

/* The document of a row, -1 before the first; *begin, *end: narrowed to its rows. */
static int64_t find_document(const int64_t *documents, int64_t count, int64_t row, int64_t *begin,
                             int64_t *end)
{
    int64_t low = 0, high = count; /* the first that begins after the row */
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (documents[middle] <= row)
            low = middle + 1;
        else
            high = middle;
    }
    if (low > 0 && documents[low - 1] > *begin)
        *begin = documents[low - 1];
    if (low < count && documents[low] < *end)
        *end = documents[low];
    return low - 1;
}

static const char *string_of(const orth_text *text, int64_t vocab, int64_t token)
{
    if (vocab < 0 || token < 0 || token >= text->vocabularies[vocab].strings.count)
        return NULL;
    const orth_h5_strings *strings = &text->vocabularies[vocab].strings;
    return strings->text + strings->start[token];
}

static orth_status read_tokens(orth_text *text, open_file *place, int64_t begin, int64_t end,
                               int64_t row, orth_context *out)
{
    int64_t count = end - begin;
    ORTH_TRY(make_room(text, count));
    ORTH_TRY(orth_h5_read(place->tokens, begin, end, ORTH_H5_INT64, text->token));
    ORTH_TRY(find_vocab(text, place));
    for (int64_t i = 0; i < count; i++)
        text->string[i] = string_of(text, text->files[place->index].vocab, text->token[i]);
    out->count = count;
    out->place = row - begin;
    out->token = text->token;
    out->string = text->string;
    return ORTH_OK;
}

orth_status orth_text_context(orth_text *text, int64_t row, int64_t before, int64_t after,
                              orth_context *out)
{
    const orth_table_file *file = orth_table_find(text->dataset, row);
    int64_t index = file - text->dataset->files, in_file = row - file->first;
    const text_file *has = text->files + index;
    open_file *place = NULL;
    *out = (orth_context){.file = file->path, .row_in_file = in_file, .document = -1};
    if (!has->tokens && has->documents < 0)
        return ORTH_OK;
    ORTH_TRY(open_place(text, index, &place));
    int64_t begin = in_file > before ? in_file - before : 0;
    int64_t end = after < file->rows - in_file ? in_file + after + 1 : file->rows;
    if (has->documents >= 0)
        out->document = find_document(place->documents, has->documents, in_file, &begin, &end);
    return has->tokens ? read_tokens(text, place, begin, end, in_file, out) : ORTH_OK;
}

void orth_text_close(orth_text *text)
{
    if (!text)
        return;
    for (int i = 0; i < OPEN_MOST; i++)
        close_place(text->open + i);
    for (int64_t i = 0; i < text->n_vocabulary; i++)
        orth_h5_strings_free(&text->vocabularies[i].strings);
    free(text->vocabularies);
    orth_free(text->token);
    orth_free((void *)text->string);
    orth_free(text->files);
    orth_free(text);
}
