#include "output.h"

#include <orthant/base/path.h>
#include <orthant/par/agree.h>

orth_status orth_output_check(const char *option, const char *path, const char *model,
                              const orth_dataset *dataset, MPI_Comm world)
{
    orth_status status = ORTH_OK;
    bool read = orth_same_file(path, model);
    for (int64_t i = 0; i < orth_dataset_files(dataset); i++)
        read = read || orth_same_file(path, orth_dataset_file(dataset, i));
    if (read)
        status = orth_fail(ORTH_ERR_USAGE,
                           "--%s %s: is a file that this command reads and would be lost; name "
                           "another file",
                           option, path);
    return orth_agree(world, status);
}
