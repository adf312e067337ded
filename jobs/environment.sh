# shellcheck shell=bash
# Sourced by the scripts here, by tests/run.sh and .ci/run: where things are on this machine.
# Sets ORTHANT_ROOT, CMAKE, CTEST, MPIRUN (an array: the launcher and its flags) and ORTHANT_PARALLEL.

ORTHANT_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export ORTHANT_ROOT
# shellcheck source=jobs/load-site.sh
source "$ORTHANT_ROOT/jobs/load-site.sh"

# mpirun refuses to run as root without both. Its shared-memory transport reads other processes'
# memory, which containers may forbid.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_btl_vader_single_copy_mechanism=${OMPI_MCA_btl_vader_single_copy_mechanism:-none}

# find_tools: called again after packages have been installed. The distribution's own cmake goes
# first where it is new enough; an MPI launcher that carries the name of its MPI goes before the
# plain one, which is an alternative that another MPI may have taken.
find_tools() {
    local candidate version
    CMAKE="" CTEST=""
    for candidate in "${ORTHANT_CMAKE:-}" /usr/bin/cmake "$(command -v cmake || true)"; do
        [[ -n $candidate && -x $candidate ]] || continue
        version=$("$candidate" --version | sed -n '1s/[^0-9]*//p')
        if [[ $(printf '%s\n3.25\n' "$version" | sort -V | head -n 1) == 3.25 ]]; then
            CMAKE=$candidate CTEST=$(dirname "$candidate")/ctest
            break
        fi
    done
    MPIRUN=(mpirun)
    if [[ $(command -v mpirun || echo /usr/bin/mpirun) == /usr/bin/mpirun ]] &&
        command -v mpirun.openmpi >/dev/null; then
        MPIRUN=(mpirun.openmpi)
    fi
    if "${MPIRUN[0]}" --version 2>/dev/null | grep -q 'Open MPI\|OpenRTE'; then
        MPIRUN+=(--oversubscribe --bind-to none)
    fi
    export CMAKE CTEST
    ORTHANT_PARALLEL=$(nproc)
    export ORTHANT_PARALLEL
}
find_tools

# need_cmake: stops where there is none that is new enough.
need_cmake() {
    if [[ -z $CMAKE ]]; then
        echo "orthant: error: no cmake 3.25 or newer: it builds Orthant;" \
            "install it, load its module in jobs/site.sh, or set ORTHANT_CMAKE" >&2
        exit 1
    fi
}
