/* The table of contents of safetensors files: what is accepted, and how the rest is refused.
 * ranks: 1 3 */
#include "check_mpi.h"

#include <orthant/foreign/safetensors.h>
#include <orthant/foreign/tensor_file.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A file in memory: the header's length, the header, `data` bytes of zeros. */
typedef struct image {
    char bytes[2048];
    int64_t length;
} image;

static image image_of(const char *header, int64_t data)
{
    image out = {.length = 8 + (int64_t)strlen(header) + data};
    uint64_t size = strlen(header);
    ck_assert_int_le(out.length, (int64_t)sizeof out.bytes);
    for (int i = 0; i < 8; i++)
        out.bytes[i] = (char)(size >> (8 * i));
    memcpy(out.bytes + 8, header, size);
    return out;
}

static orth_status parse(const char *header, int64_t data, orth_safetensors *out)
{
    image file = image_of(header, data);
    return orth_safetensors_parse(file.bytes, file.length, file.length, "m.safetensors", out);
}

#define TENSOR(name, type, shape, begin, end)                                                      \
    "\"" name "\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end  \
    "]}"

/* The order of the header is not that of the bytes, spaces fill the header up to 8 bytes, an entry
 * may hold more than Orthant knows. */
static const char GOOD[] =
    "{\"__metadata__\":{\"format\":\"pt\"}," TENSOR("b_enc", "F32", "[3]", 24, 36) "," TENSOR(
        "W_enc", "F16", "[3, 4]", 0,
        24) "," TENSOR("empty", "I64", "[0,7]", 36,
                       36) ","
                           "\"k\":{\"dtype\":\"I32\",\"shape\":[],\"data_offsets\":[36,40],"
                           "\"more\":[1.5]}}      ";

static void check_good(const orth_safetensors *file, int64_t data_begin)
{
    ck_assert_ptr_nonnull(file->metadata);
    ck_assert_int_eq(file->count, 4);
    const orth_tensor *w = orth_safetensors_find(file, "W_enc");
    ck_assert_ptr_eq(w, &file->tensors[0]);
    ck_assert_int_eq(w->type, ORTH_TENSOR_F16);
    ck_assert_int_eq(w->rank, 2);
    ck_assert_int_eq(w->shape[0], 3);
    ck_assert_int_eq(w->shape[1], 4);
    ck_assert_int_eq(w->shape[2], 1);
    ck_assert_int_eq(w->begin, data_begin);
    ck_assert_int_eq(w->end, data_begin + 24);
    const orth_tensor *k = orth_safetensors_find(file, "k");
    ck_assert_int_eq(k->rank, 0);
    ck_assert_int_eq(k->begin, data_begin + 36);
    ck_assert_int_eq(k->end, data_begin + 40);
    ck_assert_ptr_nonnull(orth_safetensors_find(file, "empty"));
    ck_assert_ptr_null(orth_safetensors_find(file, "__metadata__"));
}

START_TEST(a_good_one)
{
    orth_safetensors file = {0};
    ck_assert_int_eq(parse(GOOD, 40, &file), ORTH_OK);
    check_good(&file, 8 + (int64_t)strlen(GOOD));
    orth_safetensors_free(&file);
    ck_assert_int_eq(parse("{}", 0, &file), ORTH_OK);
    ck_assert_int_eq(file.count, 0);
    orth_safetensors_free(&file);
    ck_assert_str_eq(orth_tensor_type_name(ORTH_TENSOR_BF16), "BF16");
    ck_assert_int_eq(orth_tensor_type_size(ORTH_TENSOR_F8_E5M2), 1);
    ck_assert_int_eq(orth_tensor_type_size(ORTH_TENSOR_U64), 8);
}
END_TEST

#define A TENSOR("a", "F32", "[2]", 0, 8)
#define REST "\"shape\":[2],\"data_offsets\":[0,8]}}"

