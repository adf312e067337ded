/* Checkpoints that are well-formed HDF5 but not what Orthant wrote: the input changes attributes
 * and datasets of a valid one, with checksums that fit where it says so. Each is refused with one
 * line or read as what it is. */
#include "model.h"

#include <orthant/base/crc32c.h>

#include <hdf5.h>
#include <mpi.h>
#include <string.h>

static char path[160], other[160];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    size_t size;
    (void)argc;
    (void)argv;
    fuzz_start_mpi();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    snprintf(path, sizeof path, "%s/a.h5", fuzz_folder());
    snprintf(other, sizeof other, "%s/other.h5", fuzz_folder());
    const char *bytes = model_checkpoint(&size);
    model_put(other, bytes, size);
    return 0;
}

static const char *choose_object(fuzz_input *input)
{
    static const char *const names[] = {"/config",
                                        "/data_fingerprint",
                                        "/state/cursor",
                                        "/state/mse_scale",
                                        "/state/input_scale",
                                        "/state/steps_since_fired",
                                        "/model/W_enc",
                                        "/model/W_dec",
                                        "/model/b_enc",
                                        "/model/b_dec",
                                        "/optimizer/m/W_enc",
                                        "/optimizer/v/b_dec",
                                        "/ema/W_dec",
                                        "/optimizer",
                                        "/ema",
                                        "/model",
                                        "/state",
                                        "/checksum/config",
                                        "/checksum/model/W_enc",
                                        "/checksum/state/cursor",
                                        "/checksum/model",
                                        "/checksum"};
    return names[fuzz_byte(input) % (sizeof names / sizeof *names)];
}

static const char *choose_attribute(fuzz_input *input)
{
    static const char *const names[] = {
        "format",   "format_version", "program_version", "step",    "tokens_seen", "seed",
        "n_latent", "d_model",        "ranks",           "n_group", "n_shard",     "threads",
        "isa",      "libraries",      "selection"};
    return names[fuzz_byte(input) % (sizeof names / sizeof *names)];
}

/* ---- attributes ---- */

static void write_attribute(hid_t file, const char *name, hid_t type, hid_t space,
                            const void *value)
{
    H5Adelete(file, name);
    hid_t attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (value)
        H5Awrite(attribute, type, value);
    H5Aclose(attribute);
}

static void change_attribute(fuzz_input *input, hid_t file)
{
    const char *name = choose_attribute(input);
    char text[600];
    const char *pointer = text;
    hid_t scalar = H5Screate(H5S_SCALAR), null = H5Screate(H5S_NULL), string = H5Tcopy(H5T_C_S1);
    uint8_t kind = fuzz_byte(input);
    uint64_t word = kind % 8 < 3 ? fuzz_word(input, kind % 8 == 2 ? 8 : 1) : 0;
    double real;
    memcpy(&real, &word, sizeof real);
    for (size_t i = 0; kind % 8 >= 5 && i < sizeof text; i++)
        text[i] = (char)(i < 64 ? fuzz_byte(input) : 'x');
    text[sizeof text - 1] = '\0';
    switch (kind % 8) {
    case 0:
    case 1:
        write_attribute(file, name, H5T_NATIVE_INT64, scalar, &word);
        break;
    case 2:
        write_attribute(file, name, kind / 8 % 2 ? H5T_NATIVE_DOUBLE : H5T_NATIVE_UINT64, scalar,
                        kind / 8 % 2 ? (void *)&real : (void *)&word);
        break;
    case 3:
        write_attribute(file, name, H5T_NATIVE_INT64, null, NULL);
        break;
    case 4:
        H5Adelete(file, name);
        break;
    case 5:
        H5Tset_size(string, H5T_VARIABLE);
        write_attribute(file, name, string, scalar, &pointer);
        break;
    default:
        H5Tset_size(string, 1 + fuzz_word(input, 2) % sizeof text);
        write_attribute(file, name, string, scalar, text);
    }
    H5Tclose(string);
    H5Sclose(null);
    H5Sclose(scalar);
}

/* ---- datasets ---- */

