/* Files of PyTorch (tests/data/foreign, made by make.py there) are read as PyTorch means them.
 * ranks: 1 3 */
#include "check_mpi.h"

#include <orthant/foreign/tensor_file.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILES ORTH_TEST_DATA "/foreign/"

static orth_tensor_file *opened(const char *path)
{
    orth_tensor_file *file = NULL;
    orth_status status = orth_tensor_file_open(path, ORTH_ERR_CORRUPT, MPI_COMM_WORLD, &file);
    ck_assert_msg(status == ORTH_OK, "%s", orth_error_text());
    ck_agree(file != NULL);
    return file;
}

static const orth_tensor_entry *entry_of(const orth_tensor_file *file, const char *name)
{
    const orth_tensor_entry *entry = orth_tensor_file_find(file, name);
    ck_assert_msg(entry != NULL, "no %s", name);
    return entry;
}

/* The values, by every range of elements. */
static void check_values(orth_tensor_file *file, const char *name, const char *shape,
                         const double *wanted, int64_t count)
{
    char text[192];
    const orth_tensor_entry *entry = entry_of(file, name);
    ck_assert_str_eq(orth_tensor_shape_text(entry, text), shape);
    ck_assert_int_eq(entry->count, count);
    float found[32];
    double precise[32];
    for (int64_t width = 1; width <= count; width++)
        for (int64_t begin = 0; begin + width <= count; begin++) {
            ck_assert_int_eq(orth_tensor_read_f32(file, entry, begin, begin + width, found),
                             ORTH_OK);
            ck_assert_int_eq(orth_tensor_read_f64(file, entry, begin, begin + width, precise),
                             ORTH_OK);
            for (int64_t i = 0; i < width; i++) {
                ck_assert_double_eq((double)found[i], wanted[begin + i]);
                ck_assert_double_eq(precise[i], wanted[begin + i]);
            }
        }
}

static void check_tensors(orth_tensor_file *file)
{
    double w[12], t[12], cube[24];
    for (int i = 0; i < 12; i++) {
        int place = i % 3 * 4 + i / 3;
        w[i] = i / 8.0;
        t[i] = place / 8.0;
    }
    for (int i = 0; i < 24; i++) { /* [4][2][3] of [2][3][4] */
        int place = i / 6 + 12 * (i / 3 % 2) + 4 * (i % 3);
        cube[i] = place;
    }
    check_values(file, "w", "[3, 4]", w, 12);
    check_values(file, "transposed", "[4, 3]", t, 12);
    check_values(file, "cube", "[4, 2, 3]", cube, 24);
    check_values(file, "part", "[2, 2]", (double[]){5 / 8.0, 6 / 8.0, 9 / 8.0, 10 / 8.0}, 4);
    check_values(file, "expanded", "[4, 3]",
                 (double[]){.5, 1.5, 2.5, .5, 1.5, 2.5, .5, 1.5, 2.5, .5, 1.5, 2.5}, 12);
    check_values(file, "parameter", "[4]", w, 4);
    check_values(file, "empty", "[0, 4]", w, 0);
    check_values(file, "scalar", "[]", (double[]){7}, 1);
    check_values(file, "activation_state_dict/deep/1", "[4]", w, 4);
}

