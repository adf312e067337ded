# shellcheck shell=bash
# Your site, in one place: sourced by the scripts in jobs/ and by tests/run.sh. As shipped it does
# nothing, which is right where the packages of the distribution are used. At a centre, take out the
# comment signs and put in the names that `module avail` shows there.

# --- Modules that have the compiler, MPI, parallel HDF5, OpenBLAS, ScaLAPACK and the small libraries
# module purge
# module load gcc/12 openmpi/4.1 hdf5/1.12-mpi openblas/0.3 netlib-scalapack/2.2 cmake/3.27 ninja

# --- Folders of what is not in a module (Spack views, your own builds), separated by colons
# export CMAKE_PREFIX_PATH="$HOME/orthant-libraries:${CMAKE_PREFIX_PATH:-}"
# export PKG_CONFIG_PATH="$HOME/orthant-libraries/lib/pkgconfig:${PKG_CONFIG_PATH:-}"
# export ORTHANT_CMAKE="$HOME/cmake/bin/cmake"

# --- What `sbatch jobs/...` uses besides its own lines (read by sbatch from the environment,
#     so source this file in your shell before you call it)
# export SBATCH_PARTITION=compute
# export SBATCH_ACCOUNT=project

# --- How srun starts the ranks, where it is not by PMIx (`srun --mpi=list` shows what there is)
# export SLURM_MPI_TYPE=pmi2

# --- Files on NFS or Lustre that do not lock
# export HDF5_USE_FILE_LOCKING=FALSE
