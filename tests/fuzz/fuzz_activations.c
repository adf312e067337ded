/* Activation files of every make: the input chooses type, shape, layout, links and attributes of a
 * file that HDF5 writes. Our reader refuses it with one line, or gives the values that were written
 * into that file. */
#include "fuzz.h"

#include <orthant/io/dataset.h>

#include <hdf5.h>
#include <math.h>
#include <mpi.h>
#include <stdbool.h>
#include <string.h>

/* Widths that are read; the others are only opened. */
enum { WIDEST = 4096, ELEMENTS_WRITTEN = 4096 };

typedef struct made {
    hsize_t extent[4];
    int rank;
    bool elsewhere; /* the values are said to lie in other files */
    bool values;    /* our formula was written */
    bool bfloat16;  /* as the upper halves of floats */
} made;

static char path[160], other[160];

/* The file that must not be read in place of the one that is named. */
static void make_other(void)
{
    static float values[64];
    hsize_t extent[2] = {8, 8};
    hid_t file = H5Fcreate(other, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t space = H5Screate_simple(2, extent, NULL);
    hid_t dataset =
        H5Dcreate2(file, "other", H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    fuzz_check(H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    H5Dclose(dataset);
    H5Sclose(space);
    H5Fclose(file);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    fuzz_start_mpi();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    snprintf(path, sizeof path, "%s/a.h5", fuzz_folder());
    snprintf(other, sizeof other, "%s/other.h5", fuzz_folder());
    make_other();
    return 0;
}

/* ---- types ---- */

/* A float with fields of any size, some of which IEEE has and some not. */
static hid_t odd_float(fuzz_input *input)
{
    hid_t type = H5Tcopy(fuzz_byte(input) % 2 ? H5T_IEEE_F32LE : H5T_IEEE_F64BE);
    size_t exponent = 1 + fuzz_byte(input) % 16, mantissa = 1 + fuzz_byte(input) % 40;
    H5Tset_fields(type, exponent + mantissa, mantissa, exponent, 0, mantissa);
    H5Tset_ebias(type, fuzz_byte(input) % 2 ? ((size_t)1 << (exponent - 1)) - 1 : 3);
    H5Tset_norm(type, (H5T_norm_t)(fuzz_byte(input) % 3));
    H5Tset_size(type, 1 + fuzz_byte(input) % 9);
    return type;
}

static hid_t half(void)
{
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    H5Tset_fields(type, 15, 10, 5, 0, 10);
    H5Tset_size(type, 2);
    H5Tset_ebias(type, 15);
    return type;
}

static hid_t derived(fuzz_input *input)
{
    hsize_t extent[2] = {1 + fuzz_byte(input) % 3, 2};
    hid_t type;
    switch (fuzz_byte(input) % 7) {
    case 0:
        type = H5Tcopy(H5T_C_S1);
        H5Tset_size(type, 1 + fuzz_byte(input) % 16);
        return type;
    case 1:
        type = H5Tcopy(H5T_C_S1);
        H5Tset_size(type, H5T_VARIABLE);
        return type;
    case 2:
        type = H5Tcreate(H5T_COMPOUND, 8);
        H5Tinsert(type, "r", 0, H5T_IEEE_F32LE);
        H5Tinsert(type, "i", 4, H5T_IEEE_F32LE);
        return type;
    case 3:
        return H5Tarray_create2(H5T_IEEE_F32LE, 2, extent);
    case 4:
        return H5Tvlen_create(H5T_IEEE_F32LE);
    case 5:
        return H5Tenum_create(H5T_NATIVE_INT16);
    default:
        return H5Tcreate(H5T_OPAQUE, 4);
    }
}

static hid_t choose_type(fuzz_input *input)
{
    switch (fuzz_byte(input) % 14) {
    case 0:
        return H5Tcopy(H5T_IEEE_F32LE);
    case 1:
        return H5Tcopy(H5T_IEEE_F32BE);
    case 2:
        return H5Tcopy(H5T_IEEE_F64LE);
    case 3:
        return H5Tcopy(H5T_IEEE_F64BE);
    case 4:
        return half();
    case 5: {
        hid_t type = half();
        H5Tset_order(type, H5T_ORDER_BE);
        return type;
    }
    case 6:
        return H5Tcopy(H5T_STD_U16LE);
    case 7:
        return H5Tcopy(H5T_STD_U16BE);
    case 8:
        return H5Tcopy(H5T_STD_I32BE);
    case 9:
        return H5Tcopy(H5T_STD_B64LE);
    case 10:
        return H5Tcopy(H5T_NATIVE_LDOUBLE);
    case 11:
        return odd_float(input);
    default:
        return derived(input);
    }
}

/* ---- shapes ---- */

static hid_t choose_space(fuzz_input *input, hsize_t extent[4], int *rank)
{
    uint8_t kind = fuzz_byte(input);
    *rank = kind % 8 < 5 ? 2 : kind % 8 - 4; /* 2 mostly; 1, 2, 3 */
    for (int i = 0; i < 4; i++)
        extent[i] = 1;
    if (kind / 8 % 16 == 1)
        return H5Screate(H5S_NULL);
    if (kind / 8 % 16 == 2)
        return H5Screate(H5S_SCALAR);
    for (int i = 0; i < *rank; i++) {
        uint8_t size = fuzz_byte(input);
        extent[i] = size < 200 ? size % 40 : ((hsize_t)1 << (size - 192)) + fuzz_byte(input) - 128;
    }
    return H5Screate_simple(*rank, extent, NULL);
}

/* ---- layouts ---- */

static void choose_chunks(fuzz_input *input, hid_t creation, int rank)
{
    hsize_t chunk[4];
    for (int i = 0; i < rank; i++)
        chunk[i] = 1 + fuzz_byte(input) % 50;
    H5Pset_chunk(creation, rank, chunk);
    uint8_t filters = fuzz_byte(input);
    if (filters & 1)
        H5Pset_shuffle(creation);
    if (filters & 2)
        H5Pset_deflate(creation, 1);
    if (filters & 4)
        H5Pset_fletcher32(creation);
    if (filters & 8) /* one that HDF5 does not have; such chunks stay as they are */
        H5Pset_filter(creation, 32000, H5Z_FLAG_OPTIONAL, 0, NULL);
}

static hid_t choose_layout(fuzz_input *input, made *m)
{
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    hsize_t bytes = H5F_UNLIMITED;
    uint8_t kind = fuzz_byte(input);
    m->elsewhere = kind % 7 >= 5;
    switch (kind % 7) {
    case 0:
    case 1:
        break;
    case 2:
        H5Pset_layout(creation, H5D_COMPACT);
        break;
    case 3:
    case 4:
        choose_chunks(input, creation, m->rank);
        break;
    case 5:
        H5Pset_external(creation, kind / 7 % 2 ? "/dev/zero" : other, 0, bytes);
        break;
    default: {
        hid_t space = H5Screate_simple(m->rank, m->extent, NULL);
        H5Pset_virtual(creation, space, kind / 7 % 2 ? other : ".", "other", space);
        H5Sclose(space);
    }
    }
    /* HDF5 itself may crash when it allocates filtered chunks of odd types early. */
    if (kind / 64 == 1 && H5Pget_layout(creation) == H5D_CONTIGUOUS)
        H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY);
    return creation;
}

/* ---- attributes ---- */

static void add_dtype(fuzz_input *input, hid_t dataset)
{
    uint8_t kind = fuzz_byte(input);
    if (kind % 4 == 0)
        return;
    char text[40] = "bfloat16";
    const char *pointer = text;
    if (kind % 4 == 3)
        for (size_t i = 0; i < sizeof text - 1; i++)
            text[i] = (char)fuzz_byte(input);
    hsize_t two = 2;
    hid_t space = kind / 4 % 8 == 1   ? H5Screate(H5S_NULL)
                  : kind / 4 % 8 == 2 ? H5Screate_simple(1, &two, NULL)
                                      : H5Screate(H5S_SCALAR);
    hid_t type = H5Tcopy(kind / 4 % 8 == 3 ? H5T_NATIVE_INT64 : H5T_C_S1);
    bool variable = kind / 32 % 2;
    if (H5Tget_class(type) == H5T_STRING)
        H5Tset_size(type, variable ? H5T_VARIABLE : 1 + (size_t)kind % 40);
    hid_t attribute = H5Acreate2(dataset, "dtype", type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (H5Sget_simple_extent_npoints(space) == 1)
        H5Awrite(attribute, type,
                 H5Tget_class(type) == H5T_STRING && variable ? (void *)&pointer : (void *)text);
    H5Aclose(attribute);
    H5Tclose(type);
    H5Sclose(space);
}

/* ---- the file ---- */

static float formula(int64_t row, int64_t column)
{
    return (float)((7 * row + 3 * column) % 64 - 32) / 8;
}

static void write_values(hid_t dataset, hid_t type, made *m)
{
    hsize_t count = m->rank == 2 ? m->extent[0] * m->extent[1] : 0;
    if (count == 0 || count > ELEMENTS_WRITTEN || m->extent[0] > ELEMENTS_WRITTEN ||
        m->extent[1] > ELEMENTS_WRITTEN)
        return;
    static float values[ELEMENTS_WRITTEN];
    static uint16_t halves[ELEMENTS_WRITTEN];
    for (hsize_t i = 0; i < count; i++) {
        uint32_t bits;
        values[i] = formula((int64_t)(i / m->extent[1]), (int64_t)(i % m->extent[1]));
        memcpy(&bits, &values[i], sizeof bits);
        halves[i] = (uint16_t)(bits >> 16);
    }
    m->bfloat16 = H5Tget_class(type) == H5T_INTEGER && H5Tget_size(type) == 2;
    if (m->bfloat16)
        m->values =
            H5Dwrite(dataset, H5T_NATIVE_UINT16, H5S_ALL, H5S_ALL, H5P_DEFAULT, halves) >= 0;
    else if (H5Tget_class(type) == H5T_FLOAT)
        m->values = H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0;
}

/* The name `activations`: the dataset itself mostly, else a way to it or elsewhere. */
static void add_link(fuzz_input *input, hid_t file, bool *direct)
{
    static const H5L_class_t external = {
        .version = H5L_LINK_CLASS_T_VERS, .id = (H5L_type_t)H5L_TYPE_EXTERNAL, .comment = "again"};
    uint8_t kind = fuzz_byte(input);
    *direct = false;
    /* The reader forgets the class of external links; without it they cannot be made. */
    if (H5Lis_registered(H5L_TYPE_EXTERNAL) <= 0)
        H5Lregister(&external);
    switch (kind % 8) {
    case 5:
        H5Lcreate_soft("/made", file, "activations", H5P_DEFAULT, H5P_DEFAULT);
        *direct = true;
        break;
    case 6:
        H5Lcreate_soft(kind / 8 % 2 ? "/nowhere" : "/activations", file, "activations", H5P_DEFAULT,
                       H5P_DEFAULT);
        break;
    case 7:
        H5Lcreate_external(kind / 8 % 2 ? other : "a.h5", kind / 8 % 2 ? "other" : "made", file,
                           "activations", H5P_DEFAULT, H5P_DEFAULT);
        break;
    default:
        H5Lmove(file, "made", file, "activations", H5P_DEFAULT, H5P_DEFAULT);
        *direct = true;
    }
}

static bool make_dataset(fuzz_input *input, hid_t file, made *m)
{
    hid_t type = choose_type(input);
    hid_t space = choose_space(input, m->extent, &m->rank);
    hid_t creation = choose_layout(input, m);
    hid_t dataset = H5Dcreate2(file, "made", type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    bool good = dataset >= 0;
    if (good) {
        if (H5Sget_simple_extent_type(space) == H5S_SIMPLE && fuzz_byte(input) % 4)
            write_values(dataset, type, m);
        add_dtype(input, dataset);
        H5Dclose(dataset);
    }
    H5Pclose(creation);
    H5Sclose(space);
    H5Tclose(type);
    return good;
}

static bool make_file(fuzz_input *input, made *m)
{
    uint8_t kind = fuzz_byte(input);
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), creation = H5Pcreate(H5P_FILE_CREATE);
    if (kind & 1)
        H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_LATEST);
    if (kind & 2)
        H5Pset_userblock(creation, 512);
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, creation, access);
    bool direct = false, good = false;
    if (kind / 4 % 16 == 1)
        H5Gclose(H5Gcreate2(file, "activations", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    else if (kind / 4 % 16 == 2)
        H5Tcommit2(file, "activations", H5T_IEEE_F32LE, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    else if (make_dataset(input, file, m)) {
        add_link(input, file, &direct);
        good = direct;
    }
    H5Fclose(file);
    H5Pclose(access);
    H5Pclose(creation);
    H5Eclear2(H5E_DEFAULT);
    return good;
}

/* ---- reading it ---- */

static void read_rows(orth_dataset *data, const made *m)
{
    int64_t rows = orth_dataset_rows(data), width = orth_dataset_width(data);
    int64_t wanted[3] = {rows - 1, 0, rows / 2};
    float *values = malloc((size_t)(3 * width) * sizeof *values);
    fuzz_check(values != NULL);
    orth_status status = orth_dataset_read(data, wanted, 3, values);
    for (int i = 0; status == ORTH_OK && m->values && i < 3; i++)
        for (int64_t j = 0; j < width; j++)
            fuzz_check(values[i * width + j] == formula(wanted[i], j));
    free(values);
    fuzz_outcome(status, ORTH_ERR_DATA);
    orth_fingerprint print;
    fuzz_outcome(orth_dataset_fingerprint(data, &print), ORTH_ERR_DATA);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    fuzz_input input = {bytes, size};
    made m = {.rank = 0};
    bool inside = make_file(&input, &m);
    const char *files[] = {path};
    orth_dataset *data = NULL;
    orth_status status = orth_dataset_open(files, 1, "activations", MPI_COMM_SELF, &data);
    fuzz_outcome(status, ORTH_ERR_DATA);
    if (status != ORTH_OK)
        return 0;
    fuzz_check(inside && !m.elsewhere && m.rank == 2);
    fuzz_check(orth_dataset_rows(data) == (int64_t)m.extent[0]);
    fuzz_check(orth_dataset_width(data) == (int64_t)m.extent[1]);
    fuzz_check(orth_dataset_row_bytes(data) >= 2 * orth_dataset_width(data));
    if (orth_dataset_width(data) <= WIDEST)
        read_rows(data, &m);
    orth_dataset_close(data);
    return 0;
}
