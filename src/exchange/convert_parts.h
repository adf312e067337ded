#ifndef ORTHANT_SRC_EXCHANGE_CONVERT_PARTS_H
#define ORTHANT_SRC_EXCHANGE_CONVERT_PARTS_H

#include <orthant/exchange/convert.h>
#include <orthant/foreign/tensor_writer.h>
#include <orthant/io/dataset.h>
#include <orthant/io/h5.h>
#include <orthant/par/partition.h>

/* Private to src/run: the two ends of orth_convert. */

/** What says where activations are from: model, hook, layer, tokenizer, context. */
enum { CONVERT_ATTRIBUTES = 5, CONVERT_ATTRIBUTE_ROOM = 256 };
extern const char *const convert_attribute_names[CONVERT_ATTRIBUTES];
typedef char convert_attributes[CONVERT_ATTRIBUTES][CONVERT_ATTRIBUTE_ROOM]; ///< "": not there

/** One input file. */
typedef struct convert_piece {
    const char *path; ///< borrowed from the options
    int64_t first;    ///< global index of its first row
    int64_t rows;
    bool raw;                ///< elements alone, of type `type`
    orth_tensor_type type;   ///< of the activations
    orth_h5_file *h5;        ///< open only where what follows is
    orth_h5_dataset *set;    ///< where float64 is read from HDF5
    orth_h5_dataset *tokens; ///< where HDF5 has tokens
} convert_piece;

/** All inputs as one table. */
typedef struct convert_input {
    const orth_convert_options *options;
    convert_piece *pieces; ///< (options->n_input)
    int64_t rows;
    int64_t width;
    orth_tensor_type type; ///< one that holds the values of all pieces
    bool hdf5;
    bool has_tokens;
    bool has_documents, has_vocab;   ///< in one of the HDF5 files
    char *tensor_name, *tokens_name; ///< in tensor files; owned (free)
    orth_dataset *dataset;           ///< of HDF5
    convert_attributes attributes;   ///< of the first file
    orth_tensor_file *file;          ///< the piece that this rank reads now
    int64_t file_index;
} convert_input;

/** Collective; agreed. */
orth_status convert_input_open(const orth_convert_options *options, MPI_Comm comm,
                               convert_input *out);
void convert_input_close(convert_input *input);

/** Open the tensors of a piece, rows of `width` values where it is raw. Collective; agreed. */
orth_status convert_piece_open(const convert_piece *piece, int64_t width, MPI_Comm comm,
                               orth_tensor_file **out);

/** Rows [begin, end) as float64 where `type` is F64, else as float32. Local. */
orth_status convert_input_read(convert_input *input, int64_t begin, int64_t end, void *out);

/** Token ids of rows [begin, end). Local. */
orth_status convert_input_tokens(convert_input *input, int64_t begin, int64_t end, int64_t *out);

/** The file that holds a row, and the row's index in it. */
const char *convert_input_locate(const convert_input *input, int64_t row, int64_t *row_in_file);

/** What several HDF5 files say of the text of their tokens, as one file would. */
typedef struct convert_texts {
    bool vocab;        ///< all have the first one's
    int64_t documents; ///< of all files, one after the other; 0: not all have them
} convert_texts;

/**
 * Whether the texts can be joined, with a warning where they cannot. `whole`: all rows are
 * converted, without which there are no documents. Rank 0 reads, a vocabulary or two at a time and
 * documents in pieces. Collective; agreed.
 */
orth_status convert_texts_look(const convert_input *input, bool whole, MPI_Comm comm,
                               convert_texts *out);

/** Write the documents that were counted. Local: one rank calls it. */
orth_status convert_texts_write(const convert_input *input, orth_h5_dataset *documents);

/** The file that is written. */
typedef struct convert_output {
    const orth_convert_options *options;
    MPI_Comm comm;
    int64_t rows, width;
    orth_tensor_type type;
    bool has_tokens;
    convert_attributes attributes;
    const char *text_from; ///< HDF5 file whose vocabulary is copied; NULL: none
    bool whole;            ///< its documents too: the rows are the same
    int64_t n_document;    ///< offsets of several files' documents; 0: none
    bool hdf5;
    orth_tensor_format format; ///< where it is not HDF5
    orth_tensor_writer *writer;
    char *partial; ///< of HDF5; owned (free)
    orth_h5_file *h5;
    orth_h5_dataset *set, *tokens, *documents;
    void *encoded; ///< (block values) 16-bit floats
} convert_output;

/** The format that the options ask for. Local. */
orth_status convert_output_format(const orth_convert_options *options, convert_output *out);

/** Create; `block` is the most values written at a time. Collective; agreed. */
orth_status convert_output_open(convert_output *output, int64_t block);

/** Write rows [begin, end), float64 where `wide`, else float32, and their tokens (NULL: none).
 * Local. */
orth_status convert_output_write(convert_output *output, int64_t begin, int64_t end, bool wide,
                                 const void *values, const int64_t *tokens);

/** Finish when `status` is ORTH_OK, else take away what there is. Collective; agreed. */
orth_status convert_output_close(convert_output *output, orth_status status);

#endif
