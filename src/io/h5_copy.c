#include <orthant/io/h5_copy.h>

#include "h5_internal.h"

static orth_status copy_one(const char *path, hid_t from, const char *to_path, hid_t to,
                            const char *name)
{
    htri_t there = H5Lexists(from, name, H5P_DEFAULT), has = H5Lexists(to, name, H5P_DEFAULT);
    if (there <= 0 || has != 0)
        return ORTH_OK;
    if (H5Ocopy(from, name, to, name, H5P_DEFAULT, H5P_DEFAULT) >= 0)
        return ORTH_OK;
    H5Eclear2(H5E_DEFAULT);
    return orth_fail(ORTH_ERR_STORAGE,
                     "%s: dataset '%s' of %s cannot be copied to it; check the room there, and the "
                     "dataset",
                     to_path, name, path);
}

orth_status orth_h5_copy(const char *from, const char *to, const char *const *names, int64_t count)
{
    orth_status status = ORTH_OK;
    H5E_auto2_t printer;
    void *context;
    H5Eget_auto2(H5E_DEFAULT, &printer, &context);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    hid_t in = H5Fopen(from, H5F_ACC_RDONLY, H5P_DEFAULT);
    hid_t out = in < 0 ? -1 : H5Fopen(to, H5F_ACC_RDWR, H5P_DEFAULT);
    if (in < 0)
        status = orth_fail(ORTH_ERR_DATA, "%s: cannot be opened again; check the storage", from);
    else if (out < 0)
        status = orth_fail(ORTH_ERR_STORAGE, "%s: cannot be opened again; check the storage", to);
    for (int64_t i = 0; status == ORTH_OK && i < count; i++)
        status = copy_one(from, in, to, out, names[i]);
    if (in >= 0)
        H5Fclose(in);
    if (out >= 0 && H5Fclose(out) < 0 && status == ORTH_OK)
        status = orth_fail(ORTH_ERR_STORAGE, "%s: cannot be written; check the room there", to);
    H5Eclear2(H5E_DEFAULT);
    H5Eset_auto2(H5E_DEFAULT, printer, context);
    return status;
}
