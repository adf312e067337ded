/* Checkpoints: round trips between grids, retention, storage that fails.
 * ranks: 1 4 */
#include "checkpoint_values.h"

#include <orthant/par/signals.h>

#include <fcntl.h>
#include <hdf5.h>
#include <sys/resource.h>
#include <unistd.h>

/* Not divisible by any number of shards; vectors longer than what rank 0 gathers at once. */
enum { N_LATENT = 70001, D_MODEL = 5 };

static const int grids[][2] = {{1, 1}, {1, 2}, {2, 1}, {2, 2}, {1, 3}, {3, 1}};
enum { N_GRID = sizeof grids / sizeof *grids };

static bool fits(int grid)
{
    return grids[grid][0] * grids[grid][1] <= ranks();
}

START_TEST(any_grid_reads_what_any_grid_wrote)
{
    for (int w = 0; w < N_GRID; w++) {
        if (!fits(w))
            continue;
        char path[512];
        const char *run_dir = fresh_run_dir();
        ck_agree(write_step(run_dir, grids[w][0], grids[w][1], N_LATENT, D_MODEL, 12, 2) ==
                 ORTH_OK);
        step_path(path, sizeof path, run_dir, 12);
        for (int r = 0; r < N_GRID; r++) {
            bool same = false;
            if (!fits(r))
                continue;
            orth_status status =
                read_step(path, grids[r][0], grids[r][1], N_LATENT, D_MODEL, 12, true, &same);
            ck_agree(status == ORTH_OK);
            ck_agree(same);
        }
    }
}
END_TEST

START_TEST(fewer_latents_than_shards)
{
    char path[512];
    bool same = false;
    const char *run_dir = fresh_run_dir();
    ck_agree(write_step(run_dir, 1, ranks(), 2, 3, 1, 2) == ORTH_OK);
    step_path(path, sizeof path, run_dir, 1);
    ck_agree(read_step(path, ranks(), 1, 2, 3, 1, true, &same) == ORTH_OK);
    ck_agree(same);
}
END_TEST

START_TEST(weights_alone)
{
    char path[512];
    bool same = false;
    const char *run_dir = fresh_run_dir();
    ck_agree(write_step(run_dir, 1, ranks(), 37, 8, 5, 2) == ORTH_OK);
    step_path(path, sizeof path, run_dir, 5);
    ck_agree(read_step(path, ranks(), 1, 37, 8, 5, false, &same) == ORTH_OK);
    ck_agree(same);
}
END_TEST

START_TEST(a_model_without_optimizer)
{
    char path[512];
    orth_grid grid;
    orth_sae sae;
    orth_checkpoint_info info = {.threads = 1}, found;
    const char *run_dir = fresh_run_dir();
    ck_agree(orth_grid_create(MPI_COMM_WORLD, 1, ranks(), &grid) == ORTH_OK);
    ck_agree(make_sae(&grid, 37, 8, 0, false, &sae) == ORTH_OK);
    values(&sae, true);
    ck_agree(orth_checkpoint_write(run_dir, &sae, &info, true, 2) == ORTH_OK);
    memset(sae.weights.b_dec, 0, 8 * sizeof(float));
    step_path(path, sizeof path, run_dir, 0);
    ck_agree(orth_checkpoint_read(path, &sae) == ORTH_OK);
    ck_agree(values(&sae, false));
    ck_agree(orth_checkpoint_read_info(path, grid.world, &found) == ORTH_OK);
    ck_agree(!found.has_optimizer && !found.has_average);
    ck_agree(found.ranks == ranks() && found.n_group == 1 && found.n_shard == ranks());
    orth_checkpoint_info_free(&found);
    orth_sae_free(&sae);
    ck_agree(make_sae(&grid, 38, 8, 0, true, &sae) == ORTH_OK);
    ck_agree(orth_checkpoint_read(path, &sae) == ORTH_ERR_CORRUPT);
    ck_agree(strstr(orth_error_text(), "n_latent 37 and d_model 8, expected 38 and 8") != NULL);
    orth_error_clear();
    orth_sae_free(&sae);
    orth_grid_free(&grid);
}
END_TEST

static bool exists(const char *run_dir, int64_t step)
{
    char path[512];
    step_path(path, sizeof path, run_dir, step);
    return access(path, F_OK) == 0;
}

START_TEST(the_newest_are_kept)
{
    const char *run_dir = fresh_run_dir();
    for (int64_t step = 8; step <= 11; step++)
        ck_agree(write_step(run_dir, 1, ranks(), 7, 3, step, 2) == ORTH_OK);
    ck_agree(count_entries(run_dir) == 2);
    ck_agree(exists(run_dir, 10) && exists(run_dir, 11));
    /* A run that goes on from an earlier step keeps what it has just written. */
    ck_agree(write_step(run_dir, 1, ranks(), 7, 3, 9, 1) == ORTH_OK);
    ck_agree(exists(run_dir, 9) && exists(run_dir, 10) && exists(run_dir, 11));
    /* The same step again replaces it. */
    ck_agree(write_step(run_dir, 1, ranks(), 7, 3, 11, 1) == ORTH_OK);
    ck_agree(count_entries(run_dir) == 1);
    ck_agree(exists(run_dir, 11));
}
END_TEST

