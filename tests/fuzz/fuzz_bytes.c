/* HDF5 files with changed bytes. A checkpoint that is still accepted holds the same values; an
 * activation file, which has no checksums, is read or refused. The first byte chooses the file;
 * then three bytes of place and one of change, again and again; the place FFFFFF cuts the file off.
 */
#include "model.h"

#include <orthant/io/dataset.h>

#include <hdf5.h>
#include <mpi.h>
#include <string.h>

enum { KINDS = 4, ROWS = 20, WIDTH = 6, WIDEST = 4096 };

static char path[160];
static struct {
    const char *bytes;
    size_t size;
} files[KINDS];

/* Contiguous, chunked and compressed, contiguous with checksummed metadata. The chunk is as large
 * as the table: HDF5 1.10 reads beyond a decompressed chunk that is shorter than its file says, and
 * our reader can only tell where chunks are longer than the table. */
static void make_activations(int kind)
{
    static float values[ROWS * WIDTH];
    static size_t size;
    hsize_t extent[2] = {ROWS, WIDTH}, chunk[2] = {ROWS, WIDTH};
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), creation = H5Pcreate(H5P_DATASET_CREATE);
    if (kind == 1) {
        H5Pset_chunk(creation, 2, chunk);
        H5Pset_deflate(creation, 6);
    }
    if (kind == 2)
        H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_LATEST);
    for (int i = 0; i < ROWS * WIDTH; i++)
        values[i] = (float)i / 8;
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    hid_t space = H5Screate_simple(2, extent, NULL);
    hid_t dataset =
        H5Dcreate2(file, "activations", H5T_IEEE_F32LE, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    fuzz_check(H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    H5Dclose(dataset);
    H5Sclose(space);
    H5Fclose(file);
    H5Pclose(creation);
    H5Pclose(access);
    FILE *made = fopen(path, "rb");
    char *bytes = malloc(1 << 20);
    fuzz_check(made && bytes && (size = fread(bytes, 1, 1 << 20, made)) > 0);
    fclose(made);
    files[kind].bytes = bytes;
    files[kind].size = size;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    fuzz_start_mpi();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    snprintf(path, sizeof path, "%s/a.h5", fuzz_folder());
    for (int kind = 0; kind < KINDS - 1; kind++)
        make_activations(kind);
    files[KINDS - 1].bytes = model_checkpoint(&files[KINDS - 1].size);
    return 0;
}

static void read_activations(void)
{
    const char *names[] = {path};
    orth_dataset *data = NULL;
    orth_status status = orth_dataset_open(names, 1, "activations", MPI_COMM_SELF, &data);
    fuzz_outcome(status, ORTH_ERR_DATA, ORTH_ERR_ENVIRONMENT);
    if (status != ORTH_OK)
        return;
    int64_t rows = orth_dataset_rows(data), width = orth_dataset_width(data);
    int64_t wanted[2] = {rows - 1, 0};
    fuzz_check(rows >= 1 && width >= 1);
    if (width <= WIDEST) {
        orth_fingerprint print;
        float *values = malloc((size_t)(2 * width) * sizeof *values);
        fuzz_check(values != NULL);
        fuzz_outcome(orth_dataset_read(data, wanted, 2, values), ORTH_ERR_DATA,
                     ORTH_ERR_ENVIRONMENT);
        free(values);
        fuzz_outcome(orth_dataset_fingerprint(data, &print), ORTH_ERR_DATA, ORTH_ERR_ENVIRONMENT);
    }
    orth_dataset_close(data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    int kind = fuzz_byte(&input) % KINDS;
    size_t length = files[kind].size;
    char *bytes = malloc(length);
    fuzz_check(bytes != NULL);
    memcpy(bytes, files[kind].bytes, length);
    while (input.size >= 4) {
        uint64_t place = fuzz_word(&input, 3);
        uint8_t difference = fuzz_byte(&input);
        if (place == 0xFFFFFF && length > 8)
            length -= length * difference / 256;
        else if (length > 0)
            bytes[place % length] = (char)(bytes[place % length] ^ difference);
    }
    model_put(path, bytes, length);
    free(bytes);
    bool same;
    if (kind < KINDS - 1)
        read_activations();
    else
        fuzz_check(!model_examine(path, &same) || same);
    return 0;
}
