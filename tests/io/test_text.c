/* Tokens, documents and strings behind a table of files: windows, strings of every kind, more files
 * than are open at a time, and what is refused.
 * ranks: 1 3
 */
#include <orthant/io/h5_strings.h>
#include <orthant/io/text.h>

#include "check_mpi.h"

#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 20, FILES = 40, WORDS = 9 };

static const char *const words[WORDS] = {"zero",  "one", "",  "three  ", "f\xc3\xbc nf",
                                         "\xff!", "six", "7", "eight"};

static const char *path_of(int file)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/text-%d.h5", orth_check_folder(), file);
    return path;
}

static void put(hid_t file, const char *name, hid_t type, hsize_t count, const void *data)
{
    hid_t space = H5Screate_simple(1, &count, NULL);
    hid_t set = H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data);
    H5Dclose(set);
    H5Sclose(space);
}

static hid_t string_type(size_t size, H5T_str_t pad)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, size);
    H5Tset_strpad(type, pad);
    H5Tset_cset(type, size == H5T_VARIABLE ? H5T_CSET_UTF8 : H5T_CSET_ASCII);
    return type;
}

/* Kinds: 0 variable strings, 1 fixed with NULs, 2 fixed with blanks, 3 none. */
static void put_vocab(hid_t file, int kind)
{
    enum { SIZE = 8 };
    char fixed[WORDS * SIZE];
    hid_t type = string_type(kind == 0 ? H5T_VARIABLE : SIZE,
                             kind == 2 ? H5T_STR_SPACEPAD : H5T_STR_NULLPAD);
    memset(fixed, kind == 2 ? ' ' : 0, sizeof fixed);
    for (int i = 0; i < WORDS; i++)
        memcpy(fixed + i * SIZE, words[i], strlen(words[i]));
    if (kind < 3)
        put(file, "vocab", type, WORDS, kind == 0 ? (const void *)words : fixed);
    H5Tclose(type);
}

static hid_t create(int index)
{
    static float x[ROWS * 2];
    hsize_t extent[2] = {ROWS, 2};
    hid_t file = H5Fcreate(path_of(index), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t space = H5Screate_simple(2, extent, NULL);
    hid_t set = H5Dcreate2(file, "activations", H5T_NATIVE_FLOAT, space, H5P_DEFAULT, H5P_DEFAULT,
                           H5P_DEFAULT);
    H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, x);
    H5Dclose(set);
    H5Sclose(space);
    return file;
}

/* Token `row` of file `index` is 100 index + row modulo WORDS + 1: one id has no string. */
static int64_t token_of(int index, int64_t row)
{
    return (7 * index + row) % (WORDS + 1);
}