static void check_types(orth_tensor_file *file)
{
    static const struct {
        const char *name;
        orth_tensor_type type;
    } types[] = {
        {"float64", ORTH_TENSOR_F64},   {"float32", ORTH_TENSOR_F32}, {"float16", ORTH_TENSOR_F16},
        {"bfloat16", ORTH_TENSOR_BF16}, {"int64", ORTH_TENSOR_I64},   {"int32", ORTH_TENSOR_I32},
        {"int16", ORTH_TENSOR_I16},     {"int8", ORTH_TENSOR_I8},     {"uint8", ORTH_TENSOR_U8},
        {"bool", ORTH_TENSOR_BOOL},     {"uint16", ORTH_TENSOR_U16},  {"uint32", ORTH_TENSOR_U32},
        {"uint64", ORTH_TENSOR_U64}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        bool truth = types[i].type == ORTH_TENSOR_BOOL;
        double values[5] = {0, 1, truth ? 1 : 2, truth ? 1 : 3, truth ? 1 : 100};
        int64_t integers[5];
        ck_assert_int_eq(entry_of(file, types[i].name)->type, types[i].type);
        check_values(file, types[i].name, "[5]", values, 5);
        orth_status status =
            orth_tensor_read_i64(file, entry_of(file, types[i].name), 0, 5, integers);
        if (i < 4) {
            ck_assert_int_eq(status, ORTH_ERR_CORRUPT);
            ck_assert_ptr_nonnull(strstr(orth_error_text(), "cannot be read as integers"));
            orth_error_clear();
        } else {
            ck_assert_int_eq(status, ORTH_OK);
            ck_assert_int_eq(integers[4], (int64_t)values[4]);
        }
    }
}

static void check_values_of_keys(const orth_tensor_file *file)
{
    ck_assert_int_eq(entry_of(file, "k")->kind, ORTH_ENTRY_INTEGER);
    ck_assert_int_eq(entry_of(file, "k")->integer, 32);
    ck_assert_int_eq(entry_of(file, "large")->integer, (int64_t)1 << 40);
    ck_assert_int_eq(entry_of(file, "negative")->integer, -5);
    ck_assert_double_eq(entry_of(file, "rate")->real, 2.5);
    ck_assert_int_eq(entry_of(file, "flag")->kind, ORTH_ENTRY_BOOL);
    ck_assert_int_eq(entry_of(file, "flag")->integer, 1);
    ck_assert_int_eq(entry_of(file, "none")->kind, ORTH_ENTRY_NONE);
    ck_assert_str_eq(entry_of(file, "activation")->text, "TopK");
    ck_assert_int_eq(entry_of(file, "activation_state_dict/k")->integer, 32);
    ck_assert_str_eq(entry_of(file, "activation_state_dict/postact_fn")->text, "ReLU");
    ck_assert_int_eq(entry_of(file, "activation_state_dict/deep/0")->integer, 1);
    ck_assert_str_eq(entry_of(file, "3")->text, "an integer key");
    ck_assert_str_eq(entry_of(file, "device")->text, "cpu");
    ck_assert_int_eq(entry_of(file, "size/1")->integer, 4);
    ck_assert_str_eq(orth_tensor_file_entry(file, 0)->name, "w");
    ck_assert_ptr_null(orth_tensor_file_find(file, "x"));
}

/* A number as a tensor of one element. */
static void check_numbers(orth_tensor_file *file)
{
    int64_t k = 0;
    float rate = 0;
    ck_assert_int_eq(orth_tensor_read_i64(file, entry_of(file, "k"), 0, 1, &k), ORTH_OK);
    ck_assert_int_eq(k, 32);
    ck_assert_int_eq(orth_tensor_read_f32(file, entry_of(file, "rate"), 0, 1, &rate), ORTH_OK);
    ck_assert_double_eq((double)rate, 2.5);
    ck_assert_int_eq(orth_tensor_read_i64(file, entry_of(file, "rate"), 0, 1, &k),
                     ORTH_ERR_CORRUPT);
    orth_error_clear();
    ck_assert_int_eq(orth_tensor_read_f32(file, entry_of(file, "activation"), 0, 1, &rate),
                     ORTH_ERR_CORRUPT);
    orth_error_clear();
}

START_TEST(state)
{
    static const char *const files[] = {FILES "state-2.pt", FILES "state-4.pt"};
    orth_tensor_file *file = opened(files[_i]);
    ck_assert_int_eq(orth_tensor_file_format(file), ORTH_FORMAT_TORCH);
    check_tensors(file);
    check_types(file);
    check_values_of_keys(file);
    check_numbers(file);
    orth_tensor_file_close(file);
}
END_TEST

