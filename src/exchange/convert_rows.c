#include "convert_parts.h"

#include <orthant/base/memory.h>

#include <string.h>

static int64_t piece_of(const convert_input *input, int64_t row)
{
    int64_t low = 0, high = input->options->n_input - 1;
    while (low < high) {
        int64_t middle = (low + high + 1) / 2;
        if (input->pieces[middle].first <= row)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

const char *convert_input_locate(const convert_input *input, int64_t row, int64_t *row_in_file)
{
    const convert_piece *piece = &input->pieces[piece_of(input, row)];
    *row_in_file = row - piece->first;
    return piece->path;
}

/* The piece's file, opened by this rank alone. */
static orth_status use_file(convert_input *input, int64_t index)
{
    if (input->file_index == index)
        return ORTH_OK;
    orth_tensor_file_close(input->file);
    input->file = NULL;
    input->file_index = -1;
    ORTH_TRY(convert_piece_open(&input->pieces[index], input->width, MPI_COMM_SELF, &input->file));
    input->file_index = index;
    return ORTH_OK;
}

static orth_status find_entry(convert_input *input, int64_t index, const char *name,
                              const orth_tensor_entry **out)
{
    ORTH_TRY(use_file(input, index));
    *out = orth_tensor_file_find(input->file, name);
    return *out ? ORTH_OK
                : orth_fail(ORTH_ERR_DATA,
                            "%.1000s: tensor '%.200s' is gone: the file changed; start again",
                            input->pieces[index].path, name);
}

/* Rows of one piece, counted in it. */
static orth_status read_rows(convert_input *input, int64_t index, int64_t begin, int64_t end,
                             void *out)
{
    const orth_tensor_entry *entry = NULL;
    int64_t d = input->width;
    ORTH_TRY(find_entry(input, index, input->tensor_name, &entry));
    return input->type == ORTH_TENSOR_F64
               ? orth_tensor_read_f64(input->file, entry, begin * d, end * d, out)
               : orth_tensor_read_f32(input->file, entry, begin * d, end * d, out);
}

/* Rows of HDF5 as float32, by global index. */
static orth_status read_dataset(convert_input *input, int64_t begin, int64_t end, float *out)
{
    int64_t *rows = NULL;
    ORTH_TRY(ORTH_ALLOCATE(end - begin, "row indices", &rows));
    for (int64_t i = begin; i < end; i++)
        rows[i - begin] = i;
    orth_status status = orth_dataset_read(input->dataset, rows, end - begin, out);
    orth_free(rows);
    return status;
}

static orth_status read_h5(convert_input *input, int64_t index, int64_t begin, int64_t end,
                           void *out)
{
    const convert_piece *piece = &input->pieces[index];
    int64_t first = piece->first, count = (end - begin) * input->width;
    if (input->type != ORTH_TENSOR_F64)
        return read_dataset(input, first + begin, first + end, out);
    if (piece->set)
        return orth_h5_read(piece->set, begin, end, ORTH_H5_DOUBLE, out);
    /* Narrower values in the first half of the room, widened from the last one on. */
    ORTH_TRY(read_dataset(input, first + begin, first + end, out));
    for (int64_t i = count - 1; i >= 0; i--) {
        float narrow;
        memcpy(&narrow, (char *)out + 4 * i, sizeof narrow);
        double wide = narrow;
        memcpy((char *)out + 8 * i, &wide, sizeof wide);
    }
    return ORTH_OK;
}

orth_status convert_input_read(convert_input *input, int64_t begin, int64_t end, void *out)
{
    int64_t size = input->type == ORTH_TENSOR_F64 ? 8 : 4;
    for (int64_t at = begin; at < end;) {
        int64_t index = piece_of(input, at);
        const convert_piece *piece = &input->pieces[index];
        int64_t stop = piece->first + piece->rows < end ? piece->first + piece->rows : end;
        void *to = (char *)out + (at - begin) * input->width * size;
        ORTH_TRY(input->hdf5 ? read_h5(input, index, at - piece->first, stop - piece->first, to)
                             : read_rows(input, index, at - piece->first, stop - piece->first, to));
        at = stop;
    }
    return ORTH_OK;
}

orth_status convert_input_tokens(convert_input *input, int64_t begin, int64_t end, int64_t *out)
{
    for (int64_t at = begin; at < end;) {
        int64_t index = piece_of(input, at);
        const convert_piece *piece = &input->pieces[index];
        const orth_tensor_entry *entry = NULL;
        int64_t stop = piece->first + piece->rows < end ? piece->first + piece->rows : end;
        int64_t *to = out + (at - begin), from = at - piece->first, last = stop - piece->first;
        if (input->hdf5) {
            ORTH_TRY(orth_h5_read(piece->tokens, from, last, ORTH_H5_INT64, to));
        } else {
            ORTH_TRY(find_entry(input, index, input->tokens_name, &entry));
            ORTH_TRY(orth_tensor_read_i64(input->file, entry, from, last, to));
        }
        at = stop;
    }
    return ORTH_OK;
}
