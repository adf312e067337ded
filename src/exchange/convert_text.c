/* The texts of several HDF5 files as those of one: one vocabulary, documents one after the other.
 */
#include "convert_parts.h"

#include <orthant/base/log.h>
#include <orthant/base/memory.h>
#include <orthant/io/h5_strings.h>
#include <orthant/par/agree.h>
#include <orthant/par/alive.h>
#include <orthant/par/collective.h>

#include <string.h>

/* What a vocabulary may have, as where it is read (io/text.c); documents that are read at a time.
 */
enum { STRINGS_MOST = 1 << 24, BYTES_MOST = 1 << 28, READ = 1 << 16 };

static orth_status open_alone(const char *path, orth_h5_file **out)
{
    return orth_h5_open(path, ORTH_H5_READ_INDEPENDENT, ORTH_ERR_DATA, MPI_COMM_SELF, out);
}

/* *set is NULL when the file has no such dataset. */
static orth_status open_optional(orth_h5_file *file, const char *name, orth_h5_dataset **set)
{
    bool there = false;
    *set = NULL;
    ORTH_TRY(orth_h5_exists(file, name, &there));
    return there ? orth_h5_dataset_open(file, name, set) : ORTH_OK;
}

/* ---- the vocabulary ---- */

static orth_status read_vocab(const char *path, bool *there, orth_h5_strings *out)
{
    orth_h5_file *file = NULL;
    orth_h5_dataset *set = NULL;
    ORTH_TRY(open_alone(path, &file));
    orth_status status = open_optional(file, "vocab", &set);
    *there = set != NULL;
    if (set)
        status = orth_h5_strings_read(set, STRINGS_MOST, BYTES_MOST, out);
    orth_h5_dataset_close(set);
    orth_status closed = orth_h5_close(file);
    return status == ORTH_OK ? closed : status;
}

static bool same_strings(const orth_h5_strings *a, const orth_h5_strings *b)
{
    return a->count == b->count && a->bytes == b->bytes &&
           (a->bytes == 0 || memcmp(a->text, b->text, (size_t)a->bytes) == 0);
}

/* Whether all files have the first one's. The first that does not is told. */
static orth_status compare_vocabs(const convert_input *input, bool *same)
{
    orth_h5_strings first = {0};
    const convert_piece *pieces = input->pieces;
    bool has = false, equal = true;
    orth_status status = read_vocab(pieces[0].path, &has, &first);
    for (int64_t i = 1; status == ORTH_OK && equal && i < input->options->n_input; i++) {
        orth_h5_strings other = {0};
        bool there = false;
        status = read_vocab(pieces[i].path, &there, &other);
        equal = there == has && same_strings(&first, &other);
        if (status == ORTH_OK && !equal)
            orth_log_warning("convert: /vocab of %s is not that of %s: it is left out",
                             pieces[i].path, pieces[0].path);
        orth_h5_strings_free(&other);
        orth_alive();
    }
    orth_h5_strings_free(&first);
    *same = has && equal;
    return status;
}

/* ---- documents ---- */

/* The documents of all files, counted, or written where there is a dataset for them. */
typedef struct joining {
    const convert_input *input;
    orth_h5_dataset *out; ///< NULL: they are counted
    int64_t count;
    int64_t *offsets; ///< (READ + 1)
    bool lacking;     ///< a file has none
} joining;

static orth_status refuse(const convert_piece *piece)
{
    return orth_fail(ORTH_ERR_DATA,
                     "%s: dataset 'documents' does not hold rows that ascend from 0 to the number "
                     "of rows; correct or remove it",
                     piece->path);
}

/* The offsets of a file, shifted by the rows before it. Its first row begins a document; its end
 * does so only where no file follows, or it would be there twice. */