START_TEST(other_roots)
{
    orth_tensor_file *file = opened(FILES "module.pt");
    ck_assert_int_eq(orth_tensor_file_count(file), 2);
    check_values(file, "weight", "[3, 2]", (double[]){0, 1, 2, 3, 4, 5}, 6);
    check_values(file, "bias", "[3]", (double[]){-1, 0, 1}, 3);
    orth_tensor_file_close(file);
    double steps[24];
    for (int i = 0; i < 24; i++)
        steps[i] = i / 4.0;
    file = opened(FILES "tensor.pt");
    ck_assert_int_eq(orth_tensor_file_count(file), 1);
    check_values(file, "", "[5, 4]", steps, 20);
    orth_tensor_file_close(file);
    file = opened(FILES "cache.pt");
    check_values(file, "states", "[2, 3, 4]", steps, 24);
    check_values(file, "input_ids", "[2, 3]", (double[]){0, 1, 2, 3, 4, 5}, 6);
    orth_tensor_file_close(file);
}
END_TEST

/* ---- what is refused ---- */

static const char *edited(const char *name, const char *from, int64_t cut, const char *old,
                          const char *new)
{
    static char path[256], bytes[16384];
    int rank;
    bool written = true;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    snprintf(path, sizeof path, "%s/%s", orth_check_folder(), name);
    if (rank == 0) {
        FILE *in = fopen(from, "rb"), *out = fopen(path, "wb");
        size_t length = in ? fread(bytes, 1, sizeof bytes, in) : 0, size = old ? strlen(old) : 0;
        for (size_t i = 0; size && i + size <= length; i++)
            if (memcmp(bytes + i, old, size) == 0)
                memcpy(bytes + i, new, size);
        length -= (size_t)cut;
        written = length > 0 && out && fwrite(bytes, 1, length, out) == length;
        written = out && fclose(out) == 0 && written;
        if (in)
            fclose(in);
    }
    ck_agree(written);
    return path;
}

static bool refused(const char *path, orth_status fault, orth_status wanted, const char *error)
{
    int rank;
    orth_tensor_file *file = NULL;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    orth_status status = orth_tensor_file_open(path, fault, MPI_COMM_WORLD, &file);
    bool right = status == wanted && !file && (rank != 0 || strstr(orth_error_text(), error));
    if (!right)
        printf("%s: %d, %s\n", path, status, orth_error_text());
    orth_error_clear();
    orth_tensor_file_close(file);
    return right;
}

START_TEST(refusals)
{
    const orth_status corrupt = ORTH_ERR_CORRUPT, data = ORTH_ERR_DATA;
    ck_agree(refused(FILES "object.pt", corrupt, corrupt, "Python object pathlib"));
    ck_agree(refused(FILES "object.pt", data, data, "runs no code"));
    ck_agree(refused(FILES "old.pt", corrupt, corrupt, "PyTorch before 1.6"));
    ck_agree(refused(FILES "make.py", data, data, "is neither safetensors nor"));
    ck_agree(refused("/nowhere/a.pt", corrupt, ORTH_ERR_USAGE, "cannot be opened"));
    ck_agree(refused("/nowhere/a.pt", data, data, "cannot be opened"));
    const char *cut = edited("cut.pt", FILES "tensor.pt", 30, NULL, NULL);
    ck_agree(refused(cut, corrupt, corrupt, "cut off or damaged"));
    const char *big = edited("big.pt", FILES "tensor.pt", 0, "little", "bigbig");
    ck_agree(refused(big, corrupt, corrupt, "byte"));
    /* In both places where a zip names its member. */
    const char *lost = edited("lost.pt", FILES "tensor.pt", 0, "tensor/data/0", "tensor/data/9");
    ck_agree(refused(lost, corrupt, corrupt, "the member data/0, are missing"));
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("torch");
    TCase *cases = tcase_create("torch");
    suite_add_tcase(suite, cases);
    tcase_add_loop_test(cases, state, 0, 2);
    tcase_add_test(cases, other_roots);
    tcase_add_test(cases, refusals);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
