#include <orthant/run/config_share.h>

#include <orthant/base/memory.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>

#include <stdlib.h>
#include <string.h>

static orth_status load_text(const char *path, const char *const *overrides, int64_t n_override,
                             char **text)
{
    orth_config config;
    ORTH_TRY(orth_config_load(path, overrides, n_override, &config));
    orth_status status = orth_config_require_training(&config, path);
    if (status == ORTH_OK)
        status = orth_config_text(&config, text);
    orth_config_free(&config);
    return status;
}

static orth_status share_text(const char *text, int rank, MPI_Comm comm, char **out)
{
    int64_t length = rank == 0 ? (int64_t)strlen(text) : 0;
    ORTH_TRY(orth_broadcast(&length, 1, MPI_INT64_T, 0, comm));
    ORTH_TRY(orth_agree(comm, ORTH_ALLOCATE(length + 1, "configuration", out)));
    if (rank == 0)
        memcpy(*out, text, (size_t)length);
    return orth_broadcast(*out, length, MPI_CHAR, 0, comm);
}

orth_status orth_config_load_shared(const char *path, const char *const *overrides,
                                    int64_t n_override, MPI_Comm comm, orth_config *out)
{
    int rank;
    char *loaded = NULL, *shared = NULL;
    orth_status status = ORTH_OK;
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    if (rank == 0)
        status = load_text(path, overrides, n_override, &loaded);
    status = orth_agree(comm, status);
    if (status == ORTH_OK)
        status = orth_agree(comm, share_text(loaded, rank, comm, &shared));
    if (status == ORTH_OK)
        status = orth_agree(comm,
                            orth_config_parse(shared, (int64_t)strlen(shared), path, NULL, 0, out));
    free(loaded);
    orth_free(shared);
    return status;
}