static const struct {
    const char *header;
    int64_t data;
    const char *error;
} refused[] = {
    {"", 0, "malformed header, line 1, column 1: expected '{'"},
    {" {}", 0, "malformed header, line 1, column 1: expected '{'"},
    {"[]", 0, "malformed header, line 1, column 1: expected '{'"},
    {"{\"a\":\n  {,}}", 0, "malformed header, line 2, column 4: "},
    {"{} x", 0, "malformed header, line 1, column 4: end of file expected"},
    {"{\"\xff\":1}", 0, "malformed header, line 1, column 2: unable to decode byte 0xff"},
    {"{\"a\\u0000\":1}", 0, "malformed header, line 1, column 10: "},
    {"{" A "," A "}", 8, "duplicate object key"},
    {"{\"a\":1}", 0, "tensor 'a': its entry is no object"},
    {"{\"a\":{" REST, 8, "tensor 'a': dtype is missing or no text"},
    {"{\"a\":{\"dtype\":32," REST, 8, "tensor 'a': dtype is missing or no text"},
    {"{\"a\":{\"dtype\":\"f32\"," REST, 8, "tensor 'a': dtype 'f32' is unknown"},
    {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, "shape is missing"},
    {"{" TENSOR("a", "F32", "[2.0]", 0, 8) "}", 8, "shape holds what is no length"},
    {"{" TENSOR("a", "F32", "[-2,-1]", 0, 8) "}", 8, "shape holds what is no length"},
    {"{" TENSOR("a", "F32", "[1,1,1,1,1,1,1,1,2]", 0, 8) "}", 8, "more than 8 dimensions"},
    {"{" TENSOR("a", "F32", "[4611686018427387904,4,2]", 0, 8) "}", 8, "larger than 64 bits"},
    {"{" TENSOR("a", "F32", "[9223372036854775808]", 0, 8) "}", 8, "too big integer"},
    {"{" TENSOR("a", "F32", "[3]", 0, 8) "}", 8, "8 bytes, its type and shape ask for 12"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "data_offsets are missing"},
    {"{" TENSOR("a", "F32", "[2]", 0, 8.0) "}", 8, "data_offsets are missing or no two integers"},
    {"{" TENSOR("a", "F32", "[2]", -8, 0) "}", 8, "-8 to 0 are not within the 8 bytes"},
    {"{" TENSOR("a", "F32", "[2]", 8, 0) "}", 8, "8 to 0 are not within the 8 bytes"},
    {"{" TENSOR("a", "F32", "[2]", 4, 12) "}", 8, "4 to 12 are not within the 8 bytes"},
    {"{" A "," TENSOR("b", "U8", "[6]", 6, 12) "}", 12, "tensors 'a' and 'b' overlap at byte "},
    {"{" A "," TENSOR("b", "F32", "[2]", 0, 8) "}", 8, "tensors 'a' and 'b' overlap at byte "},
    {"{" A "," TENSOR("b", "U8", "[0]", 4, 4) "}", 8, "tensors 'a' and 'b' overlap at byte "},
    {"{" A "," TENSOR("b", "U8", "[2]", 9, 11) "}", 11, "before tensor 'b', belong to none"},
    {"{" A "}", 9, "at the end, belong to no tensor"},
    {"{}", 1, "at the end, belong to no tensor"},
    {"{\"__metadata__\":{\"n\":1}," A "}", 8, "__metadata__ is no object of texts"},
    {"{\"__metadata__\":[]," A "}", 8, "__metadata__ is no object of texts"},
};

START_TEST(bad_headers)
{
    orth_safetensors file = {0};
    ck_assert_int_eq(parse(refused[_i].header, refused[_i].data, &file), ORTH_ERR_CORRUPT);
    ck_assert_msg(strstr(orth_error_text(), refused[_i].error) != NULL, "%s", orth_error_text());
    ck_assert_ptr_nonnull(strstr(orth_error_text(), "m.safetensors: "));
    ck_assert_ptr_null(file.tensors);
    orth_error_clear();
}
END_TEST