static orth_status join_some(joining *j, const convert_piece *piece, int64_t at, int64_t count,
                             int64_t *last)
{
    bool final = piece->first + piece->rows == j->input->rows;
    int64_t kept = 0, *offsets = j->offsets;
    if (at == 0 && piece->first > 0 && (count == 0 || offsets[1] > 0))
        offsets[kept++] = piece->first;
    for (int64_t i = 0; i < count; i++) {
        int64_t offset = offsets[1 + i];
        if (offset < *last || offset > piece->rows)
            return refuse(piece);
        *last = offset;
        if (final || offset < piece->rows)
            offsets[kept++] = piece->first + offset;
    }
    if (j->out)
        ORTH_TRY(orth_h5_write(j->out, j->count, j->count + kept, ORTH_H5_INT64, offsets));
    j->count += kept;
    orth_alive();
    return ORTH_OK;
}

static orth_status join_set(joining *j, const convert_piece *piece, orth_h5_dataset *set)
{
    const orth_h5_layout *layout = orth_h5_dataset_layout(set);
    int64_t n = layout->extent[0], last = 0, at = 0;
    bool integers = layout->type == ORTH_H5_INT32 || layout->type == ORTH_H5_INT64 ||
                    layout->type == ORTH_H5_UINT32 || layout->type == ORTH_H5_UINT64;
    if (layout->rank != 1 || !integers || n > piece->rows + 1)
        return refuse(piece);
    do {
        int64_t some = n - at < READ ? n - at : READ;
        ORTH_TRY(orth_h5_read(set, at, at + some, ORTH_H5_INT64, j->offsets + 1));
        ORTH_TRY(join_some(j, piece, at, some, &last));
        at += some;
    } while (at < n);
    return ORTH_OK;
}

static orth_status join_piece(joining *j, const convert_piece *piece)
{
    orth_h5_file *file = NULL;
    orth_h5_dataset *set = NULL;
    if (piece->rows == 0)
        return ORTH_OK;
    ORTH_TRY(open_alone(piece->path, &file));
    orth_status status = open_optional(file, "documents", &set);
    if (status == ORTH_OK && set)
        status = join_set(j, piece, set);
    j->lacking = j->lacking || !set;
    orth_h5_dataset_close(set);
    orth_status closed = orth_h5_close(file);
    return status == ORTH_OK ? closed : status;
}

static orth_status join_all(joining *j)
{
    ORTH_TRY(ORTH_ALLOCATE(READ + 1, "documents", &j->offsets));
    orth_status status = ORTH_OK;
    for (int64_t i = 0; status == ORTH_OK && !j->lacking && i < j->input->options->n_input; i++)
        status = join_piece(j, &j->input->pieces[i]);
    orth_free(j->offsets);
    return status;
}

/* ---- both ---- */

/* What cannot be read is left out: the activations are there. */
static orth_status forgive(orth_status status)
{
    if (status != ORTH_ERR_DATA)
        return status;
    orth_log_warning("convert: %s; left out", orth_error_text());
    orth_error_clear();
    return ORTH_OK;
}

/* Rank 0. */
static orth_status look(const convert_input *input, bool whole, convert_texts *out)
{
    joining j = {.input = input};
    orth_status status = compare_vocabs(input, &out->vocab);
    out->vocab = out->vocab && status == ORTH_OK;
    ORTH_TRY(forgive(status));
    if (!input->has_documents || !whole)
        return ORTH_OK;
    status = join_all(&j);
    if (j.lacking)
        orth_log_warning("convert: not all files have /documents: they are left out");
    else if (status == ORTH_OK)
        out->documents = j.count;
    return forgive(status);
}

orth_status convert_texts_look(const convert_input *input, bool whole, MPI_Comm comm,
                               convert_texts *out)
{
    int rank;
    orth_status status = ORTH_OK;
    int64_t found[2] = {0, 0};
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    *out = (convert_texts){0};
    if (rank == 0) {
        status = look(input, whole, out);
        found[0] = out->vocab;
        found[1] = out->documents;
    }
    ORTH_TRY(orth_agree(comm, status));
    ORTH_TRY(orth_broadcast(found, 2, MPI_INT64_T, 0, comm));
    *out = (convert_texts){.vocab = found[0] != 0, .documents = found[1]};
    return ORTH_OK;
}

orth_status convert_texts_write(const convert_input *input, orth_h5_dataset *documents)
{
    joining j = {.input = input, .out = documents};
    return join_all(&j);
}