/* As root permissions stop nothing: a folder that is a file, one that is missing. */
START_TEST(a_folder_that_cannot_be_written)
{
    char run_dir[256], part[320];
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    snprintf(run_dir, sizeof run_dir, "%s", fresh_run_dir());
    snprintf(part, sizeof part, "%s/checkpoints", run_dir);
    if (rank == 0) {
        rmdir(part);
        fclose(fopen(part, "w"));
    }
    MPI_Barrier(MPI_COMM_WORLD);
    ck_agree(write_step(run_dir, 1, ranks(), 7, 3, 1, 1) == ORTH_ERR_STORAGE);
    ck_agree(rank != 0 || strstr(orth_error_text(), "checkpoints") != NULL);
    orth_checkpoint_forgive(MPI_COMM_WORLD, ORTH_ERR_STORAGE, "no checkpoint of step 1");
    ck_agree(orth_error_status() == ORTH_OK);
    ck_agree(write_step("/proc/self", 1, ranks(), 7, 3, 1, 1) == ORTH_ERR_STORAGE);
    orth_error_clear();
}
END_TEST

START_TEST(a_limit_of_file_size)
{
    char path[512];
    bool same = false;
    int rank;
    struct rlimit before, small;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    const char *run_dir = fresh_run_dir();
    ck_agree(write_step(run_dir, 1, ranks(), N_LATENT, D_MODEL, 1, 2) == ORTH_OK);
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = 3000000;
    /* On the last rank alone: all learn of it. */
    if (rank == ranks() - 1)
        setrlimit(RLIMIT_FSIZE, &small);
    orth_status status = write_step(run_dir, 1, ranks(), N_LATENT, D_MODEL, 2, 2);
    setrlimit(RLIMIT_FSIZE, &before);
    ck_agree(status == ORTH_ERR_STORAGE);
    ck_agree(rank != ranks() - 1 || strstr(orth_error_text(), "files are limited to 2.9 MiB"));
    orth_error_clear();
    ck_agree(count_entries(run_dir) == 1);
    step_path(path, sizeof path, run_dir, 1);
    ck_agree(read_step(path, ranks(), 1, N_LATENT, D_MODEL, 1, true, &same) == ORTH_OK);
    ck_agree(same);
    ck_agree(write_step(run_dir, 1, ranks(), N_LATENT, D_MODEL, 2, 2) == ORTH_OK);
}
END_TEST

/* What is open: objects and identifiers of HDF5, file descriptors, and the numbers of the next
 * handles of MPI, which are the lowest free ones. */
typedef struct held {
    int64_t objects;
    int64_t lists;
    int64_t spaces;
    int64_t types;
    int descriptors;
    MPI_Fint communicator, request, info;
} held;

static held look(void)
{
    held now = {0};
    MPI_Comm duplicate;
    MPI_Request request;
    MPI_Info info;
    now.objects = H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL);
    hsize_t members;
    now.lists = H5Inmembers(H5I_GENPROP_LST, &members) < 0 ? -1 : (int64_t)members;
    now.spaces = H5Inmembers(H5I_DATASPACE, &members) < 0 ? -1 : (int64_t)members;
    now.types = H5Inmembers(H5I_DATATYPE, &members) < 0 ? -1 : (int64_t)members;
    for (int fd = 0; fd < 1024; fd++)
        now.descriptors += fcntl(fd, F_GETFD) >= 0;
    MPI_Comm_dup(MPI_COMM_WORLD, &duplicate);
    now.communicator = MPI_Comm_c2f(duplicate);
    MPI_Comm_free(&duplicate);
    MPI_Send_init(NULL, 0, MPI_BYTE, 0, 0, MPI_COMM_WORLD, &request);
    now.request = MPI_Request_c2f(request);
    MPI_Request_free(&request);
    MPI_Info_create(&info);
    now.info = MPI_Info_c2f(info);
    MPI_Info_free(&info);
    return now;
}

/* Written, verified, read, found damaged and failed to be written, many times. */
static void use_everything(const char *run_dir, int64_t from, int64_t to)
{
    char path[512], *found = NULL;
    for (int64_t step = from; step < to; step++) {
        bool same = false;
        ck_agree(write_step(run_dir, 1, ranks(), 37, 8, step, 2) == ORTH_OK);
        step_path(path, sizeof path, run_dir, step);
        ck_agree(read_step(path, 1, ranks(), 37, 8, step, true, &same) == ORTH_OK && same);
        ck_agree(orth_checkpoint_find(run_dir, MPI_COMM_WORLD, true, &found) == ORTH_OK);
        free(found);
        MPI_Barrier(MPI_COMM_WORLD);
        ck_agree(truncate(path, 20000) == 0);
        ck_agree(orth_checkpoint_verify(path, MPI_COMM_WORLD) == ORTH_ERR_CORRUPT);
        orth_error_clear();
        ck_agree(write_step("/proc/self", 1, ranks(), 7, 3, 1, 1) == ORTH_ERR_STORAGE);
        orth_error_clear();
    }
}

START_TEST(nothing_stays_open)
{
    const char *run_dir = fresh_run_dir();
    use_everything(run_dir, 1, 3);
    held before = look();
    use_everything(run_dir, 3, 13);
    held after = look();
    ck_agree(after.objects == 0);
    ck_agree(after.lists == before.lists && after.spaces == before.spaces &&
             after.types == before.types);
    ck_agree(after.descriptors == before.descriptors);
    ck_agree(after.communicator == before.communicator && after.request == before.request &&
             after.info == before.info);
}
END_TEST

static Suite *make(void)
{
    orth_signals_setup();
    Suite *suite = suite_create("checkpoint");
    TCase *cases = tcase_create("checkpoint");
    tcase_set_timeout(cases, 120);
    tcase_add_test(cases, any_grid_reads_what_any_grid_wrote);
    tcase_add_test(cases, fewer_latents_than_shards);
    tcase_add_test(cases, weights_alone);
    tcase_add_test(cases, a_model_without_optimizer);
    tcase_add_test(cases, the_newest_are_kept);
    tcase_add_test(cases, a_folder_that_cannot_be_written);
    tcase_add_test(cases, a_limit_of_file_size);
    tcase_add_test(cases, nothing_stays_open);
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
