/* What is written, by any number of ranks, is read back; in a .pt also by PyTorch
 * (tests/cli/test_convert.py checks .npy with NumPy).
 * ranks: 1 3 */
#include "check_mpi.h"

#include <orthant/foreign/tensor_writer.h>
#include <orthant/par/partition.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const orth_tensor_entry entries[] = {
    {.name = "flag", .kind = ORTH_ENTRY_TENSOR, .type = ORTH_TENSOR_U8, .rank = 1, .shape = {7}},
    {.name = "encoder.weight",
     .kind = ORTH_ENTRY_TENSOR,
     .type = ORTH_TENSOR_F32,
     .rank = 2,
     .shape = {301, 77}},
    {.name = "half",
     .kind = ORTH_ENTRY_TENSOR,
     .type = ORTH_TENSOR_F16,
     .rank = 2,
     .shape = {11, 5}},
    {.name = "bfloat",
     .kind = ORTH_ENTRY_TENSOR,
     .type = ORTH_TENSOR_BF16,
     .rank = 1,
     .shape = {9}},
    {.name = "double",
     .kind = ORTH_ENTRY_TENSOR,
     .type = ORTH_TENSOR_F64,
     .rank = 1,
     .shape = {40000}},
    {.name = "last", .kind = ORTH_ENTRY_TENSOR, .type = ORTH_TENSOR_I64, .rank = 1, .shape = {13}},
    {.name = "k", .kind = ORTH_ENTRY_TENSOR, .type = ORTH_TENSOR_I32, .rank = 0},
    {.name = "empty",
     .kind = ORTH_ENTRY_TENSOR,
     .type = ORTH_TENSOR_F32,
     .rank = 2,
     .shape = {0, 4}},
};
enum { TENSORS = sizeof entries / sizeof *entries, MOST = 40000 };

/* Values that every type holds exactly. */
static int64_t value(int64_t index, int64_t i)
{
    return (i * 7 + index) % 100;
}

static const char *path_of(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", orth_check_folder(), name);
    return path;
}

static int64_t count_of(const orth_tensor_entry *entry)
{
    int64_t count = 1;
    for (int i = 0; i < entry->rank; i++)
        count *= entry->shape[i];
    return count;
}

/* The part of a tensor that this rank has, in slabs of 1000. */
static bool write_part(orth_tensor_writer *writer, int64_t index, int64_t type)
{
    static float floats[1000];
    static double doubles[1000];
    static int64_t integers[1000];
    int rank, size;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    orth_range part = orth_partition(count_of(&entries[index]), size, rank);
    for (int64_t at = part.begin; at < part.end; at += 1000) {
        int64_t end = at + 1000 < part.end ? at + 1000 : part.end;
        for (int64_t i = at; i < end; i++) {
            integers[i - at] = value(index, i);
            floats[i - at] = (float)value(index, i);
            doubles[i - at] = (double)value(index, i);
        }
        bool whole = type == ORTH_TENSOR_U8 || type == ORTH_TENSOR_I64 || type == ORTH_TENSOR_I32;
        orth_status status = whole      ? orth_tensor_write_i64(writer, index, at, end, integers)
                             : rank % 2 ? orth_tensor_write_f32(writer, index, at, end, floats)
                                        : orth_tensor_write_f64(writer, index, at, end, doubles);
        if (status != ORTH_OK)
            return false;
    }
    return true;
}

static void write_file(const char *path, orth_tensor_format format, const orth_tensor_entry *more,
                       int64_t n_more)
{
    orth_tensor_entry all[TENSORS + 8];
    orth_tensor_writer *writer = NULL;
    memcpy(all, entries, sizeof entries);
    memcpy(all + TENSORS, more, (size_t)n_more * sizeof *more);
    ck_agree(orth_tensor_writer_open(path, format, all, TENSORS + n_more, MPI_COMM_WORLD,
                                     &writer) == ORTH_OK);
    bool right = true;
    for (int64_t i = 0; i < TENSORS; i++)
        right = right && write_part(writer, i, entries[i].type);
    ck_agree(right);
    ck_agree(orth_tensor_writer_commit(writer) == ORTH_OK);
    orth_tensor_writer_close(writer);
    ck_agree(access(path, R_OK) == 0);
}

static void check_file(const orth_tensor_file *const_file)
{
    static double found[MOST];
    orth_tensor_file *file = (orth_tensor_file *)const_file;
    for (int64_t index = 0; index < TENSORS; index++) {
        const orth_tensor_entry *entry = orth_tensor_file_find(file, entries[index].name);
        ck_assert_ptr_nonnull(entry);
        ck_assert_int_eq(entry->type, entries[index].type);
        ck_assert_int_eq(entry->rank, entries[index].rank);
        for (int i = 0; i < entry->rank; i++)
            ck_assert_int_eq(entry->shape[i], entries[index].shape[i]);
        ck_assert_int_eq(orth_tensor_read_f64(file, entry, 0, entry->count, found), ORTH_OK);
        for (int64_t i = 0; i < entry->count; i++)
            ck_assert_double_eq(found[i], (double)value(index, i));
    }
}

