#!/usr/bin/env bash
# The packages Orthant needs, in one list.
#
#   bash jobs/packages.sh [--list] SET...         sets: build run test bench ci
#
# On Debian and Ubuntu what is missing is installed when this is root or sudo works without a
# password. Elsewhere, and with --list, what is missing is listed with the names that Debian,
# RHEL/EPEL and Spack give it, and the exit code is 0: modules or CMAKE_PREFIX_PATH may have it
# (jobs/site.sh), and configure has the last word.
set -euo pipefail
# shellcheck source=jobs/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# set | how to find it without a package manager | Debian | RHEL/EPEL | Spack
table='
build | command cc                  | gcc                      | gcc                      | gcc
build | header stdio.h              | libc6-dev                | glibc-devel              | -
build | command cmake               | cmake                    | cmake                    | cmake@3.25:
build | command ninja               | ninja-build              | ninja-build              | ninja
build | command pkg-config          | pkg-config               | pkgconf-pkg-config       | pkgconf
build | command mpicc               | libopenmpi-dev           | openmpi-devel            | openmpi
build | module hdf5-openmpi hdf5    | libhdf5-openmpi-dev      | hdf5-openmpi-devel       | hdf5+mpi
build | module openblas             | libopenblas-openmp-dev   | openblas-devel           | openblas threads=openmp
build | library scalapack-openmpi scalapack | libscalapack-openmpi-dev | scalapack-openmpi-devel | netlib-scalapack
build | module yaml-0.1             | libyaml-dev              | libyaml-devel            | libyaml
build | module jansson              | libjansson-dev           | jansson-devel            | jansson
build | header isa-l/crc.h          | libisal-dev              | isa-l-devel              | isa-l
build | module hwloc                | libhwloc-dev             | hwloc-devel              | hwloc
build | header Random123/philox.h   | librandom123-dev         | Random123-devel          | random123
build | module gsl                  | libgsl-dev               | gsl-devel                | gsl
build | module libzip               | libzip-dev               | libzip-devel             | libzip
build | file javascript/chart.js/chart.min.js | libjs-chart.js  | -                        | -
build | module check                | check                    | check-devel              | check
run   | command mpirun              | openmpi-bin              | openmpi                  | openmpi
run   | command jq                  | jq                       | jq                       | jq
run   | command gnuplot             | gnuplot-nox              | gnuplot                  | gnuplot
bench | header oneapi/dnnl/dnnl.h   | libdnnl-dev              | onednn-devel             | onednn@2
test  | command python3             | python3                  | python3                  | python
test  | python h5py                 | python3-h5py             | python3-h5py             | py-h5py
test  | python numpy                | python3-numpy            | python3-numpy            | py-numpy
test  | command ip                  | iproute2                 | iproute iproute-tc       | -
test  | command nft                 | nftables                 | nftables                 | nftables
test  | command munged              | munge                    | munge                    | munge
test  | command slurmctld           | slurmctld                | slurm-slurmctld          | slurm
test  | command slurmd              | slurmd                   | slurm-slurmd             | slurm
test  | command sbatch              | slurm-client             | slurm                    | slurm
ci    | command git                 | git                      | git                      | git
ci    | python sklearn              | python3-sklearn          | python3-scikit-learn     | py-scikit-learn
ci    | command clang-14            | clang-14                 | clang                    | llvm
ci    | command clang-format-14     | clang-format-14          | clang-tools-extra        | llvm
ci    | command clang-tidy-14       | clang-tidy-14            | clang-tools-extra        | llvm
ci    | -                           | libomp-14-dev            | libomp-devel             | llvm-openmp
ci    | -                           | libclang-rt-14-dev       | compiler-rt              | llvm
ci    | -                           | libc6-dbg                | glibc-debuginfo          | -
ci    | command shellcheck          | shellcheck               | ShellCheck               | shellcheck
ci    | command mpicc.mpich         | libmpich-dev             | mpich-devel              | mpich
ci    | command mpirun.mpich        | mpich                    | mpich                    | mpich
ci    | module hdf5-mpich           | libhdf5-mpich-dev        | hdf5-mpich-devel         | hdf5+mpi
ci    | library scalapack-mpich     | libscalapack-mpich-dev   | scalapack-mpich-devel    | netlib-scalapack
ci    | command chromium            | chromium                 | chromium                 | -
ci    | command chromedriver        | chromium-driver          | chromedriver             | -
ci    | python ensurepip            | python3-venv             | python3-pip              | py-pip
ci    | python selenium             | python3-selenium         | python3-selenium         | py-selenium
ci    | command debootstrap         | debootstrap              | debootstrap              | -
'

