#define _XOPEN_SOURCE 700 /* nftw */
#define _DEFAULT_SOURCE
#include "fuzz.h"

#include <ftw.h>
#include <mpi.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void fuzz_check_outcome(orth_status status, const orth_status *allowed, int n_allowed)
{
    const char *text = orth_error_text();
    if (status == ORTH_OK) {
        fuzz_check(orth_error_status() == ORTH_OK);
        return;
    }
    int found = 0;
    for (int i = 0; i < n_allowed; i++)
        found |= allowed[i] == status;
    fuzz_check(found);
    fuzz_check(orth_error_status() == status);
    fuzz_check(strstr(text, ": ") && strchr(text, ';'));
    for (const char *c = text; *c; c++)
        fuzz_check((unsigned char)*c >= 0x20 && *c != 0x7F);
    orth_error_clear();
}

char *fuzz_text(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    fuzz_check(text != NULL);
    if (size)
        memcpy(text, data, size);
    text[size] = '\0';
    return text;
}

uint8_t fuzz_byte(fuzz_input *input)
{
    if (input->size == 0)
        return 0;
    input->size--;
    return *input->data++;
}

uint64_t fuzz_word(fuzz_input *input, int bytes)
{
    uint64_t word = 0;
    for (int i = 0; i < bytes; i++)
        word |= (uint64_t)fuzz_byte(input) << (8 * i);
    return word;
}

/* ---- MPI and files ---- */

static char folder[128];

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info;
    (void)type;
    (void)walk;
    return remove(path);
}

static void remove_folder(void)
{
    nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

const char *fuzz_folder(void)
{
    if (folder[0])
        return folder;
    const char *parent = getenv("TMPDIR");
    struct stat info;
    if (!parent || strlen(parent) > 80)
        parent =
            stat("/dev/shm", &info) == 0 && access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(folder, sizeof folder, "%s/orthant-fuzz-XXXXXX", parent);
    fuzz_check(mkdtemp(folder) != NULL);
    atexit(remove_folder);
    return folder;
}

static void end_mpi(void)
{
    MPI_Finalize();
}

void fuzz_start_mpi(void)
{
    setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
    setenv("OMPI_MCA_sharedfp", "individual", 0);
    setenv("HDF5_USE_FILE_LOCKING", "FALSE", 0);
    fuzz_check(MPI_Init(NULL, NULL) == MPI_SUCCESS);
    atexit(end_mpi);
}
