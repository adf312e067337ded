/* Single flipped bits and truncations of a checkpoint: each is named, or changes nothing that is
 * read. Alone, 1,000 flips anywhere, 1,000 of the bytes that no dataset covers, every bit of the
 * head, 200 truncations; on two ranks a share of them.
 * ranks: 1 2 */
#include "checkpoint_values.h"

#include <orthant/base/random.h>
#include <orthant/io/h5.h>

#include <fcntl.h>
#include <unistd.h>

enum { N_LATENT = 97, D_MODEL = 12, STEP = 7, FLIPS = 1000, CUTS = 200, SHARE = 8 };

/* HDF5's superblock of version 2 or 3, of which all else hangs. */
enum { HEAD_BYTES = 48 };

/** What became of damages. */
typedef struct tally {
    int named;    ///< the dataset and the row or block is told
    int refused;  ///< the file is told, with what HDF5 or the reader could not read
    int harmless; ///< everything that is read is as it was written
} tally;

static int share_of(int count)
{
    return ranks() == 1 ? count : count / SHARE;
}

/* The file on rank 0's side, with the other ranks waiting. */
static void put(const char *path, const char *bytes, int64_t size)
{
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank_of() == 0) {
        int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
        if (file < 0 || write(file, bytes, (size_t)size) != size || close(file) != 0)
            MPI_Abort(MPI_COMM_WORLD, 1);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

static char *get(const char *path, int64_t *size)
{
    struct stat info;
    int file = open(path, O_RDONLY);
    ck_agree(file >= 0 && fstat(file, &info) == 0);
    char *bytes = malloc((size_t)info.st_size);
    ck_agree(bytes && read(file, bytes, (size_t)info.st_size) == info.st_size);
    close(file);
    *size = (int64_t)info.st_size;
    return bytes;
}

/* The attributes that orth_checkpoint_read_info leaves to those who look at the file. */
static bool other_attributes(const char *path)
{
    orth_h5_file *file = NULL;
    int64_t seed = 0;
    char selection[32] = "";
    if (orth_h5_open(path, ORTH_H5_READ, ORTH_ERR_CORRUPT, MPI_COMM_WORLD, &file) != ORTH_OK)
        return false;
    bool same = orth_h5_attribute_read_int64(file, "/", "seed", &seed) == ORTH_OK &&
                orth_h5_attribute_read_text(file, "/", "selection", selection, sizeof selection) ==
                    ORTH_OK &&
                seed == 49 && strcmp(selection, "topafa") == 0;
    return orth_h5_close(file) == ORTH_OK && same;
}

/* What the error of any rank tells; forget it everywhere. */
static void take_error(const char *path, bool *tells_path, bool *tells_block)
{
    const char *text = orth_error_status() == ORTH_OK ? "" : orth_error_text();
    int told[2] = {strstr(text, path) != NULL,
                   strstr(text, ", row ") || strstr(text, ", block of 4096 elements ")};
    MPI_Allreduce(MPI_IN_PLACE, told, 2, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    *tells_path = told[0];
    *tells_block = told[1];
    orth_error_clear();
}

/* Look at the file in both ways that a resume does: the verification, and the reading. */
static void judge(const char *path, tally *out)
{
    bool same = false, tells_path, tells_block;
    orth_status verified = orth_checkpoint_verify(path, MPI_COMM_WORLD);
    take_error(path, &tells_path, &tells_block);
    ck_agree(verified == ORTH_OK || (verified == ORTH_ERR_CORRUPT && tells_path));
    orth_status status = read_step(path, 1, ranks(), N_LATENT, D_MODEL, STEP, true, &same);
    take_error(path, &tells_path, &tells_block);
    ck_agree(status == verified);
    if (status == ORTH_OK) {
        ck_agree(same && other_attributes(path));
        out->harmless++;
        return;
    }
    ck_agree(tells_path);
    if (tells_block)
        out->named++;
    else
        out->refused++;
}

static void tell(const char *what, const tally *t)
{
    if (rank_of() == 0)
        printf("%s: %d named by dataset and block, %d by what cannot be read, %d harmless\n", what,
               t->named, t->refused, t->harmless);
}

/* A fresh checkpoint, its bytes, and for each byte whether a dataset holds it. */
static char *make_whole(char *path, size_t length, int64_t *size)
{
    const char *run_dir = fresh_run_dir();
    ck_agree(write_step(run_dir, 1, ranks(), N_LATENT, D_MODEL, STEP, 1) == ORTH_OK);
    step_path(path, length, run_dir, STEP);
    return get(path, size);
}

static void cover(orth_h5_file *file, const char *name, bool *covered)
{
    orth_h5_dataset *dataset = NULL;
    ck_agree(orth_h5_dataset_open(file, name, &dataset) == ORTH_OK);
    const orth_h5_layout *layout = orth_h5_dataset_layout(dataset);
    int64_t bytes = layout->extent[0] * layout->extent[1] * layout->element_size;
    memset(covered + layout->offset, true, (size_t)bytes);
    orth_h5_dataset_close(dataset);
}

static bool *cover_all(const char *path, int64_t size)
{
    static const char *const groups[] = {"/model", "/optimizer/m", "/optimizer/v", "/ema"};
    static const char *const arrays[] = {"W_enc", "W_dec", "b_enc", "b_dec"};
    static const char *const others[] = {"/state/steps_since_fired", "/state/cursor",
                                         "/state/mse_scale",         "/state/input_scale",
                                         "/data_fingerprint",        "/config"};
    char name[96];
    orth_h5_file *file = NULL;
    bool *covered = calloc((size_t)size, sizeof *covered);
    ck_agree(covered != NULL);
    ck_agree(orth_h5_open(path, ORTH_H5_READ, ORTH_ERR_CORRUPT, MPI_COMM_WORLD, &file) == ORTH_OK);
    for (int checksums = 0; checksums < 2; checksums++) {
        const char *above = checksums ? "/checksum" : "";
        for (int g = 0; g < 4; g++)
            for (int a = 0; a < 4; a++) {
                snprintf(name, sizeof name, "%s%s/%s", above, groups[g], arrays[a]);
                cover(file, name, covered);
            }
        for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
            snprintf(name, sizeof name, "%s%s", above, others[i]);
            cover(file, name, covered);
        }
    }
    ck_agree(orth_h5_close(file) == ORTH_OK);
    return covered;
}

static void flip_and_judge(const char *path, char *bytes, int64_t size, int64_t bit, tally *out)
{
    bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
    put(path, bytes, size);
    judge(path, out);
    bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
}

static int64_t draw(uint64_t stream, int index, int64_t most)
{
    return (int64_t)(orth_random_bits(stream, ORTH_RANDOM_TEST, (uint64_t)index, 0) %
                     (uint64_t)most);
}

START_TEST(flips_anywhere)
{
    char path[512];
    int64_t size;
    tally t = {0};
    char *bytes = make_whole(path, sizeof path, &size);
    for (int i = 0; i < share_of(FLIPS); i++)
        flip_and_judge(path, bytes, size, draw(1, i, 8 * size), &t);
    tell("flips anywhere", &t);
    /* Most of the file is data: a check that detects little checks nothing. */
    ck_agree(t.named > share_of(FLIPS) / 2);
    put(path, bytes, size);
    tally whole = {0};
    judge(path, &whole);
    ck_agree(whole.harmless == 1);
    free(bytes);
}
END_TEST

START_TEST(flips_between_the_datasets)
{
    char path[512];
    int64_t size;
    tally t = {0};
    char *bytes = make_whole(path, sizeof path, &size);
    bool *covered = cover_all(path, size);
    for (int i = 0, done = 0; done < share_of(FLIPS); i++) {
        int64_t bit = draw(2, i, 8 * size);
        if (covered[bit / 8])
            continue;
        flip_and_judge(path, bytes, size, bit, &t);
        done++;
    }
    tell("flips between the datasets", &t);
    free(covered);
    free(bytes);
}
END_TEST

START_TEST(flips_in_the_head)
{
    char path[512];
    int64_t size;
    tally t = {0};
    char *bytes = make_whole(path, sizeof path, &size);
    for (int64_t bit = 0; bit < 8 * HEAD_BYTES; bit += ranks() == 1 ? 1 : SHARE + 1)
        flip_and_judge(path, bytes, size, bit, &t);
    tell("flips in the head", &t);
    ck_agree(t.harmless == 0 && t.named == 0);
    free(bytes);
}
END_TEST

START_TEST(truncations)
{
    char path[512];
    int64_t size;
    tally t = {0};
    char *bytes = make_whole(path, sizeof path, &size);
    for (int i = 0; i < share_of(CUTS); i++) {
        /* Half of them near the end, where a careless reader would see a whole file. */
        put(path, bytes, i % 2 ? size - 1 - draw(3, i, 512) : draw(3, i, size));
        judge(path, &t);
    }
    tell("truncations", &t);
    ck_agree(t.harmless == 0);
    free(bytes);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("checkpoint flips");
    TCase *cases = tcase_create("checkpoint flips");
    tcase_set_timeout(cases, 240);
    tcase_add_test(cases, flips_anywhere);
    tcase_add_test(cases, flips_between_the_datasets);
    tcase_add_test(cases, flips_in_the_head);
    tcase_add_test(cases, truncations);
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
