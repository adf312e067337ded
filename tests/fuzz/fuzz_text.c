/* Tokens, documents and strings of every make: the input chooses types, shapes and bytes of what
 * stands beside the activations. Either it is refused with one line, or every window lies in its
 * document and file and every string is valid UTF-8. */
#include "fuzz.h"

#include <orthant/base/utf8.h>
#include <orthant/io/text.h>

#include <hdf5.h>
#include <mpi.h>
#include <stdbool.h>
#include <string.h>

enum { ROWS = 24, STRINGS_MOST = 12, LENGTH_MOST = 16 };

static char path[160];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    fuzz_start_mpi();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    snprintf(path, sizeof path, "%s/text.h5", fuzz_folder());
    return 0;
}

static hid_t integer_type(uint8_t choice)
{
    switch (choice % 8) {
    case 0:
        return H5T_STD_I32LE;
    case 1:
        return H5T_STD_I64BE;
    case 2:
        return H5T_STD_U32LE;
    case 3:
        return H5T_STD_U8LE;
    case 4:
        return H5T_STD_U64LE;
    case 5:
        return H5T_IEEE_F32LE;
    default:
        return H5T_STD_I64LE;
    }
}

static hid_t choose_space(fuzz_input *input, hsize_t usual, hsize_t *count)
{
    uint8_t kind = fuzz_byte(input) % 16;
    hsize_t extent[2] = {kind == 1 ? fuzz_byte(input) % 40 : usual, 1};
    *count = kind == 3 || kind == 4 ? 0 : extent[0];
    if (kind == 3)
        return H5Screate(H5S_SCALAR);
    if (kind == 4)
        return H5Screate(H5S_NULL);
    return H5Screate_simple(kind == 2 ? 2 : 1, extent, NULL);
}

static void put_integers(fuzz_input *input, hid_t file, const char *name, hsize_t usual)
{
    int64_t values[256] = {0};
    hsize_t count;
    uint8_t kind = fuzz_byte(input);
    if (kind % 8 == 7)
        return;
    hid_t type = integer_type(fuzz_byte(input)), space = choose_space(input, usual, &count);
    int bytes = kind % 8 == 6 ? 8 : 1;
    for (hsize_t i = 0; i < count; i++)
        values[i] = (int64_t)fuzz_word(input, bytes);
    hid_t set = H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (set >= 0 && count > 0)
        H5Dwrite(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    if (set >= 0)
        H5Dclose(set);
    H5Sclose(space);
}

static void put_strings(fuzz_input *input, hid_t file)
{
    char bytes[256 * LENGTH_MOST], *texts[256];
    uint8_t kind = fuzz_byte(input), size = 1 + fuzz_byte(input) % LENGTH_MOST;
    hsize_t count;
    if (kind % 8 == 7)
        return;
    hid_t space = choose_space(input, 1 + fuzz_byte(input) % STRINGS_MOST, &count);
    hid_t type = H5Tcopy(H5T_C_S1);
    bool variable = kind & 1;
    H5Tset_size(type, variable ? H5T_VARIABLE : size);
    H5Tset_strpad(type, (H5T_str_t)(kind / 8 % 3));
    H5Tset_cset(type, kind & 2 ? H5T_CSET_UTF8 : H5T_CSET_ASCII);
    memset(bytes, 0, sizeof bytes);
    for (hsize_t i = 0; i < count; i++) {
        texts[i] = bytes + i * size;
        for (int j = 0; j < size - variable; j++)
            texts[i][j] = (char)fuzz_byte(input);
    }
    hid_t set = H5Dcreate2(file, "vocab", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    /* Strings that were never written are lengths of nothing. */
    if (set >= 0 && count > 0 && !(kind & 4))
        H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, variable ? (void *)texts : bytes);
    if (set >= 0)
        H5Dclose(set);
    H5Tclose(type);
    H5Sclose(space);
}

static void make_file(fuzz_input *input)
{
    static const float x[ROWS * 2];
    hsize_t extent[2] = {ROWS, 2};
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t space = H5Screate_simple(2, extent, NULL);
    hid_t set = H5Dcreate2(file, "activations", H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT,
                           H5P_DEFAULT);
    fuzz_check(H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, x) >= 0);
    H5Dclose(set);
    H5Sclose(space);
    put_integers(input, file, "tokens", ROWS);
    put_integers(input, file, "documents", 1 + fuzz_byte(input) % 6);
    put_strings(input, file);
    H5Fclose(file);
    H5Eclear2(H5E_DEFAULT);
}

static void check_context(const orth_context *c, int64_t row, int64_t before, int64_t after)
{
    fuzz_check(c->row_in_file == row && c->document < ROWS + 1);
    if (c->count == 0)
        return;
    fuzz_check(c->place >= 0 && c->place <= before && c->place < c->count);
    fuzz_check(c->count - c->place - 1 <= after && row - c->place >= 0);
    fuzz_check(row - c->place + c->count <= ROWS);
    for (int64_t i = 0; i < c->count; i++) {
        char again[3 * 4 * LENGTH_MOST];
        int64_t length = c->string[i] ? (int64_t)strlen(c->string[i]) : 0;
        fuzz_check(length <= 3 * LENGTH_MOST);
        if (c->string[i])
            fuzz_check(orth_utf8_repair(c->string[i], length, again) == length &&
                       memcmp(again, c->string[i], (size_t)length) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    const char *files[] = {path};
    orth_dataset *table = NULL;
    orth_text *text = NULL;
    make_file(&input);
    fuzz_check(orth_dataset_open(files, 1, "activations", MPI_COMM_SELF, &table) == ORTH_OK);
    orth_status status = orth_text_open(table, &text);
    fuzz_outcome(status, ORTH_ERR_DATA);
    for (int64_t row = 0; status == ORTH_OK && row < ROWS; row++) {
        orth_context context;
        int64_t before = row % 5, after = row % 7;
        fuzz_check(orth_text_context(text, row, before, after, &context) == ORTH_OK);
        fuzz_check(orth_error_status() == ORTH_OK);
        check_context(&context, row, before, after);
    }
    orth_text_close(text);
    orth_dataset_close(table);
    return 0;
}
