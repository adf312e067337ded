#include "keys.h"

#include <orthant/par/agree.h>
#include <orthant/par/collective.h>

#include <stdlib.h>
#include <string.h>

/* Add "key is A, was B" to `list` when the two configurations differ in the key. */
static orth_status add_difference(const orth_key *key, const orth_config *config,
                                  const orth_config *saved, char *list, size_t room)
{
    char *now = NULL, *then = NULL;
    orth_status status = orth_key_text(key, config, &now);
    if (status == ORTH_OK)
        status = orth_key_text(key, saved, &then);
    size_t length = strlen(list);
    if (status == ORTH_OK && strcmp(now ? now : "", then ? then : "") != 0)
        snprintf(list + length, room - length, "%s%s is %.60s here and %.60s there",
                 length ? ", " : "", key->path, now ? now : "empty", then ? then : "empty");
    free(now);
    free(then);
    return status;
}

orth_status orth_config_compatible(const orth_config *config, const orth_config *saved,
                                   const char *saved_name)
{
    char list[3400] = "";
    for (const orth_key *key = orth_keys; key->path; key++)
        if (key->binds)
            ORTH_TRY(add_difference(key, config, saved, list, sizeof list));
    if (!list[0])
        return ORTH_OK;
    return orth_fail(ORTH_ERR_CORRUPT,
                     "%.400s: belongs to another configuration: %s; restore these values, or use "
                     "another run.dir",
                     saved_name, list);
}

/* FNV-1a, 64 bits. */
static uint64_t hash_text(const char *text)
{
    uint64_t hash = UINT64_C(0xCBF29CE484222325);
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001B3);
    return hash;
}

orth_status orth_config_same(const orth_config *config, MPI_Comm comm)
{
    char *text = NULL;
    orth_status status = orth_config_text(config, &text);
    uint64_t mine = status == ORTH_OK ? hash_text(text) : 0, first = mine;
    free(text);
    ORTH_TRY(orth_agree(comm, status));
    status = orth_broadcast(&first, 1, MPI_UINT64_T, 0, comm);
    int rank = 0;
    if (status == ORTH_OK)
        status = orth_mpi_status(MPI_Comm_rank(comm, &rank), "MPI_Comm_rank");
    if (status == ORTH_OK && first != mine)
        status = orth_fail(ORTH_ERR_ENVIRONMENT,
                           "configuration: rank %d has loaded another one than rank 0; give all "
                           "ranks the same file and the same --set",
                           rank);
    return orth_agree(comm, status);
}