/* A one-dimensional dataset of any bytes in place of `name`, with checksums that fit. */
static void replace_bytes(fuzz_input *input, hid_t file, const char *name, hid_t type, size_t size)
{
    char values[1024], sums[64];
    uint64_t count = fuzz_word(input, 1) % (sizeof values / size) + (size == 1 ? 1 : 0);
    for (size_t i = 0; i < sizeof values; i++)
        values[i] = (char)fuzz_byte(input);
    uint32_t sum = orth_crc32c(values, (int64_t)(count * size));
    hsize_t extent = count, one = 1;
    snprintf(sums, sizeof sums, "/checksum%s", name);
    H5Ldelete(file, name, H5P_DEFAULT);
    H5Ldelete(file, sums, H5P_DEFAULT);
    hid_t space = H5Screate_simple(1, &extent, NULL), single = H5Screate_simple(1, &one, NULL);
    hid_t data = H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    hid_t check =
        H5Dcreate2(file, sums, H5T_NATIVE_UINT32, single, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Dwrite(data, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    H5Dwrite(check, H5T_NATIVE_UINT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, &sum);
    H5Dclose(check);
    H5Dclose(data);
    H5Sclose(single);
    H5Sclose(space);
}

/* A dataset of another type, shape or layout, which was never written. */
static void replace_shape(fuzz_input *input, hid_t file, const char *name)
{
    const hid_t types[] = {H5T_NATIVE_FLOAT,  H5T_NATIVE_DOUBLE, H5T_NATIVE_INT64, H5T_NATIVE_UINT8,
                           H5T_NATIVE_UINT32, H5T_IEEE_F32BE,    H5T_C_S1};
    hid_t type = types[fuzz_byte(input) % (sizeof types / sizeof *types)];
    uint8_t kind = fuzz_byte(input);
    hsize_t extent[3], chunk[3] = {2, 2, 2};
    int rank = kind % 4;
    for (int i = 0; i < 3; i++) {
        uint8_t size = fuzz_byte(input);
        extent[i] = size < 200 ? size % 10 : (hsize_t)1 << (size - 192);
    }
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    hid_t space = H5Screate_simple(rank, extent, NULL);
    if (kind / 4 % 4 == 1 && rank > 0)
        H5Pset_chunk(creation, rank, chunk);
    if (kind / 4 % 4 == 2)
        H5Pset_layout(creation, H5D_COMPACT);
    if (kind / 4 % 4 == 3)
        H5Pset_external(creation, other, 0, H5F_UNLIMITED);
    H5Ldelete(file, name, H5P_DEFAULT);
    H5Dclose(H5Dcreate2(file, name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT));
    H5Sclose(space);
    H5Pclose(creation);
}

static void replace_link(fuzz_input *input, hid_t file, const char *name)
{
    static const H5L_class_t external = {
        .version = H5L_LINK_CLASS_T_VERS, .id = (H5L_type_t)H5L_TYPE_EXTERNAL, .comment = "again"};
    if (H5Lis_registered(H5L_TYPE_EXTERNAL) <= 0)
        H5Lregister(&external);
    H5Ldelete(file, name, H5P_DEFAULT);
    switch (fuzz_byte(input) % 5) {
    case 0:
        H5Gclose(H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
        break;
    case 1:
        H5Lcreate_soft(choose_object(input), file, name, H5P_DEFAULT, H5P_DEFAULT);
        break;
    case 2:
        H5Lcreate_external(other, name, file, name, H5P_DEFAULT, H5P_DEFAULT);
        break;
    case 3:
        H5Lcreate_hard(file, choose_object(input), file, name, H5P_DEFAULT, H5P_DEFAULT);
        break;
    default:
        break;
    }
}

static void change(fuzz_input *input, hid_t file)
{
    switch (fuzz_byte(input) % 8) {
    case 0:
    case 1:
        change_attribute(input, file);
        break;
    case 2:
        replace_bytes(input, file, "/config", H5T_NATIVE_UINT8, 1);
        break;
    case 3:
        replace_bytes(input, file, "/data_fingerprint", H5T_NATIVE_UINT8, 1);
        break;
    case 4:
        replace_bytes(input, file, "/state/cursor", H5T_NATIVE_INT64, 8);
        break;
    case 5:
        replace_bytes(input, file, "/model/b_dec", H5T_NATIVE_FLOAT, 4);
        break;
    case 6:
        replace_shape(input, file, choose_object(input));
        break;
    default:
        replace_link(input, file, choose_object(input));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    size_t length;
    bool same, untouched = size == 0;
    const char *bytes = model_checkpoint(&length);
    model_put(path, bytes, length);
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_LATEST);
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, access);
    fuzz_check(file >= 0);
    for (int i = 0; input.size > 0 && i < 6; i++)
        change(&input, file);
    H5Fclose(file);
    H5Pclose(access);
    H5Eclear2(H5E_DEFAULT);
    bool accepted = model_examine(path, &same);
    fuzz_check(!untouched || (accepted && same));
    return 0;
}