list_only=no
sets=()
for argument in "$@"; do
    case $argument in
    --list) list_only=yes ;;
    build | run | test | bench | ci) sets+=("$argument") ;;
    *)
        echo "usage: bash jobs/packages.sh [--list] build|run|test|bench|ci ..." >&2
        exit 2
        ;;
    esac
done

# preprocessed HEADER: whether the compiler finds it, in CMAKE_PREFIX_PATH as well.
preprocessed() {
    local folders=() prefix
    local -a prefixes
    IFS=':;' read -ra prefixes <<<"${CMAKE_PREFIX_PATH:-}"
    for prefix in "${prefixes[@]}"; do
        folders+=("-I$prefix/include")
    done
    printf '#include <%s>\n' "$1" | cc -E "${folders[@]}" -x c - >/dev/null 2>&1
}

# linkable NAME...: whether the linker finds one of the libraries.
linkable() {
    local name prefix
    local -a prefixes folders=()
    IFS=':;' read -ra prefixes <<<"${CMAKE_PREFIX_PATH:-}:${LD_LIBRARY_PATH:-}"
    for prefix in "${prefixes[@]}"; do
        [[ -z $prefix ]] || folders+=("-L$prefix/lib" "-L$prefix/lib64" "-L$prefix")
    done
    for name in "$@"; do
        cc "${folders[@]}" -shared -o /dev/null "-l$name" >/dev/null 2>&1 && return 0
    done
    return 1
}

# present KIND NAME...
present() {
    local kind=$1 name
    shift
    case $kind in
    command) PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null ;; # daemons are in sbin
    header) preprocessed "$1" ;;
    library) linkable "$@" ;;
    file) [[ -e /usr/share/$1 || -e /usr/local/share/$1 ]] ;;
    python) PATH=/usr/bin:$PATH python3 -c "import $1" >/dev/null 2>&1 ;;
    module)
        for name in "$@"; do
            pkg-config --exists "$name" 2>/dev/null && return 0
        done
        return 1
        ;;
    *) return 0 ;;
    esac
}

installed() {
    [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# root_command: how to become root, into the array `as_root`; false when there is no way.
root_command() {
    as_root=()
    [[ $(id -u) == 0 ]] && return 0
    command -v sudo >/dev/null && sudo -n true 2>/dev/null && as_root=(sudo -n)
}

wanted() { # the rows of the sets asked for, fields separated by |, without padding
    local set
    for set in "${sets[@]}"; do
        sed -n "s/ *| */|/g; s/^$set|//p" <<<"$table"
    done
}

install_debian() {
    local missing=()
    while IFS='|' read -r _ debian _ _; do
        installed "$debian" || missing+=("$debian")
    done < <(wanted)
    ((${#missing[@]})) || return 0
    echo "packages: installing ${missing[*]}"
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq
        -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 -o Acquire::Retries=3)
    "${apt[@]}" update
    "${apt[@]}" install --yes --no-install-recommends "${missing[@]}" >/dev/null
}

list_missing() {
    local rows=() kind_and_names debian rhel spack
    local -a probe
    while IFS='|' read -r kind_and_names debian rhel spack; do
        read -ra probe <<<"$kind_and_names"
        present "${probe[@]}" || rows+=("$(printf '  %-26s %-26s %s' "$debian" "$rhel" "$spack")")
    done < <(wanted)
    ((${#rows[@]})) || return 0
    {
        echo "packages: not found here (install them, or load modules in jobs/site.sh):"
        printf '  %-26s %-26s %s\n' Debian RHEL/EPEL Spack
        printf '%s\n' "${rows[@]}"
    } >&2
}

if [[ $list_only == no ]] && command -v apt-get dpkg-query >/dev/null && root_command; then
    install_debian
else
    list_missing
fi