START_TEST(bad_lengths)
{
    static const struct {
        const char *prefix;
        int64_t length;
        const char *error;
    } cases[] = {
        {"", 0, "0 bytes are too short"},
        {"\2\0\0\0\0\0\0", 7, "7 bytes are too short"},
        {"\3\0\0\0\0\0\0\0{}", 10, "a header of 3 bytes in a file of 10: cut off"},
        {"\1\xe1\xf5\5\0\0\0\0{}", 10, "a header of 100000001 bytes, at most 100000000"},
        {"\377\377\377\377\377\377\377\377{}", 10, "18446744073709551615 bytes, at most"},
    };
    orth_safetensors file = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t n = cases[i].length;
        ck_assert_int_eq(orth_safetensors_parse(cases[i].prefix, n, n, "m.safetensors", &file),
                         ORTH_ERR_CORRUPT);
        ck_assert_msg(strstr(orth_error_text(), cases[i].error) != NULL, "%s", orth_error_text());
        orth_error_clear();
    }
}
END_TEST

/* ---- from files ---- */

static const char *put_file(const char *name, const image *file)
{
    static char path[256];
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    snprintf(path, sizeof path, "%s/%s", orth_check_folder(), name);
    bool written = true;
    if (rank == 0) {
        FILE *out = fopen(path, "wb");
        written = out && fwrite(file->bytes, 1, (size_t)file->length, out) == (size_t)file->length;
        written = out && fclose(out) == 0 && written;
    }
    ck_agree(written);
    return path;
}

/* The text of an agreed error is on the ranks that found it: on rank 0 at least. */
static bool refused_with(const char *path, orth_status wanted, const char *error)
{
    int rank;
    orth_tensor_file *file = NULL;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    orth_status status = orth_tensor_file_open(path, ORTH_ERR_CORRUPT, MPI_COMM_WORLD, &file);
    bool right =
        status == wanted && !file && (rank != 0 || strstr(orth_error_text(), error) != NULL);
    orth_error_clear();
    return right;
}

START_TEST(on_all_ranks)
{
    image good = image_of(GOOD, 40);
    orth_tensor_file *file = NULL;
    ck_agree(orth_tensor_file_open(put_file("good", &good), ORTH_ERR_CORRUPT, MPI_COMM_WORLD,
                                   &file) == ORTH_OK);
    ck_assert_int_eq(orth_tensor_file_format(file), ORTH_FORMAT_SAFETENSORS);
    ck_assert_int_eq(orth_tensor_file_count(file), 5);
    ck_assert_str_eq(orth_tensor_file_find(file, "__metadata__/format")->text, "pt");
    ck_assert_int_eq(orth_tensor_file_find(file, "W_enc")->count, 12);
    orth_tensor_file_close(file);
    good.length -= 1;
    ck_agree(refused_with(put_file("cut", &good), ORTH_ERR_CORRUPT, "36 to 40 are not within"));
    good.length = 100;
    ck_agree(refused_with(put_file("cut", &good), ORTH_ERR_CORRUPT, "in a file of 100: cut off"));
    good.length = 0;
    ck_agree(
        refused_with(put_file("empty", &good), ORTH_ERR_CORRUPT, "is neither safetensors nor "));
    ck_agree(refused_with("/nowhere/m", ORTH_ERR_USAGE, "/nowhere/m: cannot be opened: "));
    ck_agree(refused_with(orth_check_folder(), ORTH_ERR_USAGE, ": is no plain file"));
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("safetensors");
    TCase *cases = tcase_create("safetensors");
    suite_add_tcase(suite, cases);
    tcase_add_test(cases, a_good_one);
    tcase_add_loop_test(cases, bad_headers, 0, (int)(sizeof refused / sizeof *refused));
    tcase_add_test(cases, bad_lengths);
    tcase_add_test(cases, on_all_ranks);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