static void write_files(void)
{
    static const int64_t documents[] = {0, 4, 4, 15};
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    for (int i = 0; rank == 0 && i < FILES; i++) {
        int64_t tokens[ROWS];
        hid_t file = create(i);
        for (int64_t row = 0; row < ROWS; row++)
            tokens[row] = token_of(i, row);
        if (i % 5 != 4)
            put(file, "tokens", H5T_NATIVE_INT64, ROWS, tokens);
        if (i % 2 == 0)
            put(file, "documents", H5T_NATIVE_INT64, 4, documents);
        put_vocab(file, i % 4);
        H5Fclose(file);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

static orth_dataset *open_table(int first, int count)
{
    static char paths[FILES][256];
    const char *list[FILES];
    orth_dataset *dataset = NULL;
    for (int i = 0; i < count; i++) {
        snprintf(paths[i], sizeof paths[i], "%s", path_of(first + i));
        list[i] = paths[i];
    }
    ck_agree(orth_dataset_open(list, count, "activations", MPI_COMM_WORLD, &dataset) == ORTH_OK);
    return dataset;
}

static bool same_string(const char *found, int64_t token, int kind)
{
    if (kind == 3 || token >= WORDS)
        return !found;
    const char *wanted = words[token];
    if (token == 5)
        wanted = "\xef\xbf\xbd!";
    if (token == 3 && kind == 2)
        wanted = "three";
    return found && strcmp(found, wanted) == 0;
}

static bool check_window(orth_text *text, int64_t row, int64_t before, int64_t after)
{
    static const int64_t starts[] = {0, 4, 15, ROWS}, names[] = {0, 2, 3};
    int index = (int)(row / ROWS);
    int64_t in_file = row % ROWS, begin = 0, end = ROWS, document = -1;
    orth_context c;
    if (orth_text_context(text, row, before, after, &c) != ORTH_OK)
        return false;
    for (int i = 0; index % 2 == 0 && i < 3; i++)
        if (in_file >= starts[i] && in_file < starts[i + 1]) {
            document = names[i];
            begin = starts[i];
            end = starts[i + 1];
        }
    begin = begin > in_file - before ? begin : in_file - before;
    end = end < in_file + after + 1 ? end : in_file + after + 1;
    bool good =
        c.row_in_file == in_file && c.document == document && strcmp(c.file, path_of(index)) == 0;
    if (index % 5 == 4)
        return good && c.count == 0;
    good = good && c.count == end - begin && c.place == in_file - begin;
    for (int64_t i = 0; good && i < c.count; i++)
        good = c.token[i] == token_of(index, begin + i) &&
               same_string(c.string[i], c.token[i], index % 4);
    return good;
}

/* One rank alone reads; files come in an order that opens each of them again and again. */
START_TEST(windows)
{
    orth_text *text = NULL;
    int rank;
    write_files();
    orth_dataset *dataset = open_table(0, FILES);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    bool good = true;
    if (rank == 0) {
        ck_assert_int_eq(orth_text_open(dataset, &text), ORTH_OK);
        ck_assert(orth_text_has_tokens(text));
        for (int64_t i = 0; good && i < FILES * ROWS; i++)
            good = check_window(text, i * 37 % (FILES * ROWS), i % 7, i % 5);
        good = good && check_window(text, 3, 100, 1000) && check_window(text, 25, 1000, 100);
        orth_text_close(text);
    }
    ck_agree(good);
    orth_dataset_close(dataset);
}
END_TEST

/* Strings that cannot be read: ids alone, and no error is left. */
START_TEST(unreadable_strings)
{
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (rank == 0) {
        hid_t file = create(0), type = string_type(1 << 20, H5T_STR_NULLPAD);
        int64_t tokens[ROWS] = {1};
        hsize_t count = 3;
        hid_t space = H5Screate_simple(1, &count, NULL);
        put(file, "tokens", H5T_NATIVE_INT64, ROWS, tokens);
        H5Dclose(H5Dcreate2(file, "vocab", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
        H5Sclose(space);
        H5Tclose(type);
        H5Fclose(file);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    orth_dataset *dataset = open_table(0, 1);
    orth_text *text = NULL;
    orth_context c;
    ck_agree(orth_text_open(dataset, &text) == ORTH_OK);
    ck_agree(orth_text_context(text, 0, 0, 0, &c) == ORTH_OK);
    ck_agree(c.count == 1 && c.token[0] == 1 && !c.string[0]);
    ck_agree(orth_error_status() == ORTH_OK);
    orth_text_close(text);
    orth_dataset_close(dataset);
}
END_TEST

/* What is more than was allowed. */
START_TEST(bounds)
{
    orth_h5_file *file = NULL;
    orth_h5_dataset *set = NULL;
    orth_h5_strings strings;
    write_files();
    for (int kind = 0; kind < 3; kind++) {
        ck_agree(orth_h5_open(path_of(kind), ORTH_H5_READ_INDEPENDENT, ORTH_ERR_DATA,
                              MPI_COMM_WORLD, &file) == ORTH_OK);
        ck_agree(orth_h5_dataset_open(file, "vocab", &set) == ORTH_OK);
        ck_agree(orth_h5_holds_strings(set));
        ck_agree(orth_h5_strings_read(set, WORDS - 1, 1 << 20, &strings) == ORTH_ERR_DATA);
        ck_agree(strstr(orth_error_text(), "at most 8 strings"));
        orth_error_clear();
        ck_agree(orth_h5_strings_read(set, WORDS, 20, &strings) == ORTH_ERR_DATA);
        ck_agree(strstr(orth_error_text(), "'vocab'"));
        orth_error_clear();
        ck_agree(orth_h5_strings_read(set, WORDS, 1 << 20, &strings) == ORTH_OK);
        ck_agree(strings.count == WORDS && !strcmp(strings.text + strings.start[8], "eight"));
        orth_h5_strings_free(&strings);
        orth_h5_dataset_close(set);
        ck_agree(orth_h5_close(file) == ORTH_OK);
    }
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("text");
    TCase *tests = tcase_create("text");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, windows);
    tcase_add_test(tests, unreadable_strings);
    tcase_add_test(tests, bounds);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
