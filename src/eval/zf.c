#include <orthant/eval/zf.h>

#include <orthant/base/memory.h>
#include <orthant/par/collective.h>

#include <math.h>
#include <string.h>

const double orth_zf_eps[ORTH_ZF_BOUNDS] = {0.25, 0.5, 1.0};

orth_status orth_zf_create(int64_t rows, orth_zf *out)
{
    orth_zf zf = {.rows = rows, .count = rows < ORTH_ZF_MOST ? rows : ORTH_ZF_MOST};
    orth_status status = ORTH_ALLOCATE(zf.count, "ZF points", &zf.z);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(zf.count, "ZF points", &zf.f);
    if (status != ORTH_OK) {
        orth_zf_free(&zf);
        return status;
    }
    /* Norms are not negative: -1 is a point that is not there. */
    for (int64_t i = 0; i < zf.count; i++)
        zf.z[i] = zf.f[i] = -1.0;
    *out = zf;
    return ORTH_OK;
}

void orth_zf_add(orth_zf *zf, int64_t row, double z, double f)
{
    int64_t point = row;
    if (zf->count < zf->rows) {
        point = (int64_t)(((__int128)row * zf->count + zf->rows - 1) / zf->rows);
        if (point >= zf->count || (int64_t)((__int128)point * zf->rows / zf->count) != row)
            return;
    }
    zf->z[point] = z;
    zf->f[point] = f;
}

void orth_zf_count(orth_zf_counts *counts, double z_square, double f_square)
{
    counts->over += f_square > z_square;
    counts->under += f_square < z_square;
    for (int i = 0; i < ORTH_ZF_BOUNDS; i++) {
        counts->above[i] += (1.0 - orth_zf_eps[i]) * f_square > z_square;
        counts->below[i] += (1.0 + orth_zf_eps[i]) * f_square < z_square;
    }
}

void orth_zf_bounds(double eps, double *lower, double *upper)
{
    *lower = 1.0 / sqrt(1.0 + eps);
    *upper = eps < 1.0 ? 1.0 / sqrt(1.0 - eps) : INFINITY;
}

orth_status orth_zf_finish(orth_zf *zf, MPI_Comm comm)
{
    int64_t kept = 0;
    ORTH_TRY(orth_allreduce(zf->z, zf->count, MPI_DOUBLE, MPI_MAX, comm));
    ORTH_TRY(orth_allreduce(zf->f, zf->count, MPI_DOUBLE, MPI_MAX, comm));
    for (int64_t i = 0; i < zf->count; i++) {
        if (zf->z[i] < 0.0)
            continue;
        zf->z[kept] = zf->z[i];
        zf->f[kept++] = zf->f[i];
    }
    zf->count = kept;
    return ORTH_OK;
}

void orth_zf_free(orth_zf *zf)
{
    orth_free(zf->z);
    orth_free(zf->f);
    memset(zf, 0, sizeof *zf);
}