START_TEST(safetensors)
{
    const orth_tensor_entry text = {
        .name = "__metadata__/format", .kind = ORTH_ENTRY_TEXT, .text = "pt"};
    const char *path = path_of("written.safetensors");
    orth_tensor_file *file = NULL;
    write_file(path, ORTH_FORMAT_SAFETENSORS, &text, 1);
    ck_agree(orth_tensor_file_open(path, ORTH_ERR_CORRUPT, MPI_COMM_WORLD, &file) == ORTH_OK);
    ck_assert_int_eq(orth_tensor_file_format(file), ORTH_FORMAT_SAFETENSORS);
    ck_assert_int_eq(orth_tensor_file_count(file), TENSORS + 1);
    ck_assert_str_eq(orth_tensor_file_find(file, "__metadata__/format")->text, "pt");
    check_file(file);
    orth_tensor_file_close(file);
}
END_TEST

START_TEST(torch)
{
    const orth_tensor_entry more[] = {
        {.name = "activation", .kind = ORTH_ENTRY_TEXT, .text = "TopK"},
        {.name = "activation_state_dict/k", .kind = ORTH_ENTRY_INTEGER, .integer = -32},
        {.name = "large", .kind = ORTH_ENTRY_INTEGER, .integer = -((int64_t)1 << 40)},
        {.name = "activation_state_dict/in/rate", .kind = ORTH_ENTRY_REAL, .real = 2.5},
        {.name = "activation_state_dict/postact_fn", .kind = ORTH_ENTRY_TEXT, .text = "ReLU"},
        {.name = "true", .kind = ORTH_ENTRY_BOOL, .integer = 1},
        {.name = "none", .kind = ORTH_ENTRY_NONE},
    };
    const int64_t n_more = sizeof more / sizeof *more;
    const char *path = path_of("written.pt");
    orth_tensor_file *file = NULL;
    write_file(path, ORTH_FORMAT_TORCH, more, n_more);
    ck_agree(orth_tensor_file_open(path, ORTH_ERR_CORRUPT, MPI_COMM_WORLD, &file) == ORTH_OK);
    ck_assert_int_eq(orth_tensor_file_format(file), ORTH_FORMAT_TORCH);
    ck_assert_int_eq(orth_tensor_file_count(file), TENSORS + n_more);
    for (int64_t i = 0; i < n_more; i++) {
        const orth_tensor_entry *found = orth_tensor_file_find(file, more[i].name);
        ck_assert_ptr_nonnull(found);
        ck_assert_int_eq(found->kind, more[i].kind);
        ck_assert_int_eq(found->integer, more[i].integer);
        ck_assert_double_eq(found->real, more[i].real);
        if (more[i].text)
            ck_assert_str_eq(found->text, more[i].text);
    }
    check_file(file);
    orth_tensor_file_close(file);
    ck_agree(access(path_of("written.pt.data.partial"), F_OK) != 0);
    ck_agree(access(path_of("written.pt.partial"), F_OK) != 0);
}
END_TEST

/* Nothing is left, and nothing is replaced, without a commit of all elements. */
START_TEST(unfinished)
{
    const char *path = path_of("unfinished.safetensors");
    orth_tensor_writer *writer = NULL;
    ck_agree(orth_tensor_writer_open(path, ORTH_FORMAT_SAFETENSORS, entries, TENSORS,
                                     MPI_COMM_WORLD, &writer) == ORTH_OK);
    ck_agree(write_part(writer, 1, ORTH_TENSOR_F32));
    ck_agree(orth_tensor_writer_commit(writer) == ORTH_ERR_INTERNAL);
    ck_assert_ptr_nonnull(strstr(orth_error_text(), "elements were written, not"));
    orth_error_clear();
    orth_tensor_writer_close(writer);
    MPI_Barrier(MPI_COMM_WORLD);
    ck_agree(access(path, F_OK) != 0);
    ck_agree(access(path_of("unfinished.safetensors.partial"), F_OK) != 0);
}
END_TEST

static bool refused(const char *path, orth_tensor_format format, const orth_tensor_entry *entry,
                    orth_status wanted)
{
    orth_tensor_writer *writer = NULL;
    orth_status status = orth_tensor_writer_open(path, format, entry, 1, MPI_COMM_WORLD, &writer);
    orth_error_clear();
    orth_tensor_writer_close(writer);
    return status == wanted;
}

START_TEST(refusals)
{
    const orth_tensor_entry number = {.name = "n", .kind = ORTH_ENTRY_INTEGER};
    ck_agree(refused("/nowhere/a", ORTH_FORMAT_SAFETENSORS, &entries[0], ORTH_ERR_STORAGE));
    ck_agree(refused(orth_check_folder(), ORTH_FORMAT_TORCH, &entries[0], ORTH_ERR_STORAGE));
    ck_agree(refused(path_of("a"), ORTH_FORMAT_SAFETENSORS, &number, ORTH_ERR_INTERNAL));
    ck_agree(refused(path_of("a"), ORTH_FORMAT_NPY, &entries[3], ORTH_ERR_USAGE));
    ck_agree(access(path_of("a"), F_OK) != 0);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("writer");
    TCase *cases = tcase_create("writer");
    suite_add_tcase(suite, cases);
    tcase_add_test(cases, safetensors);
    tcase_add_test(cases, torch);
    tcase_add_test(cases, unfinished);
    tcase_add_test(cases, refusals);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
